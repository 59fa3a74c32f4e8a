//! The only way in which state changes.

use super::queue::Update;
use super::{Cluster, ClusterId, Now, State};
use crate::audit::Deed;
use crate::command::{Applied, Command, Entry, Rejection};
use crate::event::EventKind;
use crate::level::Level;
use crate::time::{ClusterTime, WallTime};
use ipnet::Ipv4Net;
use std::sync::Arc;

impl State {
    /// Applies one committed entry. The same entries in the same order give the same state on every manager.
    ///
    /// # Errors
    /// The guard or the request does not hold; then nothing has changed but the position and the time.
    pub fn apply(&mut self, entry: Entry) -> Result<Applied, Rejection> {
        let now = self.advance_to(&entry);
        let deed = Deed::of(&entry.command, self);
        let applied = self.apply_command(now, entry.command);
        if let Some(deed) = deed
            && (applied.is_ok() || !deed.is_own())
        {
            let refused = applied.as_ref().err().map(ToString::to_string).unwrap_or_default();
            self.stored.audit.add(deed, now.index, now.wall, refused);
        }
        applied
    }

    /// This state once `commands` are applied at `at`; absent where there are none. For planning on: what is refused
    /// changes nothing, and neither the time nor the numbers of what is made are those that will be.
    #[must_use]
    pub(crate) fn foresee(&self, commands: &[Command], at: ClusterTime) -> Option<Self> {
        let mut state = (!commands.is_empty()).then(|| self.clone())?;
        for command in commands {
            let entry =
                Entry { index: self.applied(), at, wall: WallTime(0), command: command.clone() };
            // The plan is guarded: what was foreseen and does not come has its plan refused.
            let _refused = state.apply(entry);
        }
        Some(state)
    }

    /// Of what was witnessed the audit is all there is.
    fn apply_command(&mut self, now: Now, command: Command) -> Result<Applied, Rejection> {
        match command {
            Command::InitCluster { id, zone, pool } => self.init_cluster(now, id, zone, pool),
            Command::Checkpoint | Command::Witness { .. } => Ok(Applied::Done),
            Command::CreateService { spec, by } => self.create_service(now, *spec, by),
            Command::UpdateService { service, expect, spec, by, cause, freeze_override } => {
                let update = Update { spec: *spec, by, cause, freeze_override };
                self.update_service(now, service, expect, update)
            }
            Command::ScaleService { service, expect, replicas, by } => {
                self.scale_service(now, service, expect, replicas, by)
            }
            Command::RestartService { service, by } => self.restart_service(now, service, by),
            Command::DeleteService { service, by } => self.delete_service(now, service, by),
            Command::AcceptRevision { service, expect, revision } => {
                self.accept_revision(now, service, expect, revision)
            }
            Command::ForgetService { service } => self.forget_service(now, service),
            Command::PlaceTasks { service, expect, placements } => {
                self.place_tasks(now, service, expect, &placements)
            }
            Command::MoveTasks { service, expect, moves, by } => {
                self.move_tasks(now, service, expect, &moves, by)
            }
            Command::DrainTasks { service, expect, tasks, reason } => {
                self.drain_tasks(now, service, expect, &tasks, reason)
            }
            Command::StopTasks { tasks, reason } => Ok(self.stop_tasks(now, &tasks, reason)),
            Command::LoseTasks { node, tasks } => self.lose_tasks(now, node, &tasks),
            Command::ForgetTasks { tasks } => Ok(self.forget_tasks(&tasks)),
            Command::ReportTasks { node, edges } => Ok(self.report_tasks(now, node, edges)),
            Command::RegisterNode { key, role, facts, subnet, labels } => {
                self.register_node(now, key, role, *facts, subnet, labels)
            }
            Command::SetNodeUp { node, up } => self.set_node_up(now, node, up),
            Command::SetAvailability { node, availability, within, by: _ } => {
                self.set_availability(now, node, availability, within)
            }
            Command::LabelNode { node, set, remove, by: _ } => self.label(now, node, set, &remove),
            Command::MoveRollout { service, rollout, seq, to } => {
                self.move_rollout(now, service, rollout, seq, to)
            }
            Command::SteerRollout { service, steer, by } => self.steer(now, service, steer, by),
            Command::RollbackService { service, to, careful, back, by, reason } => {
                self.rollback_service(now, service, to, careful, back, by, reason)
            }
            Command::StartQueued { service, expect } => self.start_queued(now, service, expect),
            Command::SetFreeze { service, reason, by, seen } => {
                self.set_freeze(now, service, reason, by, seen.as_ref())
            }
            Command::SettleNotices { results } => Ok(self.settle_notices(now, results)),
            Command::SetTrust { trust } => self.set_trust(*trust),
            Command::AddJoinToken { token } => self.add_join_token(now, token),
            Command::RevokeJoinTokens { role, by: _ } => Ok(self.revoke_join_tokens(role)),
            Command::AddAccessToken { token } => self.add_access_token(now, token),
            Command::RevokeAccessToken { name, by: _ } => self.revoke_access_token(&name),
            Command::JoinNode { token, key, facts, subnet, labels } => {
                self.join_node(now, &token, key, *facts, subnet, labels)
            }
            Command::SetRole { node, role, by: _ } => self.set_role(now, node, role),
            Command::BeginEpoch { expect, manager, key, by: _ } => {
                self.begin_epoch(now, expect, manager, key)
            }
            Command::RemoveNode { node, force, by: _ } => self.remove_node(now, node, force),
            Command::RaiseLevel { to } => self.raise_level(now, to),
            Command::CreateFile { file, labels } => self.create_item(now, file, labels),
            Command::UpdateFile { file, version } => self.update_item(now, file, version),
            Command::RemoveFile { kind, name, by } => self.remove_item(now, kind, name, by),
        }
    }

    /// Takes over the position and the time of an entry. Time never runs backwards.
    fn advance_to(&mut self, entry: &Entry) -> Now {
        self.stored.applied = self.stored.applied.max(entry.index);
        self.stored.time = self.stored.time.max(entry.at);
        Now { index: entry.index, at: self.stored.time, wall: entry.wall }
    }

    fn init_cluster(
        &mut self,
        now: Now,
        id: ClusterId,
        zone: String,
        pool: Ipv4Net,
    ) -> Result<Applied, Rejection> {
        if self.stored.cluster.is_some() {
            return Err(Rejection::AlreadyInitialised);
        }
        self.stored.cluster =
            Some(Arc::new(Cluster { id, epoch: 1, zone, pool, level: Level::FIRST }));
        self.record(now, EventKind::ClusterCreated);
        Ok(Applied::Done)
    }
}
