//! What the brake and the leases promise.

use super::*;
use crate::observed::NodeObserved;
use crate::service::Actor;
use crate::state::tests::Feed;
use proptest::prelude::*;

const NOW: ClusterTime = ClusterTime::from_ms(1_000_000);

/// A cluster whose nodes were heard so many milliseconds ago.
fn heard_ago(silences: &[u64]) -> (Feed, Observed) {
    let mut feed = Feed::cluster();
    let mut observed = Observed::default();
    for (i, silence) in silences.iter().enumerate() {
        let id = feed.node(&format!("n{i}"));
        let heard = ClusterTime::from_ms(NOW.as_ms() - silence);
        observed
            .nodes
            .insert(id, NodeObserved { connected: true, heard, ..NodeObserved::default() });
    }
    (feed, observed)
}

fn downs(verdict: &Verdict) -> Vec<NodeId> {
    let downs = verdict.commands.iter().filter_map(|command| {
        let Command::SetNodeUp { node, up } = command else { panic!("{command:?}") };
        (!up).then_some(*node)
    });
    downs.collect()
}

fn ids(feed: &Feed) -> Vec<NodeId> {
    feed.state.nodes().map(|node| node.id).collect()
}

#[test]
fn silence_makes_suspect_then_down() {
    for (silence, suspect, down) in
        [(0, 0, 0), (2_999, 0, 0), (3_000, 1, 0), (8_999, 1, 0), (9_000, 0, 1)]
    {
        let (feed, observed) = heard_ago(&[0, silence]);
        let verdict = judge(&feed.state, &observed, NOW, LEASES);
        assert_eq!((verdict.suspects.len(), downs(&verdict).len()), (suspect, down), "{silence}");
    }
}

#[test]
fn a_new_leader_misses_nobody_at_once() {
    let (feed, _) = heard_ago(&[0, 0, 0]);
    let observed = Observed { since: NOW, ..Observed::default() };
    let verdict = judge(&feed.state, &observed, NOW, LEASES);
    assert_eq!((verdict.commands.len(), verdict.suspects.len()), (0, 0));
    assert_eq!(verdict.wake_at, Some(NOW.after(LEASES.lease)));
}

#[test]
fn the_last_node_is_never_taken_down() {
    let (feed, observed) = heard_ago(&[60_000]);
    let verdict = judge(&feed.state, &observed, NOW, LEASES);
    assert_eq!(downs(&verdict), []);
    assert_eq!(verdict.held, Some(Held { nodes: ids(&feed), up: 1, allowed: 0 }));
}

#[test]
fn many_at_once_are_held_until_an_operator_drains_them() {
    let (mut feed, observed) = heard_ago(&[0, 0, 60_000, 60_000]);
    let verdict = judge(&feed.state, &observed, NOW, LEASES);
    assert_eq!(downs(&verdict), []);
    assert_eq!(verdict.held.unwrap().nodes, ids(&feed)[2..]);

    let node = ids(&feed)[3];
    let drain = Command::SetAvailability {
        node,
        availability: Availability::Drain,
        within: None,
        by: Actor::named("test"),
    };
    feed.apply(drain).unwrap();
    let verdict = judge(&feed.state, &observed, NOW, LEASES);
    assert_eq!(verdict.held, None);
    assert_eq!(downs(&verdict), [node, ids(&feed)[2]]);
}

#[test]
fn one_after_the_other_counts_as_at_once() {
    let (mut feed, mut observed) = heard_ago(&[0, 0, 0, 60_000]);
    let gone = downs(&judge(&feed.state, &observed, NOW, LEASES));
    feed.apply(Command::SetNodeUp { node: gone[0], up: false }).unwrap();
    let went = feed.state.time();
    let next = ids(&feed)[2];
    let judge_at = |feed: &Feed, observed: &mut Observed, now: ClusterTime| {
        for (id, node) in observed.nodes.clone() {
            let heard = if id == next { ClusterTime::START } else { now };
            let connected = id != gone[0];
            observed.nodes.insert(id, NodeObserved { heard, connected, ..node });
        }
        judge(&feed.state, observed, now, LEASES)
    };
    let soon = judge_at(&feed, &mut observed, went.after(Duration::from_secs(50)));
    assert_eq!((downs(&soon), soon.held.is_some()), (vec![], true));
    let later = judge_at(&feed, &mut observed, went.after(Duration::from_secs(61)));
    assert_eq!(downs(&later), [next]);
}

#[test]
fn a_node_that_is_heard_again_is_up_again() {
    let (mut feed, observed) = heard_ago(&[0, 0]);
    let node = ids(&feed)[0];
    feed.apply(Command::SetNodeUp { node, up: false }).unwrap();
    let verdict = judge(&feed.state, &observed, NOW, LEASES);
    assert_eq!(verdict.commands, [Command::SetNodeUp { node, up: true }]);
}

#[test]
fn large_clusters_have_longer_leases() {
    let lease = |nodes| LEASES.for_nodes(nodes).lease.as_secs();
    let leases = [0, 1, 1_000, 1_001, 5_000, 100_000].map(lease);
    assert_eq!(leases, [3, 3, 3, 6, 15, 15]);
}

proptest! {
    #[test]
    fn nobody_heard_goes_down_and_never_too_many(
        silences in proptest::collection::vec(0_u64..30_000, 1..40),
    ) {
        let (feed, observed) = heard_ago(&silences);
        let verdict = judge(&feed.state, &observed, NOW, LEASES);
        let downs = downs(&verdict);
        let allowed = (silences.len() * AT_ONCE_PERCENT_MAX / 100).max(1);
        prop_assert!(downs.len() <= allowed && downs.len() < silences.len());
        for (node, silence) in ids(&feed).into_iter().zip(&silences) {
            let is_down = downs.contains(&node);
            let suspect = verdict.suspects.iter().any(|suspect| suspect.node == node);
            prop_assert!(!is_down || *silence >= 9_000);
            prop_assert_eq!(suspect || is_down, *silence >= 3_000);
            prop_assert!(!(suspect && is_down));
        }
        prop_assert!(verdict.wake_at.is_none_or(|at| at > NOW));
        prop_assert!(downs.is_empty() || verdict.held.is_none());
    }
}
