//! What placement promises.

use super::*;
use crate::State;
use crate::id::ServiceId;
use crate::spec::tests::service;
use crate::spec::{Constraint, Mount, MountKind, Port, Protocol, ServiceSpec};
use crate::state::tests::Feed;
use crate::units::{Bytes, MilliCpu};
use std::collections::BTreeMap as Map;

fn nodes(count: usize) -> Feed {
    let mut feed = Feed::cluster();
    for i in 0..count {
        feed.node(&format!("host-{i}"));
    }
    feed
}

fn run(state: &State, spec: &ServiceSpec, wanted: u32) -> (Map<NodeId, u32>, String) {
    let nodes: Vec<Node> = state.nodes().map(|node| Node::clone(node)).collect();
    run_on(&nodes, spec, wanted)
}

fn run_on(nodes: &[Node], spec: &ServiceSpec, wanted: u32) -> (Map<NodeId, u32>, String) {
    let group = Group {
        service: ServiceId(1),
        revision: RevisionNumber(1),
        template: &spec.template,
        placement: &spec.placement,
    };
    let mut rooms = Rooms::empty(nodes.iter());
    let node = |id| nodes.iter().find(|node| node.id == id);
    let mut presence = Presence::of(&group, std::iter::empty(), node);
    let (chosen, explain) = place(&group, wanted, &mut rooms, &mut presence);
    let mut counts = Map::new();
    for node in chosen {
        *counts.entry(node).or_default() += 1;
    }
    (counts, explain.to_string())
}

#[test]
fn tasks_are_spread_evenly() {
    let feed = nodes(4);
    let (counts, _) = run(&feed.state, &service("web", 10), 10);
    assert_eq!(counts.values().sum::<u32>(), 10);
    assert!(counts.values().all(|count| (2..=3).contains(count)), "{counts:?}");
}

#[test]
fn memory_is_never_promised_twice() {
    let feed = nodes(2);
    let mut spec = service("web", 10);
    spec.template.resources.memory_limit = Some(Bytes::from_mib(1500));
    let (counts, explain) = run(&feed.state, &spec, 10);
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [2, 2]);
    assert_eq!(explain, "0/2 nodes: 2 insufficient memory (1500Mi asked, at most 1096Mi free)");
}

#[test]
fn the_node_with_the_most_room_is_told_of_those_that_have_too_little() {
    let feed = nodes(3);
    let mut nodes: Vec<Node> = feed.state.nodes().map(|node| Node::clone(node)).collect();
    for (node, mib) in nodes.iter_mut().zip([100, 300, 200]) {
        // Not a whole number of mebibytes, as memory of machines is.
        node.facts.memory = Bytes(Bytes::from_mib(mib).0 + 1);
    }
    let mut spec = service("web", 1);
    spec.template.resources.memory_limit = Some(Bytes::from_mib(512));
    let (_, explain) = run_on(&nodes, &spec, 1);
    assert_eq!(explain, "0/3 nodes: 3 insufficient memory (512Mi asked, at most 300Mi free)");
    spec.template.resources.memory_limit = None;
    spec.template.resources.cpu_limit = Some(MilliCpu(8500));
    let (_, explain) = run_on(&nodes, &spec, 1);
    assert_eq!(explain, "0/3 nodes: 3 insufficient CPU (8500m asked, at most 4 free)");
}

#[test]
fn an_impossible_constraint_says_so() {
    let feed = nodes(3);
    let mut spec = service("web", 1);
    spec.placement.constraints = vec!["node.labels.disk==ssd".parse::<Constraint>().unwrap()];
    let (counts, explain) = run(&feed.state, &spec, 1);
    assert!(counts.is_empty());
    assert_eq!(explain, "0/3 nodes: 3 excluded by node.labels.disk==ssd");
}

#[test]
fn no_nodes_is_a_reason_too() {
    let (_, explain) = run(&Feed::cluster().state, &service("web", 1), 1);
    assert_eq!(explain, "there are no nodes yet");
}

fn published() -> ServiceSpec {
    let mut spec = service("web", 1);
    let host = Some(8080);
    spec.template.ports = vec![Port { name: None, container: 80, protocol: Protocol::Tcp, host }];
    spec
}

/// Two nodes, the first with the process runtime.
fn mixed() -> Vec<Node> {
    let mut nodes: Vec<Node> = nodes(2).state.nodes().map(|node| Node::clone(node)).collect();
    nodes[0].facts.runtime = "process 1.0".to_owned();
    nodes
}

#[test]
fn a_host_port_goes_only_where_the_runtime_has_it() {
    let (counts, explain) = run_on(&mixed(), &published(), 2);
    assert_eq!(counts.values().sum::<u32>(), 1);
    let text = "0/2 nodes: 1 with a runtime that has no host ports, 1 host port 8080 taken";
    assert_eq!(explain, text);
}

#[test]
fn what_no_runtime_can_give_is_refused_by_name() {
    let check = |nodes: &[Node], spec: &ServiceSpec| {
        check_needs(spec, nodes.iter()).map_err(|error| error.field)
    };
    let nodes = mixed();
    let process = &nodes[..1];
    let field = |name: &str| Err(name.to_owned());
    assert_eq!(check(&[], &published()), Ok(()), "nothing is known of nodes yet");
    assert_eq!(check(process, &service("web", 1)), Ok(()));
    assert_eq!(check(process, &published()), field("template.ports"));
    assert_eq!(check(&nodes, &published()), Ok(()), "the other node can");
    let mut mounts = service("web", 1);
    mounts.template.mounts = vec![Mount {
        kind: MountKind::Tmpfs { size: None },
        target: "/tmp".to_owned(),
        read_only: false,
    }];
    assert_eq!(check(process, &mounts), field("template.mounts"));
    let mut bound = published();
    bound.placement.constraints = vec!["node.hostname==host-0".parse().unwrap()];
    assert_eq!(check(&nodes, &bound), field("template.ports"), "the other may not");
}
