//! Services and their revisions.

use crate::id::{Generation, RevisionNumber, ServiceId, Slot};
use crate::spec::{Hash, ServiceSpec, Template};
use crate::time::{ClusterTime, WallTime};
use crate::units::Weight;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Who did something, as the audit and `history` show it: a user of the API, or a part of Warren.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Actor(pub String);

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
}

/// How much of a service's traffic goes to which revision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Split {
    /// Grows with each change.
    pub epoch: u64,
    /// Weights that sum to 1000; empty where every ready task has an equal share.
    pub weights: Vec<(RevisionNumber, Weight)>,
}

/// The failures of one slot in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotFailures {
    /// How many tasks failed one after the other.
    pub count: u32,
    /// When the last one did.
    pub last: ClusterTime,
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
    /// The last revision that ran on every slot; absent before the first did.
    pub stable: Option<RevisionNumber>,
    /// Counts `service restart`: tasks of an earlier round are replaced.
    pub round: u32,
    /// Whether it is going away.
    pub deleting: bool,
    /// Slots whose tasks fail.
    pub failures: BTreeMap<Slot, SlotFailures>,
    /// How traffic is shared.
    pub split: Split,
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
    /// The revision that tasks are to run.
    ///
    /// # Panics
    /// Never: `apply` keeps `current` among the revisions.
    #[must_use]
    pub fn current_revision(&self) -> &Arc<Revision> {
        self.revisions.get(&self.current).expect("apply keeps the current revision")
    }
}
