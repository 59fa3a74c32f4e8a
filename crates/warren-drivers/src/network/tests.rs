//! The plan, whatever is wished and whatever is there; and the fake against its contract.

use super::fake::{Fake, make};
use super::*;
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use warren_core::id::NodeId;
use warren_core::node::{Encryption, WireGuard, WireGuardKey};

fn owner() -> Owner {
    Owner { tag: "0123abcd".into(), pool: "10.210.0.0/16".parse().unwrap() }
}

fn peer(node: u64, address: [u8; 4], third: u8) -> Peer {
    let subnet = format!("10.210.{third}.0/24").parse().unwrap();
    let encryption = Encryption::default();
    Peer { node: NodeId(node), address: Ipv4Addr::from(address), subnet, encryption }
}

/// What a node wishes that has the first subnet and does not encrypt.
fn wish(backend: Backend, peers: Vec<Peer>) -> Wish {
    let (address, subnet) = (contract::ADDRESS, "10.210.0.0/24".parse().unwrap());
    Wish { owner: owner(), backend, address, subnet, wire: None, peers }
}

fn machine() -> Actual {
    let link = "198.18.0.0/24".parse().unwrap();
    let uplink = Uplink { index: 2, name: "eth0".into(), link, mtu: 1500 };
    Actual { addresses: BTreeMap::from([(contract::ADDRESS, uplink)]), ..Actual::bare() }
}

fn stage(_check: &str) -> std::future::Ready<Option<(contract::Stage, ())>> {
    let network = Box::new(Fake::new(machine()));
    std::future::ready(Some((contract::Stage { network, owner: owner(), wire: None }, ())))
}

fn encrypting_stage(_check: &str) -> std::future::Ready<Option<(contract::Stage, ())>> {
    let network = Box::new(Fake::new(Actual { has_wireguard: true, ..machine() }));
    let wire = Some(WireGuard { key: WireGuardKey([1; 32]), port: 7404 });
    std::future::ready(Some((contract::Stage { network, owner: owner(), wire }, ())))
}

mod fake_contract {
    crate::network_contract!(super::stage);
    crate::network_contract!(encrypted super::encrypting_stage);
}

/// Part of the pool, mostly: few enough that peers meet.
fn subnet() -> impl Strategy<Value = Ipv4Net> {
    prop_oneof![
        9 => (0_u8..5).prop_map(|third| format!("10.210.{third}.0/24").parse().unwrap()),
        1 => Just("10.99.0.0/24".parse().unwrap()),
    ]
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    (0_u8..2, 1_u8..6).prop_map(|(link, host)| Ipv4Addr::new(198, 18, link, host))
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let backend = prop_oneof![
        Just(Backend::Auto),
        Just(Backend::HostGw),
        Just(Backend::Vxlan),
        Just(Backend::WireGuard),
        Just(Backend::None)
    ];
    let peer = (2_u64..9, address(), subnet(), encryption());
    let peer = peer.prop_map(|(node, address, subnet, encryption)| Peer {
        node: NodeId(node),
        address,
        subnet,
        encryption,
    });
    let peers = prop::collection::vec(peer, 0..6);
    let own = prop_oneof![4 => Just(contract::ADDRESS), 1 => address()];
    (backend, own, wireguard(), peers).prop_map(|(backend, address, wire, peers)| {
        let wire = wire.filter(|_| backend.may_encrypt());
        Wish { address, wire, ..wish(backend, peers) }
    })
}

/// Few enough keys that two may tell the same one.
fn wireguard() -> impl Strategy<Value = Option<WireGuard>> {
    let known = (0_u8..6, 7403_u16..7405);
    let known = known.prop_map(|(key, port)| WireGuard { key: WireGuardKey([key; 32]), port });
    prop::option::weighted(0.8, known)
}

fn encryption() -> impl Strategy<Value = Encryption> {
    (wireguard(), prop::bool::weighted(0.2))
        .prop_map(|(wireguard, only)| Encryption { wireguard, only })
}

fn wire() -> impl Strategy<Value = (Option<Wire>, BTreeMap<WireGuardKey, WirePeer>)> {
    let key = (0_u8..6).prop_map(|key| WireGuardKey([key; 32]));
    let wire = (key.clone(), 7403_u16..7405, prop_oneof![Just(1420), Just(0)]);
    let wire = wire.prop_map(|(key, port, mtu)| Wire { key, port, mtu });
    let endpoint = prop::option::of(address().prop_map(|address| (address, 7403).into()));
    let subnets = prop::collection::btree_set(subnet(), 0..2);
    let peer = (endpoint, subnets).prop_map(|(endpoint, subnets)| WirePeer { endpoint, subnets });
    let peers = prop::collection::btree_map(key, peer, 0..4);
    (prop::option::of(wire), peers).prop_map(|(wire, mut peers)| {
        let mut given = BTreeSet::new();
        for peer in peers.values_mut() {
            // A subnet has one end.
            peer.subnets.retain(|subnet| given.insert(*subnet));
        }
        let known = if wire.is_some() { peers } else { BTreeMap::new() };
        (wire, known)
    })
}

/// A machine on which anybody may have done anything.
fn any_machine() -> impl Strategy<Value = Actual> {
    let mac = (0_u8..5).prop_map(|third| Mac([0x0a, 0x57, 10, 210, third, 0]));
    let end = (0_u8..5).prop_map(|third| Ipv4Addr::new(10, 210, third, 0));
    let (direct, tunnel) = (address().prop_map(Hop::Direct), end.clone().prop_map(Hop::Tunnel));
    let hop = prop_oneof![direct, tunnel, Just(Hop::Wire), Just(Hop::Nowhere)];
    let route = hop.prop_map(|hop| Route { hop, source: None });
    let tunnel = (0_u32..3).prop_map(|uplink| Tunnel {
        number: owner().network_number(),
        port: TUNNEL_PORT,
        local: contract::ADDRESS,
        mac: Mac([0x0a, 0x57, 10, 210, 0, 0]),
        mtu: 1450,
        uplink,
    });
    let rules = prop_oneof![Just(Rules::Absent), Just(Rules::Wrong), Just(Rules::Right)];
    let parts = (
        prop::option::of(tunnel),
        prop::collection::btree_map(subnet(), route, 0..4),
        prop::collection::btree_map(end, mac.clone(), 0..4),
        prop::collection::btree_map(mac, address(), 0..4),
        any::<bool>(),
        any::<bool>(),
        rules,
        prop::option::of(subnet()),
        (wire(), any::<bool>(), prop::option::of(Just("eth0".to_owned()))),
    );
    parts.prop_map(|parts| {
        let (tunnel, routes, neighbours, forwards, forwarding, bridge, rules, foreign, wire) =
            parts;
        let ((wire, wire_peers), has_wireguard, barred) = wire;
        let mut actual = Actual { forwarding, rules, routes, wire, wire_peers, ..machine() };
        actual.barred = barred.filter(|_| rules != Rules::Absent);
        actual.has_wireguard = has_wireguard || actual.wire.is_some();
        actual.foreign = foreign.into_iter().collect::<BTreeSet<_>>();
        if bridge {
            let bridge = Uplink {
                name: "br-1".into(),
                index: 3,
                ..actual.addresses[&contract::ADDRESS].clone()
            };
            actual.addresses.insert(Ipv4Addr::new(10, 210, 0, 1), bridge);
        }
        match tunnel {
            Some(tunnel) => {
                (actual.tunnel, actual.neighbours, actual.forwards) =
                    (Some(tunnel), neighbours, forwards);
            }
            // Nothing leads into a tunnel that is not there.
            None => actual.routes.retain(|_, route| !matches!(route.hop, Hop::Tunnel(_))),
        }
        if actual.wire.is_none() {
            actual.routes.retain(|_, route| route.hop != Hop::Wire);
        }
        actual
    })
}

fn carried_out(plan: &Plan, mut actual: Actual) -> Actual {
    for change in &plan.changes {
        make(&mut actual, change).unwrap();
    }
    actual
}

proptest! {
    #[test]
    fn a_plan_that_was_carried_out_is_empty(wish in prop::option::of(any_wish()), actual in any_machine()) {
        let first = plan(wish.as_ref(), &actual);
        let after = carried_out(&first, actual);
        let second = plan(wish.as_ref(), &after);
        prop_assert_eq!(&second.changes, &vec![]);
        prop_assert_eq!(second.problems, first.problems, "what is in the way stays named");
        if wish.is_none_or(|wish| wish.backend == Backend::None || wish.peers.is_empty()) {
            prop_assert!(after.routes.is_empty() && after.tunnel.is_none() && after.wire.is_none());
            prop_assert_eq!((after.rules, after.barred), (Rules::Absent, None));
        }
    }

    #[test]
    fn every_peer_is_reached_or_named(wish in any_wish(), actual in any_machine()) {
        let plan = plan(Some(&wish), &actual);
        let after = carried_out(&plan, actual);
        let active = wish.backend != Backend::None && !wish.peers.is_empty();
        prop_assume!(active && after.addresses.contains_key(&wish.address));
        prop_assert_eq!(after.routes[&wish.owner.pool].hop, Hop::Nowhere);
        for peer in &wish.peers {
            let named = plan.problems.iter().any(|problem| matches!(problem,
                Problem::NotOnLink { node, .. } | Problem::Taken { node, .. } | Problem::BadSubnet { node, .. }
                    | Problem::NotEncrypted { node, .. } | Problem::SameKey { node } if *node == peer.node))
                || plan.problems.iter().any(|problem| matches!(problem, Problem::NoWireGuard { .. } | Problem::Untold));
            let reached = match after.routes.get(&peer.subnet).map(|route| route.hop) {
                Some(Hop::Direct(_)) => true,
                Some(Hop::Tunnel(end)) => {
                    after.neighbours.get(&end).is_some_and(|mac| after.forwards.contains_key(mac))
                }
                Some(Hop::Wire) => after.wire_peers.values().any(|end| end.subnets.contains(&peer.subnet)),
                Some(Hop::Nowhere) | None => false,
            };
            prop_assert!(named || reached, "{peer:?}");
        }
        prop_assert!(after.routes.keys().all(|subnet| wish.owner.pool.contains(subnet)));
    }

    #[test]
    fn what_is_to_be_encrypted_never_goes_in_the_clear(wish in any_wish(), actual in any_machine()) {
        let plan = plan(Some(&wish), &actual);
        let after = carried_out(&plan, actual);
        for (subnet, route) in &after.routes {
            let mut peers = wish.peers.iter().filter(|peer| peer.subnet == *subnet);
            // Of those that name the same subnet the first counts.
            let Some(peer) = peers.next() else { continue };
            let only = wish.backend == Backend::WireGuard || peer.encryption.only;
            prop_assert!(!only || matches!(route.hop, Hop::Wire | Hop::Nowhere), "{subnet} {route:?}");
            if route.hop == Hop::Wire {
                let there = peer.encryption.wireguard.unwrap();
                let end = &after.wire_peers[&there.key];
                prop_assert_eq!(&end.subnets, &BTreeSet::from([*subnet]));
                prop_assert_eq!(end.endpoint, Some((peer.address, there.port).into()));
                prop_assert_eq!(after.wire.map(|wire| wire.key), wish.wire.map(|own| own.key));
            }
        }
        let active = !wish.peers.is_empty() && after.addresses.contains_key(&wish.address);
        let barred = (active && wish.backend == Backend::WireGuard).then_some("eth0");
        prop_assert_eq!(after.barred.as_deref(), barred);
        for end in after.wire_peers.values() {
            prop_assert!(end.subnets.iter().all(|subnet| after.routes[subnet].hop == Hop::Wire));
        }
    }

    /// Two nodes that know the same of each other take the same way, whatever each machine has, where both have the
    /// same setting or one of them is set to encrypt.
    #[test]
    fn both_ends_take_the_same_way(
        settings in prop_oneof![
            Just([Backend::Auto, Backend::Auto]),
            Just([Backend::WireGuard, Backend::WireGuard]),
            Just([Backend::WireGuard, Backend::Auto]),
            Just([Backend::WireGuard, Backend::HostGw]),
            Just([Backend::Vxlan, Backend::WireGuard]),
        ],
        capable in any::<[bool; 2]>(),
        same_link in any::<bool>(),
    ) {
        let addresses = [[198, 18, 0, 11], [198, 18, if same_link { 0 } else { 1 }, 12]].map(Ipv4Addr::from);
        let subnets = ["10.210.1.0/24", "10.210.2.0/24"].map(|text| text.parse::<Ipv4Net>().unwrap());
        let told = [0, 1].map(|node: usize| {
            let backend = settings[node];
            let known = WireGuard { key: WireGuardKey([u8::try_from(node).unwrap(); 32]), port: 7403 };
            let wireguard = (capable[node] && backend.may_encrypt()).then_some(known);
            Encryption { wireguard, only: backend == Backend::WireGuard }
        });
        let hops = [0, 1].map(|node: usize| {
            let other = 1 - node;
            let peer = Peer {
                node: NodeId(other as u64),
                address: addresses[other],
                subnet: subnets[other],
                encryption: told[other],
            };
            let wish = Wish {
                owner: owner(),
                backend: settings[node],
                address: addresses[node],
                subnet: subnets[node],
                wire: told[node].wireguard,
                peers: vec![peer],
            };
            let link = Ipv4Net::new(addresses[node], 24).unwrap().trunc();
            let uplink = Uplink { index: 2, name: "eth0".into(), link, mtu: 1500 };
            let machine = Actual { addresses: BTreeMap::from([(addresses[node], uplink)]), ..Actual::bare() };
            let machine = Actual { has_wireguard: capable[node], ..machine };
            carried_out(&plan(Some(&wish), &machine), machine).routes.get(&subnets[other]).map(|route| route.hop)
        });
        let same = matches!(hops, [Some(Hop::Direct(_)), Some(Hop::Direct(_))]
            | [Some(Hop::Tunnel(_)), Some(Hop::Tunnel(_))] | [Some(Hop::Wire), Some(Hop::Wire)] | [None, None]);
        prop_assert!(same, "{hops:?}");
        prop_assert!(told.iter().all(|told| !told.only) || matches!(hops, [Some(Hop::Wire) | None, _]), "{hops:?}");
    }
}

#[test]
fn a_route_takes_the_bridge_s_address_once_it_is_there() {
    let wish = wish(Backend::Auto, vec![peer(2, [198, 18, 0, 2], 2)]);
    let mut actual = carried_out(&plan(Some(&wish), &machine()), machine());
    let bridge = Uplink { index: 3, name: "br-1".into(), link: wish.subnet, mtu: 1500 };
    actual.addresses.insert(Ipv4Addr::new(10, 210, 0, 1), bridge);
    let Plan { changes, .. } = plan(Some(&wish), &actual);
    let hop = Hop::Direct(Ipv4Addr::new(198, 18, 0, 2));
    let source = Some(Ipv4Addr::new(10, 210, 0, 1));
    assert_eq!(
        changes,
        [Change::SetRoute("10.210.2.0/24".parse().unwrap(), Route { hop, source })]
    );
}

#[tokio::test]
async fn a_kernel_without_tunnels_is_named_once_and_the_link_still_works() {
    let peers = vec![peer(2, [198, 18, 0, 2], 2), peer(3, [198, 18, 9, 3], 3)];
    let wish = wish(Backend::Auto, peers);
    let network = Fake::without_vxlan(machine());
    let settled = settle(&network, Some(&wish)).await.unwrap();
    let [problem] = &settled.problems[..] else { panic!("{:?}", settled.problems) };
    assert!(problem.to_string().contains("this machine has no vxlan"), "{problem}");
    assert_eq!(network.state().routes.len(), 2);
}

#[test]
fn a_pool_over_a_network_of_the_machine_is_refused_by_name() {
    let mut actual = machine();
    actual.foreign.insert("10.210.5.0/24".parse().unwrap());
    let error = check_pool("10.210.0.0/16".parse().unwrap(), &actual).unwrap_err();
    assert!(
        error.to_string().contains("10.210.5.0/24") && error.to_string().contains("--pool"),
        "{error}"
    );
    assert_eq!(check_pool("10.220.0.0/16".parse().unwrap(), &actual), Ok(()));
    actual.foreign.insert("10.0.0.0/8".parse().unwrap());
    assert!(check_pool("10.220.0.0/16".parse().unwrap(), &actual).is_err(), "a wider one as well");
}

#[test]
fn names_fit_and_differ_between_clusters() {
    let other = Owner { tag: "0123abce".into(), ..owner() };
    for owner in [owner(), other.clone(), Owner { tag: "much-too-long-a-tag".into(), ..owner() }] {
        assert!(owner.tunnel().len() <= 15, "{}", owner.tunnel());
        assert!(owner.wire().len() <= 15 && owner.wire() != owner.tunnel(), "{}", owner.wire());
        assert!(owner.chain("FORWARD").len() <= 28, "{}", owner.chain("FORWARD"));
        assert!((1..1 << 24).contains(&owner.network_number()));
    }
    assert_ne!(owner().network_number(), other.network_number());
    // Every node must come to the same, for ever.
    assert_eq!(owner().network_number(), 7_039_165);
}

#[test]
fn containers_leave_room_for_the_tunnel() {
    assert_eq!(container_mtu(Backend::Vxlan, 1500), Some(1450));
    assert_eq!(container_mtu(Backend::Auto, 1400), Some(1320));
    assert_eq!(container_mtu(Backend::WireGuard, 1500), Some(1420));
    assert_eq!(container_mtu(Backend::HostGw, 1500), None);
    let all = [Backend::Auto, Backend::HostGw, Backend::Vxlan, Backend::WireGuard, Backend::None];
    for backend in all {
        assert_eq!(backend.name().parse(), Ok(backend));
    }
    assert!("ipsec".parse::<Backend>().unwrap_err().contains("choose auto"));
}

#[tokio::test]
async fn a_machine_without_wireguard_is_named_once_with_the_way_out() {
    let wish = wish(Backend::WireGuard, vec![peer(2, [198, 18, 0, 2], 2)]);
    let network = Fake::new(machine());
    let settled = settle(&network, Some(&wish)).await.unwrap();
    let [problem] = &settled.problems[..] else { panic!("{:?}", settled.problems) };
    let told = problem.to_string();
    assert!(told.contains("no WireGuard") && told.contains("wrg-0123abcd"), "{told}");
    // What is not encrypted is not sent: only the pool as a whole has a way, and that leads nowhere.
    let hops: Vec<Hop> = network.state().routes.values().map(|route| route.hop).collect();
    assert_eq!(hops, [Hop::Nowhere]);
}
