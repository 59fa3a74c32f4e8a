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
use std::sync::Arc;
use std::time::Duration;

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
    let stop_after = policy.on_disconnect.stop_after().map_or(0, millis);
    hash.update(stop_after.to_le_bytes());
}

/// What a node does that has had no answer of a leader for `silence`: it runs what is assigned to it, but for what must
/// not run on by now.
#[must_use]
pub fn alone(assignments: &Arc<Assignments>, silence: Duration) -> Arc<Assignments> {
    let over = |assignment: &Assignment| {
        let stop_after = assignment.restart.on_disconnect.stop_after();
        assignment.want == Want::Run && stop_after.is_some_and(|span| span <= silence)
    };
    if !assignments.values().any(over) {
        return Arc::clone(assignments);
    }
    let mut left = Assignments::clone(assignments);
    for assignment in left.values_mut().filter(|assignment| over(assignment)) {
        assignment.want = Want::Stop;
    }
    Arc::new(left)
}

/// The silence at which [`alone`] next stops something, where that is longer than `silence`.
#[must_use]
pub fn next_alone(assignments: &Assignments, silence: Duration) -> Option<Duration> {
    let running = assignments.values().filter(|assignment| assignment.want == Want::Run);
    let spans = running.filter_map(|assignment| assignment.restart.on_disconnect.stop_after());
    spans.filter(|span| *span > silence).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Image, OnDisconnect, Strategy};
    use crate::task::DeploymentState;
    use proptest::prelude::*;

    fn assigned(id: u64, want: Want, stop_after: Option<u64>) -> (TaskId, Assignment) {
        let span = stop_after.map(Duration::from_secs);
        let on_disconnect = span.map_or(OnDisconnect::Keep, OnDisconnect::StopAfter);
        let assignment = Assignment {
            task: TaskId(id),
            service: ServiceId(1),
            name: ServiceName::parse("web").unwrap(),
            slot: Slot(1),
            revision: RevisionNumber(1),
            template: Template::new(Image::parse("web:v1").unwrap()),
            restart: RestartPolicy { on_disconnect, ..RestartPolicy::default() },
            track: Track { strategy: Strategy::Rolling, state: DeploymentState::Active },
            address: Ipv4Addr::LOCALHOST,
            want,
        };
        (TaskId(id), assignment)
    }

    proptest! {
        /// Alone, a node stops what it was told to stop then, and begins nothing.
        #[test]
        fn a_node_alone_stops_what_must_not_run_on_and_nothing_else(
            tasks in prop::collection::vec(
                (
                    prop::sample::select(vec![Want::Run, Want::Stop, Want::Keep]),
                    prop::option::of(10u64..60),
                ),
                0..8,
            ),
            silence in 0u64..80,
        ) {
            let all = tasks.iter().zip(1..).map(|((want, after), id)| assigned(id, *want, *after));
            let all: Arc<Assignments> = Arc::new(all.collect());
            let silence = Duration::from_secs(silence);
            let left = alone(&all, silence);
            for (id, assignment) in all.iter() {
                let after = assignment.restart.on_disconnect.stop_after();
                let over = after.is_some_and(|span| span <= silence);
                let stops = assignment.want == Want::Run && over;
                let want = if stops { Want::Stop } else { assignment.want };
                prop_assert_eq!(&left[id], &Assignment { want, ..assignment.clone() });
            }
            if let Some(next) = next_alone(&all, silence) {
                prop_assert!(next > silence && alone(&all, next) != left);
            }
            prop_assert_eq!(alone(&all, Duration::ZERO), all);
        }
    }

    #[test]
    fn a_node_hears_of_another_policy_by_its_digest() {
        let of = |after| digest(&[assigned(1, Want::Run, after)].into());
        assert_ne!(of(None), of(Some(10)));
        assert_ne!(of(Some(10)), of(Some(11)));
    }
}
