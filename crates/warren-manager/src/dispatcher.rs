//! What nodes are told to run: each node's assignments as a chain of changes, computed only for nodes whose tasks
//! changed. The revision of a node's assignments is the log index of the state in which they last changed, so that it
//! grows across leaders.

use std::collections::BTreeSet;
use warren_core::assignment::{self, Assignments, Want};
use warren_core::converge::brake;
use warren_core::id::NodeId;
use warren_core::{Changes, State};
use warren_wire::convert;
use warren_wire::v1;

/// Where the assignments of a node stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) revision: u64,
    pub(crate) digest: [u8; 32],
}

/// What a Full may stop beyond what its reader allows by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stops {
    /// Nothing: the cluster was restored, and what runs is to be adopted first.
    None,
    /// The tasks that it names as to be stopped or ended.
    Named,
    /// All: the node was down, and the cluster has given its tasks up.
    All,
}

impl Stops {
    pub(crate) fn after(was_down: bool, restored: bool) -> Self {
        match (restored, was_down) {
            (true, _) => Self::None,
            (false, true) => Self::All,
            (false, false) => Self::Named,
        }
    }
}

/// The nodes whose assignments may differ between two states.
pub(crate) fn affected(old: &State, new: &State, changes: &Changes) -> BTreeSet<NodeId> {
    // Most changes are of how far a task has come, which its node knows best.
    let want = |state: &State, task| state.task(task).map(|task| assignment::want(task));
    let changed = changes.tasks.iter().filter(|(id, _, _)| want(old, *id) != want(new, *id));
    let mut nodes: BTreeSet<_> = changed.map(|(_, _, node)| *node).collect();
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

/// All assignments of `node`.
pub(crate) fn full(state: &State, node: NodeId, stops: Stops) -> (v1::Full, Position) {
    let assignments = of(state, node);
    let at = Position { revision: state.applied().0, digest: assignment::digest(&assignments) };
    let full = v1::Full {
        revision: at.revision,
        tasks: assignments.values().map(convert::assignment::render).collect(),
        digest: at.digest.to_vec(),
        stop_allowance: allowance(&assignments, stops),
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
fn allowance(assignments: &Assignments, stops: Stops) -> Option<u32> {
    let named = assignments.values().filter(|item| item.want != Want::Run).count();
    match stops {
        Stops::All => Some(u32::MAX),
        Stops::Named if named > 0 => {
            Some(u32::try_from(named + brake(assignments.len())).unwrap_or(u32::MAX))
        }
        Stops::Named | Stops::None => None,
    }
}
