//! Tasks: I2, I3, I6 and I9.

use super::{Checked, ensure};
use crate::command::Command;
use crate::id::{RevisionNumber, ServiceId, TaskId};
use crate::rollout::Phase;
use crate::rollout::rolling::Limits;
use crate::service::Service;
use crate::simulate::cluster::Cluster;
use crate::simulate::machine::ms;
use crate::spec::{Mode, Strategy};
use crate::state::State;
use crate::task::{Desired, StopReason, Task};
use crate::traffic::{TRAFFIC_LATE, TRAFFIC_LEASE, TTL_SLACK, Unheard};
use crate::units::Weight;
use std::time::Duration;

impl Cluster {
    pub(super) fn check_tasks(&self, before: &State, command: &Command) -> Checked {
        // What comes late keeps the state whole; that it is still wise, only its plan could say.
        if self.replaying {
            return Ok(());
        }
        match command {
            Command::PlaceTasks { service, .. } => self.check_surge(*service),
            Command::DrainTasks { service, tasks, reason, .. } => {
                let Some(found) = before.service(*service) else { return Ok(()) };
                if found.deleting {
                    return Ok(());
                }
                if *reason != StopReason::Overdue {
                    self.check_serving(before, found)?;
                }
                self.check_target(before, found, tasks, *reason)
            }
            Command::StopTasks { tasks, .. } => self.check_stop(before, tasks),
            Command::InitCluster { .. }
            | Command::Checkpoint
            | Command::CreateService { .. }
            | Command::UpdateService { .. }
            | Command::ScaleService { .. }
            | Command::RestartService { .. }
            | Command::MoveTasks { .. }
            | Command::DeleteService { .. }
            | Command::AcceptRevision { .. }
            | Command::ForgetService { .. }
            | Command::LoseTasks { .. }
            | Command::ForgetTasks { .. }
            | Command::ReportTasks { .. }
            | Command::RegisterNode { .. }
            | Command::SetTrust { .. }
            | Command::AddJoinToken { .. }
            | Command::RevokeJoinTokens { .. }
            | Command::AddAccessToken { .. }
            | Command::RevokeAccessToken { .. }
            | Command::JoinNode { .. }
            | Command::SetRole { .. }
            | Command::RemoveNode { .. }
            | Command::RaiseLevel { .. }
            | Command::BeginEpoch { .. }
            | Command::CreateFile { .. }
            | Command::UpdateFile { .. }
            | Command::RemoveFile { .. }
            | Command::SetNodeUp { .. }
            | Command::SetAvailability { .. }
            | Command::LabelNode { .. }
            | Command::Witness { .. }
            | Command::MoveRollout { .. }
            | Command::SteerRollout { .. }
            | Command::RollbackService { .. }
            | Command::StartQueued { .. }
            | Command::SetFreeze { .. }
            | Command::SettleNotices { .. } => Ok(()),
        }
    }

    /// I3: not more tasks than wanted and surge; twice as many where two revisions are beside each other.
    fn check_surge(&self, id: ServiceId) -> Checked {
        let Some(service) = self.state.service(id) else { return Ok(()) };
        let Mode::Replicated { replicas } = service.spec.mode else { return Ok(()) };
        let limits = limits_of(service, replicas);
        let live = service.rollout.as_ref();
        let beside = live.is_some_and(|live| live.is_beside()) || !service.split.weights.is_empty();
        let wanted = if beside { replicas.saturating_mul(2) } else { replicas };
        let most = wanted.saturating_add(limits.surge);
        let count = self.state.tasks_of(id).filter(|task| task.is_live()).count();
        let about = || format!("{count} tasks, {most} at most");
        ensure(count <= most as usize, "I3: no more tasks than surge allows", about)
    }

    /// I2: a planned stop, but for a drain past its deadline, leaves enough ready tasks; where traffic is split,
    /// enough of each revision for its share.
    fn check_serving(&self, before: &State, service: &Service) -> Checked {
        let Mode::Replicated { replicas } = service.spec.mode else { return Ok(()) };
        let live = service.rollout.as_ref();
        if live.is_some_and(|live| live.strategy == Strategy::Recreate) {
            return Ok(());
        }
        let limits = limits_of(service, replicas);
        let shares: Vec<(Option<RevisionNumber>, u32)> = if service.split.weights.is_empty() {
            vec![(None, replicas)]
        } else {
            let shares = service.split.weights.iter().filter(|(_, weight)| *weight > Weight::ZERO);
            shares.map(|(revision, weight)| (Some(*revision), weight.ceil_of(replicas))).collect()
        };
        for (revision, need) in shares {
            let (was, now) = (
                self.serving(before, service.id, revision),
                self.serving(&self.state, service.id, revision),
            );
            let least = need.saturating_sub(limits.unavailable).min(was);
            let which = revision.map_or_else(|| "all".to_owned(), |revision| revision.to_string());
            let about = || format!("{was} of {which} served, {now} do, {least} must");
            ensure(now >= least, "I2: enough tasks stay ready", about)?;
        }
        Ok(())
    }

    fn serving(&self, state: &State, id: ServiceId, revision: Option<RevisionNumber>) -> u32 {
        let serves = |task: &&std::sync::Arc<Task>| {
            let up = state.node(task.node).is_some_and(|node| node.up);
            let of = revision.is_none_or(|revision| task.revision == revision);
            of && up && task.serves() && self.observed.is_ready(task.id)
        };
        u32::try_from(state.tasks_of(id).filter(serves).count()).unwrap_or(u32::MAX)
    }

    /// I9: a ready task of what is to run stays, but for scale-in and drained nodes.
    fn check_target(
        &self,
        before: &State,
        service: &Service,
        tasks: &[TaskId],
        reason: StopReason,
    ) -> Checked {
        // A release that has not begun brings everything to the stable revision first.
        let begun = service.rollout.as_ref().is_none_or(|live| live.phase > Phase::Preparing);
        if reason != StopReason::Replaced || !begun {
            return Ok(());
        }
        for task in tasks.iter().filter_map(|id| before.task(*id)) {
            let slots = before.tasks_of(service.id).filter(|other| {
                other.is_wanted() && other.slot == task.slot && other.revision == task.revision
            });
            let alone = slots.count() == 1;
            let open = before.node(task.node).is_some_and(|node| node.is_open());
            let target = task.revision == service.current && task.round == service.round;
            let broken = target && alone && open && self.observed.is_ready(task.id);
            let about = || format!("{} of {}", task.id, task.revision);
            ensure(!broken, "I9: a ready task of the target revision stays", about)?;
        }
        Ok(())
    }

    /// I6: nobody is told to stop while a resolver or a cache may still name it.
    fn check_stop(&self, before: &State, tasks: &[TaskId]) -> Checked {
        for task in tasks.iter().filter_map(|id| before.task(*id)) {
            if !task.is_live() || matches!(task.desired, Desired::Stop { .. }) {
                continue;
            }
            let runs = self.containers.get(&task.id).is_some_and(|container| container.ready);
            let heard = self.observed.tasks.get(&task.id);
            if !runs || heard.is_some_and(|heard| heard.ready_since.is_none()) {
                continue;
            }
            // Who hears nothing is waited for until its node is down; by then it has not had the leader's word for
            // long.
            let given_up = Unheard::among(self.state.nodes().len()).given_up - TRAFFIC_LATE;
            self.check_forgotten(task.id, given_up)?;
        }
        Ok(())
    }

    /// I6, for a container whose node has heard that it was given up: it ran on until nobody was led to it any more. A
    /// resolver without the leader's word goes on to name it.
    pub(in crate::simulate) fn check_left(&self, task: TaskId) -> Checked {
        self.check_forgotten(task, TRAFFIC_LEASE)
    }

    /// Nobody is led to a task any more, but by resolvers that have heard nothing of a leader for `silence`.
    fn check_forgotten(&self, task: TaskId, silence: Duration) -> Checked {
        for machine in self.machines.values().filter(|machine| machine.up) {
            let resolver = &machine.resolver;
            if resolver.cut_since.is_some_and(|at| self.now >= at + ms(silence)) {
                continue;
            }
            let names = resolver.answered().contains_key(&task);
            let about = || format!("{task} is still answered by {}", machine.name);
            ensure(!names, "I6: no task stops before it is out of traffic", about)?;
            let expires = resolver.expires.get(&task).copied().unwrap_or(0);
            let late = if expires == 0 { 0 } else { expires + ms(TTL_SLACK) };
            let left = late.saturating_sub(self.now);
            let about = || format!("{task} is cached for another {left} ms from {}", machine.name);
            ensure(left == 0, "I6: no task stops before caches let go", about)?;
        }
        Ok(())
    }
}

fn limits_of(service: &Service, replicas: u32) -> Limits {
    let live = service.rollout.as_ref();
    let settings = live.map_or(&service.spec.update, |live| &live.settings);
    Limits::new(settings, &service.spec.template, replicas)
}
