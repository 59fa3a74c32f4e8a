//! The plan, whatever is wished and whatever is there; and the fake against its contract.

use super::fake::{Fake, make};
use super::*;
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use warren_core::id::NodeId;

fn owner() -> Owner {
    Owner { tag: "0123abcd".into(), pool: "10.210.0.0/16".parse().unwrap() }
}

fn machine() -> Actual {
    let link = "198.18.0.0/24".parse().unwrap();
    let uplink = Uplink { index: 2, name: "eth0".into(), link, mtu: 1500 };
    Actual { addresses: BTreeMap::from([(contract::ADDRESS, uplink)]), ..Actual::bare() }
}

fn stage(_check: &str) -> std::future::Ready<Option<(contract::Stage, ())>> {
    let network = Box::new(Fake::new(machine()));
    std::future::ready(Some((contract::Stage { network, owner: owner() }, ())))
}

mod fake_contract {
    crate::network_contract!(super::stage);
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
        Just(Backend::None)
    ];
    let peer = (2_u64..9, address(), subnet()).prop_map(|(node, address, subnet)| Peer {
        node: NodeId(node),
        address,
        subnet,
    });
    let peers = prop::collection::vec(peer, 0..6);
    let own = prop_oneof![4 => Just(contract::ADDRESS), 1 => address()];
    (backend, own, peers).prop_map(|(backend, address, peers)| Wish {
        owner: owner(),
        backend,
        address,
        subnet: "10.210.0.0/24".parse().unwrap(),
        peers,
    })
}

/// A machine on which anybody may have done anything.
fn any_machine() -> impl Strategy<Value = Actual> {
    let mac = (0_u8..5).prop_map(|third| Mac([0x0a, 0x57, 10, 210, third, 0]));
    let end = (0_u8..5).prop_map(|third| Ipv4Addr::new(10, 210, third, 0));
    let (direct, tunnel) = (address().prop_map(Hop::Direct), end.clone().prop_map(Hop::Tunnel));
    let hop = prop_oneof![direct, tunnel, Just(Hop::Nowhere)];
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
    );
    parts.prop_map(|(tunnel, routes, neighbours, forwards, forwarding, bridge, rules, foreign)| {
        let mut actual = Actual { forwarding, rules, routes, ..machine() };
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
            prop_assert!(after.routes.is_empty() && after.tunnel.is_none());
            prop_assert_eq!(after.rules, Rules::Absent);
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
                    if *node == peer.node));
            let reached = match after.routes.get(&peer.subnet).map(|route| route.hop) {
                Some(Hop::Direct(_)) => true,
                Some(Hop::Tunnel(end)) => {
                    after.neighbours.get(&end).is_some_and(|mac| after.forwards.contains_key(mac))
                }
                Some(Hop::Nowhere) | None => false,
            };
            prop_assert!(named || reached, "{peer:?}");
        }
        prop_assert!(after.routes.keys().all(|subnet| wish.owner.pool.contains(subnet)));
    }
}

#[test]
fn a_route_takes_the_bridge_s_address_once_it_is_there() {
    let peer = Peer {
        node: NodeId(2),
        address: Ipv4Addr::new(198, 18, 0, 2),
        subnet: "10.210.2.0/24".parse().unwrap(),
    };
    let wish = Wish {
        owner: owner(),
        backend: Backend::Auto,
        address: contract::ADDRESS,
        subnet: "10.210.0.0/24".parse().unwrap(),
        peers: vec![peer],
    };
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
    let peer = |node, address: [u8; 4], third: u8| Peer {
        node: NodeId(node),
        address: Ipv4Addr::from(address),
        subnet: format!("10.210.{third}.0/24").parse().unwrap(),
    };
    let wish = Wish {
        owner: owner(),
        backend: Backend::Auto,
        address: contract::ADDRESS,
        subnet: "10.210.0.0/24".parse().unwrap(),
        peers: vec![peer(2, [198, 18, 0, 2], 2), peer(3, [198, 18, 9, 3], 3)],
    };
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
    assert_eq!(container_mtu(Backend::Auto, 1400), Some(1350));
    assert_eq!(container_mtu(Backend::HostGw, 1500), None);
    for backend in [Backend::Auto, Backend::HostGw, Backend::Vxlan, Backend::None] {
        assert_eq!(backend.name().parse(), Ok(backend));
    }
    assert!("wireguard".parse::<Backend>().unwrap_err().contains("choose vxlan"));
    assert!("ipsec".parse::<Backend>().unwrap_err().contains("choose auto"));
}
