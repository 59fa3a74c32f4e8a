//! What must be changed so that the machine is as it is wanted.

use super::error::NetworkError;
use super::state::{Actual, Hop, Mac, Route, Rules, Tunnel, Uplink};
use super::wish::{Backend, Peer, TUNNEL_OVERHEAD, TUNNEL_PORT, Wish, mac_of};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use warren_core::id::NodeId;

/// One change of the kernel's network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Let this machine pass on what is not for itself.
    AllowForwarding,
    /// Write our rules where they belong, in place of what is there of ours.
    WriteRules,
    /// Take our rules away.
    RemoveRules,
    /// Make this machine's end of the tunnels.
    MakeTunnel(Tunnel),
    /// Take it away, with all that it knows of other ends.
    RemoveTunnel,
    /// Say which hardware address an end of the tunnel has.
    SetNeighbour(Ipv4Addr, Mac),
    /// Forget an end's hardware address.
    RemoveNeighbour(Ipv4Addr),
    /// Say which machine has a hardware address.
    SetForward(Mac, Ipv4Addr),
    /// Forget which machine has it.
    RemoveForward(Mac),
    /// Send what goes to a subnet this way.
    SetRoute(Ipv4Net, Route),
    /// Forget the way.
    RemoveRoute(Ipv4Net),
}

/// Something that keeps containers from reaching others. It is looked at anew each time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// No interface has the address that the node is known by, so nothing can be sent from it.
    AddressNotHere(Ipv4Addr),
    /// A peer is not on the link, and the backend has no other way.
    NotOnLink {
        /// Which.
        node: NodeId,
        /// Where it is.
        address: Ipv4Addr,
        /// What the link reaches.
        link: Ipv4Net,
    },
    /// A network that this machine reaches already has a peer's addresses.
    Taken {
        /// Which peer.
        node: NodeId,
        /// Its subnet.
        subnet: Ipv4Net,
        /// The network in the way.
        by: Ipv4Net,
    },
    /// A peer has addresses outside of the pool, or those of another node.
    BadSubnet {
        /// Which.
        node: NodeId,
        /// What it has.
        subnet: Ipv4Net,
    },
    /// A change did not work.
    Failed {
        /// Which.
        change: Change,
        /// Why.
        error: NetworkError,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressNotHere(address) => write!(
                f,
                "no interface has {address}, by which other nodes know this one: its containers cannot reach theirs"
            ),
            Self::NotOnLink { node, address, link } => write!(
                f,
                "node {node} ({address}) is not on this node's link ({link}), so host-gw cannot reach its containers: \
                 choose auto or vxlan"
            ),
            Self::Taken { node, subnet, by } => write!(
                f,
                "the containers of node {node} have {subnet}, but this machine has a route to {by} already: remove \
                 that route, or make the cluster with another pool"
            ),
            Self::BadSubnet { node, subnet } => {
                write!(f, "node {node} has {subnet}, which is not its own part of the pool")
            }
            Self::Failed { change, error } => write!(f, "{}: {error}", change.words()),
        }
    }
}

impl Change {
    /// Whether it can only be made where the tunnel is.
    pub(super) const fn needs_tunnel(&self) -> bool {
        match self {
            Self::SetNeighbour(..)
            | Self::RemoveNeighbour(_)
            | Self::SetForward(..)
            | Self::RemoveForward(_) => true,
            Self::SetRoute(_, route) => matches!(route.hop, Hop::Tunnel(_)),
            Self::AllowForwarding
            | Self::WriteRules
            | Self::RemoveRules
            | Self::MakeTunnel(_)
            | Self::RemoveTunnel
            | Self::RemoveRoute(_) => false,
        }
    }

    /// What it is for, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::AllowForwarding => "turning IP forwarding on".into(),
            Self::WriteRules => "writing the firewall rules of the pool".into(),
            Self::RemoveRules => "removing the firewall rules of the pool".into(),
            Self::MakeTunnel(_) => "making the tunnel device".into(),
            Self::RemoveTunnel => "removing the tunnel device".into(),
            Self::SetNeighbour(address, _) | Self::RemoveNeighbour(address) => {
                format!("the tunnel's neighbour {address}")
            }
            Self::SetForward(mac, _) | Self::RemoveForward(mac) => {
                format!("the tunnel's way to {mac}")
            }
            Self::SetRoute(subnet, _) | Self::RemoveRoute(subnet) => {
                format!("the route to {subnet}")
            }
        }
    }
}

/// What is to be done, and what cannot be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// In this order.
    pub changes: Vec<Change>,
    /// What is in the way.
    pub problems: Vec<Problem>,
}

/// What this owner's part of the machine is to be.
#[derive(Default)]
struct Target {
    active: bool,
    tunnel: Option<Tunnel>,
    neighbours: BTreeMap<Ipv4Addr, Mac>,
    forwards: BTreeMap<Mac, Ipv4Addr>,
    routes: BTreeMap<Ipv4Net, Route>,
}

/// What must be changed so that `actual` is as `wish` says, or free of all that is ours without one. Made on a machine
/// that has those changes, the plan is empty.
#[must_use]
pub fn plan(wish: Option<&Wish>, actual: &Actual) -> Plan {
    let mut problems = Vec::new();
    let target = wish.map(|wish| target(wish, actual, &mut problems)).unwrap_or_default();
    Plan { changes: changes(&target, actual), problems }
}

fn target(wish: &Wish, actual: &Actual, problems: &mut Vec<Problem>) -> Target {
    // A node that is alone needs nothing of its machine.
    if wish.backend == Backend::None || wish.peers.is_empty() {
        return Target::default();
    }
    let mut target = Target { active: true, ..Target::default() };
    let Some(uplink) = actual.addresses.get(&wish.address) else {
        problems.push(Problem::AddressNotHere(wish.address));
        return target;
    };
    // What no node has must not leave by the default route, to be read by who knows whom.
    let nowhere = Route { hop: Hop::Nowhere, source: None };
    target.routes.insert(wish.owner.pool.trunc(), nowhere);
    let own = own_address(wish.subnet);
    let source = actual.addresses.contains_key(&own).then_some(own);
    let mut seen = BTreeSet::from([wish.subnet]);
    for peer in &wish.peers {
        let subnet = peer.subnet;
        let inside = wish.owner.pool.contains(&subnet) && wish.owner.pool.trunc() != subnet;
        if !inside || !seen.insert(subnet) {
            problems.push(Problem::BadSubnet { node: peer.node, subnet });
            continue;
        }
        if let Some(by) = in_the_way(subnet, actual) {
            problems.push(Problem::Taken { node: peer.node, subnet, by });
            continue;
        }
        match hop(wish.backend, peer, uplink) {
            Ok(hop) => target.reach(wish, uplink, peer, Route { hop, source }),
            Err(problem) => problems.push(problem),
        }
    }
    target
}

impl Target {
    fn reach(&mut self, wish: &Wish, uplink: &Uplink, peer: &Peer, route: Route) {
        self.routes.insert(peer.subnet, route);
        if let Hop::Tunnel(end) = route.hop {
            let mac = mac_of(peer.subnet);
            self.neighbours.insert(end, mac);
            self.forwards.insert(mac, peer.address);
            self.tunnel.get_or_insert_with(|| Tunnel {
                number: wish.owner.network_number(),
                port: TUNNEL_PORT,
                local: wish.address,
                mac: mac_of(wish.subnet),
                mtu: uplink.mtu.saturating_sub(TUNNEL_OVERHEAD),
                uplink: uplink.index,
            });
        }
    }
}

fn hop(backend: Backend, peer: &Peer, uplink: &Uplink) -> Result<Hop, Problem> {
    let direct = Hop::Direct(peer.address);
    // The network's own address is nobody's inside of it, so it can stand for the end of the tunnel.
    let tunnel = Hop::Tunnel(peer.subnet.network());
    let on_link = uplink.link.contains(&peer.address);
    match backend {
        Backend::HostGw if on_link => Ok(direct),
        Backend::HostGw => {
            Err(Problem::NotOnLink { node: peer.node, address: peer.address, link: uplink.link })
        }
        Backend::Auto if on_link => Ok(direct),
        Backend::Auto | Backend::Vxlan | Backend::None => Ok(tunnel),
    }
}

/// The node's own address in its subnet: the first, which its bridge has.
fn own_address(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + 1)
}

/// A route of somebody else's that is as exact as ours would be or more so: it would keep, or lose, a part of the
/// subnet's packets. One that is wider than the subnet does no harm.
fn in_the_way(subnet: Ipv4Net, actual: &Actual) -> Option<Ipv4Net> {
    actual.foreign.iter().copied().find(|route| subnet.contains(route))
}

fn changes(target: &Target, actual: &Actual) -> Vec<Change> {
    let mut changes = Vec::new();
    let same_tunnel = target.tunnel == actual.tunnel;
    // Routes go before the device that they lead to; the kernel would take them away with it, unasked.
    let stale = actual.routes.keys().filter(|subnet| !target.routes.contains_key(subnet));
    changes.extend(stale.copied().map(Change::RemoveRoute));
    if actual.tunnel.is_some() && !same_tunnel {
        changes.push(Change::RemoveTunnel);
    }
    if target.active && !actual.forwarding {
        changes.push(Change::AllowForwarding);
    }
    match (target.active, actual.rules) {
        (true, Rules::Absent | Rules::Wrong) => changes.push(Change::WriteRules),
        (false, Rules::Right | Rules::Wrong) => changes.push(Change::RemoveRules),
        (true, Rules::Right) | (false, Rules::Absent) => {}
    }
    if let (Some(tunnel), false) = (&target.tunnel, same_tunnel) {
        changes.push(Change::MakeTunnel(tunnel.clone()));
    }
    if target.tunnel.is_some() {
        let empty = Actual::bare();
        // A tunnel that is made anew knows nobody.
        let known = if same_tunnel { actual } else { &empty };
        ends(target, known, &mut changes);
    }
    for (subnet, route) in &target.routes {
        let lost = matches!(route.hop, Hop::Tunnel(_)) && !same_tunnel;
        if lost || actual.routes.get(subnet) != Some(route) {
            changes.push(Change::SetRoute(*subnet, *route));
        }
    }
    changes
}

/// The other ends of a tunnel that is there.
fn ends(target: &Target, known: &Actual, changes: &mut Vec<Change>) {
    let gone = known.neighbours.keys().filter(|end| !target.neighbours.contains_key(end));
    changes.extend(gone.copied().map(Change::RemoveNeighbour));
    let gone = known.forwards.keys().filter(|mac| !target.forwards.contains_key(mac));
    changes.extend(gone.copied().map(Change::RemoveForward));
    for (mac, address) in &target.forwards {
        if known.forwards.get(mac) != Some(address) {
            changes.push(Change::SetForward(*mac, *address));
        }
    }
    for (end, mac) in &target.neighbours {
        if known.neighbours.get(end) != Some(mac) {
            changes.push(Change::SetNeighbour(*end, *mac));
        }
    }
}
