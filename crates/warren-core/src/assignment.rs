//! What a node must run.

use crate::id::{RevisionNumber, ServiceId, Slot, TaskId};
use crate::node::Node;
use crate::spec::{RestartCondition, RestartPolicy, ServiceName, Template};
use crate::state::State;
use crate::task::{Desired, Task, Track};
use crate::time::millis;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What the cluster wants of one task of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Want {
    /// Run it, and start it again as its policy says.
    Run,
    /// Stop it, report its end and keep the stopped container.
    Stop,
    /// It has ended: keep the stopped container until the assignment goes away.
    Keep,
}

/// One task of a node, with all that running it takes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// Its service.
    pub service: ServiceId,
    /// The service's name.
    pub name: ServiceName,
    /// Its slot.
    pub slot: Slot,
    /// The number of what it runs.
    pub revision: RevisionNumber,
    /// What it runs.
    pub template: Template,
    /// When and how often it is started again.
    pub restart: RestartPolicy,
    /// How its revision came in.
    pub track: Track,
    /// Its address.
    pub address: Ipv4Addr,
    /// What is wanted of it.
    pub want: Want,
}

/// The tasks of one node.
pub type Assignments = BTreeMap<TaskId, Assignment>;

/// What the cluster wants of a task: of all that may change of one, what its node has to hear.
#[must_use]
pub fn want(task: &Task) -> Want {
    match (task.is_live(), task.desired) {
        (false, _) => Want::Keep,
        (true, Desired::Run | Desired::Drain { .. }) => Want::Run,
        (true, Desired::Stop { .. }) => Want::Stop,
    }
}

/// What `node` must run in `state`.
#[must_use]
pub fn assignments(state: &State, node: &Node) -> Assignments {
    let tasks = state.tasks_on(node.id).filter_map(|task| {
        let service = state.service(task.service)?;
        let revision = service.revisions.get(&task.revision)?;
        let assignment = Assignment {
            task: task.id,
            service: task.service,
            name: service.spec.name.clone(),
            slot: task.slot,
            revision: task.revision,
            template: revision.template.clone(),
            restart: service.spec.restart.clone(),
            track: task.track,
            address: task.address,
            want: want(task),
        };
        Some((task.id, assignment))
    });
    tasks.collect()
}

/// A fingerprint of (task, revision, restart policy, want) of all assignments: equal on manager and node, or they have
/// diverged. The rest of an assignment never changes while its task lives.
#[must_use]
pub fn digest(assignments: &Assignments) -> [u8; 32] {
    let mut hash = Sha256::new();
    for assignment in assignments.values() {
        hash.update(assignment.task.0.to_le_bytes());
        hash.update(assignment.revision.0.to_le_bytes());
        hash.update([match assignment.want {
            Want::Run => 0,
            Want::Stop => 1,
            Want::Keep => 2,
        }]);
        hash_restart(&mut hash, &assignment.restart);
    }
    hash.finalize().into()
}

fn hash_restart(hash: &mut Sha256, policy: &RestartPolicy) {
    hash.update([match policy.condition {
        RestartCondition::Any => 0,
        RestartCondition::OnFailure => 1,
        RestartCondition::Never => 2,
    }]);
    // Milliseconds, as the session carries them.
    for span in [policy.delay, policy.delay_max, policy.window] {
        hash.update(millis(span).to_le_bytes());
    }
    hash.update(policy.attempts.to_le_bytes());
}
