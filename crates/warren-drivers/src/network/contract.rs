//! What every network must do, as checks that each implementation runs in its tests.
//!
//! A network's tests make a [`Stage`] for each check and name it to [`network_contract!`](crate::network_contract).

#![expect(
    clippy::missing_errors_doc,
    reason = "every check fails in the same way: the network broke it"
)]

use super::state::{Actual, Hop, Route, Rules};
use super::{Backend, Change, NodeNetwork, Peer, Problem, Settled, Wish, settle};
use std::net::Ipv4Addr;
use warren_core::id::NodeId;
use warren_core::node::{Encryption, WireGuard, WireGuardKey};

/// A machine for one check: an interface with [`ADDRESS`] in a /24, nothing of Warren's, and forwarding off.
pub struct Stage {
    /// Its network.
    pub network: Box<dyn NodeNetwork>,
    /// Whose part is tried.
    pub owner: super::Owner,
    /// How it speaks WireGuard, for the checks that need it.
    pub wire: Option<WireGuard>,
}

/// The machine's address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 11);

/// How a check ends.
pub type Checked = Result<(), String>;

fn peer(node: u64, address: [u8; 4], third: u8) -> Peer {
    let subnet = format!("10.210.{third}.0/24").parse().unwrap_or_default();
    let encryption = Encryption::default();
    Peer { node: NodeId(node), address: Ipv4Addr::from(address), subnet, encryption }
}

/// The same, with a key of its own.
fn encrypting(node: u64, address: [u8; 4], third: u8) -> Peer {
    let wireguard = Some(WireGuard { key: WireGuardKey([third; 32]), port: 7403 });
    let encryption = Encryption { wireguard, only: false };
    Peer { encryption, ..peer(node, address, third) }
}

/// A wish for one peer on the link and one beyond.
fn wish(stage: &Stage, backend: Backend) -> Wish {
    Wish {
        owner: stage.owner.clone(),
        backend,
        address: ADDRESS,
        subnet: "10.210.1.0/24".parse().unwrap_or_default(),
        wire: None,
        peers: vec![peer(2, [198, 18, 0, 2], 2), peer(3, [198, 18, 9, 3], 3)],
    }
}

fn check(holds: bool, what: &str, seen: impl std::fmt::Debug) -> Checked {
    if holds { Ok(()) } else { Err(format!("{what}: {seen:#?}")) }
}

async fn settled(stage: &Stage, wish: Option<&Wish>) -> Result<Settled, String> {
    settle(&*stage.network, wish).await.map_err(|error| error.to_string())
}

async fn read(stage: &Stage) -> Result<Actual, String> {
    stage.network.read().await.map_err(|error| error.to_string())
}

async fn change(stage: &Stage, change: &Change) -> Checked {
    stage.network.change(change).await.map_err(|error| error.to_string())
}

/// What is wished is made, and made once is made.
async fn is_made(stage: &Stage, wish: &Wish) -> Checked {
    let made = settled(stage, Some(wish)).await?;
    check(made.problems.is_empty() && !made.changes.is_empty(), "it is made", &made)?;
    is_as_wished(stage, wish).await
}

/// Nothing is to be done.
async fn is_as_wished(stage: &Stage, wish: &Wish) -> Checked {
    let again = settled(stage, Some(wish)).await?;
    check(again == Settled::default(), "nothing is left to do", &again)
}

async fn nothing_is_left(stage: &Stage) -> Checked {
    let settled = settled(stage, None).await?;
    check(settled.problems.is_empty(), "all can be taken away", &settled)?;
    let actual = read(stage).await?;
    check(
        actual.routes.is_empty()
            && actual.tunnel.is_none()
            && actual.wire.is_none()
            && actual.rules == Rules::Absent,
        "nothing of ours is left",
        &actual,
    )
}

/// What is wanted is there afterwards, and then nothing is left to do.
pub async fn once_is_enough(stage: Stage) -> Checked {
    for backend in [Backend::Auto, Backend::Vxlan] {
        let wish = wish(&stage, backend);
        is_made(&stage, &wish).await?;
        let actual = read(&stage).await?;
        check(actual.forwarding && actual.rules == Rules::Right, "packets pass", &actual)?;
        let hops: Vec<Hop> = actual.routes.values().map(|route| route.hop).collect();
        let [direct, far] = [Ipv4Addr::new(198, 18, 0, 2), Ipv4Addr::new(10, 210, 3, 0)];
        let near = match backend {
            Backend::Vxlan => Hop::Tunnel(Ipv4Addr::new(10, 210, 2, 0)),
            _ => Hop::Direct(direct),
        };
        let all = [Hop::Nowhere, near, Hop::Tunnel(far)];
        check(hops == all, "each peer by its way, nobody by none", &hops)?;
    }
    nothing_is_left(&stage).await
}

/// A peer off the link is named where routes cannot reach it, and the others are reached all the same.
pub async fn what_cannot_be_reached_is_named(stage: Stage) -> Checked {
    let settled = settled(&stage, Some(&wish(&stage, Backend::HostGw))).await?;
    let named = matches!(settled.problems[..], [Problem::NotOnLink { node: NodeId(3), .. }]);
    check(named, "the peer beyond the link is named", &settled)?;
    let actual = read(&stage).await?;
    check(actual.routes.len() == 2 && actual.tunnel.is_none(), "the other is reached", &actual)?;
    nothing_is_left(&stage).await
}

/// Peers that come, go and move take their routes with them.
pub async fn peers_come_and_go(stage: Stage) -> Checked {
    let mut wish = wish(&stage, Backend::Auto);
    settled(&stage, Some(&wish)).await?;
    wish.peers[1].address = Ipv4Addr::new(198, 18, 9, 33);
    let moved = settled(&stage, Some(&wish)).await?;
    let forwards = |settled: &Settled| {
        settled.changes.iter().all(|change| matches!(change, Change::SetForward(..)))
    };
    check(moved.changes.len() == 1 && forwards(&moved), "only the machine is another", &moved)?;
    wish.peers.remove(1);
    wish.peers.push(peer(4, [198, 18, 0, 4], 4));
    let settled_again = settled(&stage, Some(&wish)).await?;
    check(settled_again.problems.is_empty(), "no problem", &settled_again)?;
    let actual = read(&stage).await?;
    let subnets: Vec<String> = actual.routes.keys().map(ToString::to_string).collect();
    let wanted = ["10.210.0.0/16", "10.210.2.0/24", "10.210.4.0/24"];
    check(subnets == wanted, "these peers", &subnets)?;
    check(actual.tunnel.is_none(), "nobody is beyond the link any more", &actual)?;
    nothing_is_left(&stage).await
}

/// A node that is alone changes nothing on its machine.
pub async fn alone_is_nothing_to_do(stage: Stage) -> Checked {
    let wish = Wish { peers: Vec::new(), ..wish(&stage, Backend::Auto) };
    let settled = settled(&stage, Some(&wish)).await?;
    check(settled == Settled::default(), "nothing is done", &settled)?;
    nothing_is_left(&stage).await
}

/// What somebody else has taken away comes back.
pub async fn what_was_lost_is_mended(stage: Stage) -> Checked {
    let wish = wish(&stage, Backend::Auto);
    settled(&stage, Some(&wish)).await?;
    for loss in [Change::RemoveTunnel, Change::RemoveRules] {
        change(&stage, &loss).await?;
        is_made(&stage, &wish).await?;
    }
    nothing_is_left(&stage).await
}

/// Changes that are made already, and removals of what is not there, are no errors.
pub async fn repeating_is_harmless(stage: Stage) -> Checked {
    let wish = wish(&stage, Backend::Auto);
    let first = settled(&stage, Some(&wish)).await?;
    let repeatable = |change: &&Change| !matches!(change, Change::MakeTunnel(_));
    for made in first.changes.iter().filter(repeatable) {
        change(&stage, made).await?;
    }
    is_as_wished(&stage, &wish).await?;
    nothing_is_left(&stage).await?;
    let subnet = wish.peers[0].subnet;
    for removal in [Change::RemoveTunnel, Change::RemoveRules, Change::RemoveRoute(subnet)] {
        change(&stage, &removal).await?;
    }
    nothing_is_left(&stage).await
}

/// A source that this machine does not have is refused, not ignored.
pub async fn a_source_must_be_here(stage: Stage) -> Checked {
    let hop = Hop::Direct(Ipv4Addr::new(198, 18, 0, 2));
    let route = Route { hop, source: Some(Ipv4Addr::new(10, 210, 1, 1)) };
    let subnet = "10.210.2.0/24".parse().unwrap_or_default();
    let refused = stage.network.change(&Change::SetRoute(subnet, route)).await;
    check(refused.is_err(), "there is no such source", &refused)?;
    nothing_is_left(&stage).await
}

/// A wish for two peers that encrypt, on the link and beyond.
fn encrypted_wish(stage: &Stage, backend: Backend) -> Wish {
    let peers = vec![encrypting(2, [198, 18, 0, 2], 2), encrypting(3, [198, 18, 9, 3], 3)];
    Wish { wire: stage.wire, peers, ..wish(stage, backend) }
}

/// Peers that encrypt are reached so: all of them where that is wished, and those beyond the link where it is left to
/// the machine.
pub async fn encryption_is_made_once(stage: Stage) -> Checked {
    for (backend, near) in [
        (Backend::WireGuard, Hop::Wire),
        (Backend::Auto, Hop::Direct(Ipv4Addr::new(198, 18, 0, 2))),
    ] {
        let wish = encrypted_wish(&stage, backend);
        is_made(&stage, &wish).await?;
        let actual = read(&stage).await?;
        let hops: Vec<Hop> = actual.routes.values().map(|route| route.hop).collect();
        check(hops == [Hop::Nowhere, near, Hop::Wire], "each peer by its way", &hops)?;
        let own = actual.wire.map(|wire| WireGuard { key: wire.key, port: wire.port });
        check(own == stage.wire && actual.has_wireguard, "with this node's key", actual.wire)?;
        check(actual.wire.is_some_and(|wire| wire.mtu == 1420), "with room", actual.wire)?;
        let far = actual.wire_peers.get(&WireGuardKey([3; 32]));
        let endpoint = far.and_then(|peer| peer.endpoint);
        check(endpoint == "198.18.9.3:7403".parse().ok(), "to its machine", far)?;
        let link = actual.addresses.get(&ADDRESS).map(|uplink| uplink.name.clone());
        let barred = link.filter(|_| backend == Backend::WireGuard);
        check(actual.barred == barred, "what must be encrypted is not taken otherwise", &actual)?;
        let ends = if backend == Backend::Auto { 1 } else { 2 };
        check(actual.wire_peers.len() == ends, "and to nobody else", &actual.wire_peers)?;
    }
    nothing_is_left(&stage).await
}

/// Peers that move, take another key and go are followed, each by itself.
pub async fn encrypted_peers_come_and_go(stage: Stage) -> Checked {
    let mut wish = encrypted_wish(&stage, Backend::WireGuard);
    settled(&stage, Some(&wish)).await?;
    wish.peers[1].address = Ipv4Addr::new(198, 18, 9, 33);
    let moved = settled(&stage, Some(&wish)).await?;
    let follows = matches!(moved.changes[..], [Change::SetWirePeer(..)]);
    check(follows && moved.problems.is_empty(), "only the machine is another", &moved)?;
    wish.peers[1] = Peer { subnet: wish.peers[1].subnet, ..encrypting(3, [198, 18, 9, 33], 33) };
    let renewed = settled(&stage, Some(&wish)).await?;
    let follows =
        matches!(renewed.changes[..], [Change::RemoveWirePeer(_), Change::SetWirePeer(..)]);
    check(follows && renewed.problems.is_empty(), "only the key is another", &renewed)?;
    wish.peers.remove(1);
    settled(&stage, Some(&wish)).await?;
    let actual = read(&stage).await?;
    let keys: Vec<_> = actual.wire_peers.keys().copied().collect();
    check(keys == [WireGuardKey([2; 32])] && actual.routes.len() == 2, "one is left", &actual)?;
    nothing_is_left(&stage).await
}

/// Who is to be reached encrypted and has no key is named, and nothing leads there: not in the clear either.
pub async fn encrypted_or_not_at_all(stage: Stage) -> Checked {
    let mut wish = encrypted_wish(&stage, Backend::WireGuard);
    wish.peers[0].encryption.wireguard = None;
    let first = settled(&stage, Some(&wish)).await?;
    let named = matches!(first.problems[..], [Problem::NotEncrypted { node: NodeId(2), .. }]);
    check(named, "the peer without a key is named", &first)?;
    let actual = read(&stage).await?;
    check(!actual.routes.contains_key(&wish.peers[0].subnet), "nothing leads there", &actual)?;
    wish.backend = Backend::Auto;
    wish.peers[0].encryption.only = true;
    let other = settled(&stage, Some(&wish)).await?;
    check(other.problems == first.problems, "also where the peer wants it", &other)?;
    wish.wire = None;
    wish.backend = Backend::WireGuard;
    let untold = settled(&stage, Some(&wish)).await?;
    check(untold.problems == [Problem::Untold], "nobody knows this node's key", &untold)?;
    let actual = read(&stage).await?;
    check(actual.wire.is_none() && actual.routes.len() == 1, "nobody is reached", &actual)?;
    nothing_is_left(&stage).await
}

/// What somebody else has taken from the device, or with it, comes back; and what is done twice is done once.
pub async fn encryption_is_mended(stage: Stage) -> Checked {
    let wish = encrypted_wish(&stage, Backend::WireGuard);
    let first = settled(&stage, Some(&wish)).await?;
    let repeatable = |change: &&Change| matches!(change, Change::SetWirePeer(..));
    for made in first.changes.iter().filter(repeatable) {
        change(&stage, made).await?;
    }
    is_as_wished(&stage, &wish).await?;
    for loss in [Change::RemoveWirePeer(WireGuardKey([2; 32])), Change::RemoveWire] {
        for _ in 0..2 {
            change(&stage, &loss).await?;
        }
        is_made(&stage, &wish).await?;
    }
    nothing_is_left(&stage).await
}

/// Makes one test of each check. `$stage(name).await` gives `Option<(Stage, _)>`, with what the stage stands on, and
/// has said why where it gives none. With `encrypted` the checks are those of a stage that has [`Stage::wire`].
#[macro_export]
macro_rules! network_contract {
    ($stage:path) => {
        $crate::network_contract!(@ $stage: once_is_enough, what_cannot_be_reached_is_named,
            peers_come_and_go, alone_is_nothing_to_do, what_was_lost_is_mended,
            repeating_is_harmless, a_source_must_be_here);
    };
    (encrypted $stage:path) => {
        $crate::network_contract!(@ $stage: encryption_is_made_once, encrypted_peers_come_and_go,
            encrypted_or_not_at_all, encryption_is_mended);
    };
    (@ $stage:path: $($check:ident),*) => {
        $(#[tokio::test]
        async fn $check() {
            let Some((stage, _kept)) = $stage(stringify!($check)).await else { return };
            $crate::network::contract::$check(stage).await.unwrap();
        })*
    };
}
