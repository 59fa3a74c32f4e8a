//! What nodes are told to run: each node's assignments as a chain of changes, computed only for nodes whose tasks
//! changed. The revision of a node's assignments is the log index of the state in which they last changed, so that it
//! grows across leaders.

use std::collections::BTreeSet;
use warren_core::assignment::{self, Assignments, Want};
use warren_core::id::NodeId;
use warren_core::{Changes, State};
use warren_wire::convert;
use warren_wire::v1;

/// A node that comes back may have to stop this many of its tasks, or [`STOPS_PERCENT`] of them, without a reason that
/// the message names: the guard that the session promises (proto `Full.stop_allowance`).
const STOPS_MIN: usize = 2;
/// See [`STOPS_MIN`].
const STOPS_PERCENT: usize = 30;

/// Where the assignments of a node stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) revision: u64,
    pub(crate) digest: [u8; 32],
}

/// The nodes whose assignments may differ between two states.
pub(crate) fn affected(old: &State, new: &State, changes: &Changes) -> BTreeSet<NodeId> {
    let mut nodes: BTreeSet<_> = changes.tasks.iter().map(|(_, _, node)| *node).collect();
    for id in &changes.services {
        // Of what a service says beside its revisions, only the restart policy reaches its tasks.
        let restart = |state: &State| state.service(*id).map(|s| s.spec.restart.clone());
        if restart(old) != restart(new) {
            nodes.extend(new.tasks_of(*id).map(|task| task.node));
        }
    }
    nodes
}

/// What takes `node` from its assignments in `old`, which it holds at `from`, to those in `new`; absent where they are
/// equal.
pub(crate) fn change(
    old: &State,
    new: &State,
    node: NodeId,
    from: u64,
) -> Option<(v1::Assign, Position)> {
    let (before, after) = (of(old, node), of(new, node));
    let set = after.values().filter(|item| before.get(&item.task) != Some(item));
    let set: Vec<_> = set.map(convert::assignment::render).collect();
    let remove: Vec<_> =
        before.keys().filter(|task| !after.contains_key(task)).map(ToString::to_string).collect();
    if set.is_empty() && remove.is_empty() {
        return None;
    }
    let to = Position { revision: new.applied().0, digest: assignment::digest(&after) };
    let digest = to.digest.to_vec();
    let assign = v1::Assign { applies_to: from, results_in: to.revision, set, remove, digest };
    Some((assign, to))
}

/// All assignments of `node`. `was_down` says that the cluster had given the node's tasks up, so that it may have to
/// stop all that it runs.
pub(crate) fn full(state: &State, node: NodeId, was_down: bool) -> (v1::Full, Position) {
    let assignments = of(state, node);
    let at = Position { revision: state.applied().0, digest: assignment::digest(&assignments) };
    let full = v1::Full {
        revision: at.revision,
        tasks: assignments.values().map(convert::assignment::render).collect(),
        digest: at.digest.to_vec(),
        stop_allowance: allowance(&assignments, was_down),
    };
    (full, at)
}

/// The digest that `node` must have.
pub(crate) fn digest(state: &State, node: NodeId) -> [u8; 32] {
    assignment::digest(&of(state, node))
}

fn of(state: &State, node: NodeId) -> Assignments {
    state.node(node).map(|node| assignment::assignments(state, node)).unwrap_or_default()
}

/// Stops that the message itself asks for are no sign of a leader that has forgotten something.
fn allowance(assignments: &Assignments, was_down: bool) -> Option<u32> {
    if was_down {
        return Some(u32::MAX);
    }
    let named = assignments.values().filter(|item| item.want != Want::Run).count();
    let unnamed = STOPS_MIN.max(assignments.len() * STOPS_PERCENT / 100);
    (named > 0).then(|| u32::try_from(named + unnamed).unwrap_or(u32::MAX))
}
