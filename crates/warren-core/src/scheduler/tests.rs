//! What placement promises.

use super::*;
use crate::State;
use crate::id::ServiceId;
use crate::spec::tests::service;
use crate::spec::{Constraint, ServiceSpec};
use crate::state::tests::Feed;
use crate::units::Bytes;
use std::collections::BTreeMap as Map;
use std::sync::Arc;

fn nodes(count: usize) -> Feed {
    let mut feed = Feed::cluster();
    for i in 0..count {
        feed.node(&format!("host-{i}"));
    }
    feed
}

fn run(state: &State, spec: &ServiceSpec, wanted: u32) -> (Map<NodeId, u32>, String) {
    let group = Group {
        service: ServiceId(1),
        revision: RevisionNumber(1),
        template: &spec.template,
        placement: &spec.placement,
    };
    let mut rooms = Rooms::empty(state.nodes().map(Arc::as_ref));
    let node = |id| state.node(id).map(Arc::as_ref);
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
    assert_eq!(explain, "0/2 nodes: 2 insufficient memory");
}

#[test]
fn an_impossible_constraint_says_so() {
    let feed = nodes(3);
    let mut spec = service("web", 1);
    spec.placement.constraints = vec!["node.labels.disk==ssd".parse::<Constraint>().unwrap()];
    let (counts, explain) = run(&feed.state, &spec, 1);
    assert!(counts.is_empty());
    assert_eq!(explain, "0/3 nodes: 3 not node.labels.disk==ssd");
}

#[test]
fn no_nodes_is_a_reason_too() {
    let (_, explain) = run(&Feed::cluster().state, &service("web", 1), 1);
    assert_eq!(explain, "there are no nodes yet");
}
