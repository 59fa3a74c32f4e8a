//! Services and their revisions.

use crate::id::{Generation, NodeId, RevisionNumber, RolloutId, ServiceId, Slot, TaskId};
use crate::rollout::Rollout;
use crate::spec::{Hash, ServiceSpec, Template};
use crate::task::Task;
use crate::time::{ClusterTime, WallTime};
use crate::units::Weight;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Who did something, as the audit and `history` show it: a user of the API, or a part of Warren.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Actor {
    /// What they are called.
    pub name: String,
    /// From where they asked, as far as the connection proves it: an address, or the socket of a node. Empty for parts
    /// of Warren.
    pub from: String,
}

impl Actor {
    /// Somebody of whom it is not said from where they asked.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), from: String::new() }
    }

    /// Warren itself, where a rule of a rollout decided.
    #[must_use]
    pub fn warren() -> Self {
        Self::named("warren")
    }

    /// Whether somebody outside of Warren did it.
    #[must_use]
    pub fn is_person(&self) -> bool {
        self.name != "warren"
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One immutable template of a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Revision {
    /// Its number within the service.
    pub number: RevisionNumber,
    /// The hash of its template.
    pub hash: Hash,
    /// What its tasks run.
    pub template: Template,
    /// When it was made.
    pub created: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub created_wall: WallTime,
    /// Who made it.
    pub by: Actor,
    /// Why, in the user's words; empty where none were given.
    pub cause: String,
    /// When it was accepted as stable last; absent where it never was.
    pub last_good: Option<ClusterTime>,
}

/// How much of a service's traffic goes to which revision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Split {
    /// The traffic epoch of its last change.
    pub epoch: u64,
    /// When that was.
    pub since: ClusterTime,
    /// Weights that sum to 1000; empty where every ready task has an equal share.
    pub weights: Vec<(RevisionNumber, Weight)>,
}

impl Split {
    /// The share of one revision; absent where shares are equal.
    #[must_use]
    pub fn weight_of(&self, revision: RevisionNumber) -> Option<Weight> {
        let found = self.weights.iter().find(|(number, _)| *number == revision);
        let share = found.map_or(Weight::ZERO, |(_, weight)| *weight);
        (!self.weights.is_empty()).then_some(share)
    }
}

/// An order that no release begins and none goes forward. Ways back are never held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Freeze {
    /// Who.
    pub by: Actor,
    /// Why, in words.
    pub reason: String,
    /// Since when.
    pub since: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub wall: WallTime,
}

/// An update that waits for the end of an earlier one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueuedUpdate {
    /// The id that its release will have.
    pub id: RolloutId,
    /// The intent.
    pub spec: ServiceSpec,
    /// What the service's intent was when it was written. What the update left as it was then is the newest when it
    /// begins.
    pub base: Box<ServiceSpec>,
    /// Who.
    pub by: Actor,
    /// Why, in their words.
    pub cause: String,
    /// Whether a freeze does not hold it, and why a person said so.
    pub freeze_override: Option<String>,
    /// Since when it waits.
    pub since: ClusterTime,
}

/// The failures of one slot in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotFailures {
    /// How many tasks failed one after the other.
    pub count: u32,
    /// When the last one did.
    pub last: ClusterTime,
}

/// An operator's word that a task is to be on another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Moving {
    /// The task that is to go.
    pub task: TaskId,
    /// Where its successor is to be.
    pub to: NodeId,
}

/// What a user wants to run, and what has become of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// The intent as last written. Its template is the template of `current`.
    pub spec: ServiceSpec,
    /// Counts the writes.
    pub generation: Generation,
    /// Who wrote last.
    pub changed_by: Actor,
    /// The kept revisions: [`REVISIONS_KEPT`] and those that tasks still run.
    pub revisions: BTreeMap<RevisionNumber, Arc<Revision>>,
    /// The revision that tasks are to run.
    pub current: RevisionNumber,
    /// The last accepted revision; absent before the first was.
    pub stable: Option<RevisionNumber>,
    /// The accepted revisions, the way back: the last is the stable one. A rollback takes off what it goes back over.
    pub accepted: Vec<RevisionNumber>,
    /// The release under way.
    pub rollout: Option<Arc<Rollout>>,
    /// Ended releases, oldest first: [`ROLLOUTS_KEPT`](crate::rollout::ROLLOUTS_KEPT) at most.
    pub past: Vec<Arc<Rollout>>,
    /// An update that waits for the end of this one.
    pub queued: Option<Box<QueuedUpdate>>,
    /// Whether releases of this service are held.
    pub frozen: Option<Freeze>,
    /// Counts `service restart`: tasks of an earlier round are replaced.
    pub round: u32,
    /// Whether it is going away.
    pub deleting: bool,
    /// Slots whose tasks fail, by what they run.
    pub failures: BTreeMap<(RevisionNumber, Slot), SlotFailures>,
    /// How traffic is shared.
    pub split: Split,
    /// Slots whose task is to be on another node. A release begins without any.
    pub moves: BTreeMap<Slot, Moving>,
    /// When it was made.
    pub created: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub created_wall: WallTime,
    /// When the last write came.
    pub changed: ClusterTime,
}

/// Revisions kept for history and rollback.
pub const REVISIONS_KEPT: usize = 10;

impl Service {
    /// Where a task is to go; absent for one that stays.
    #[must_use]
    pub fn moving(&self, task: &Task) -> Option<NodeId> {
        self.moves.get(&task.slot).filter(|moving| moving.task == task.id).map(|moving| moving.to)
    }

    /// The revision that tasks are to run.
    ///
    /// # Panics
    /// Never: `apply` keeps `current` among the revisions.
    #[must_use]
    pub fn current_revision(&self) -> &Arc<Revision> {
        self.revisions.get(&self.current).expect("apply keeps the current revision")
    }
}
