//! What must hold from one entry to the next, and as time passes: the invariants of releases (I1 to I20) that a state
//! alone cannot show. Those that it can are in [`crate::invariant`].

mod holds;
mod tasks;
mod traffic;

use super::cluster::Cluster;
use crate::command::{Command, Rejection};
use crate::id::{RolloutId, ServiceId};
use crate::invariant::{self, Violation};
use crate::plan::Plan;
use crate::rollout::{Move, Outcome, Rollout};
use crate::service::Service;
use crate::state::State;
use crate::time::ClusterTime;
use holds::Held;
use std::collections::BTreeMap;
use std::sync::Arc;
use traffic::GoneBack;

/// What the checks remember.
#[derive(Clone, Debug, Default)]
pub(super) struct Checker {
    /// The eligible time of each release's hold, measured from outside.
    held: BTreeMap<RolloutId, Held>,
    /// Releases that went back, whose new revision is to be out of answers soon.
    gone_back: Vec<GoneBack>,
}

pub(super) type Checked = Result<(), Violation>;

pub(super) fn ensure(holds: bool, what: &'static str, about: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { what, about: about() }) }
}

impl Cluster {
    /// Checks what an entry did.
    pub(super) fn checked(
        &mut self,
        before: &State,
        command: &Command,
        refused: Option<&Rejection>,
    ) -> Checked {
        if *command == Command::Checkpoint {
            return Ok(());
        }
        let about = |broken: Violation| Violation {
            about: format!("{} (after {command:?})", broken.about),
            ..broken
        };
        if refused.is_some() {
            return self.check_refused(before).map_err(about);
        }
        invariant::check(&self.state).map_err(about)?;
        self.check_services(before, command).map_err(about)?;
        self.check_tasks(before, command).map_err(about)
    }

    /// A refused command changed nothing but the position and the time.
    fn check_refused(&self, before: &State) -> Checked {
        let services = before.services().zip(self.state.services()).all(|(a, b)| a == b);
        let tasks =
            before.tasks().zip(self.state.tasks()).all(|(a, b)| Arc::ptr_eq(a, b) || a == b);
        let counts = before.services().len() == self.state.services().len()
            && before.tasks().len() == self.state.tasks().len();
        let same = services && tasks && counts;
        ensure(same, "a refused command changes nothing", || "it did".to_owned())
    }

    fn check_services(&mut self, before: &State, command: &Command) -> Checked {
        let after = self.state.clone();
        for now in after.services() {
            let Some(was) = before.service(now.id) else { continue };
            if Arc::ptr_eq(was, now) {
                continue;
            }
            check_stable(was, now, command)?;
            check_ended(was, now)?;
            if let (Some(old), Some(new)) = (&was.rollout, &now.rollout)
                && old.id == new.id
            {
                check_release(old, new)?;
                self.check_gate(before, was, old, command)?;
            }
            self.check_split(was, now)?;
            self.note_the_way_back(was, now);
        }
        Ok(())
    }

    /// L4: nothing waits without a timer or a named person; nor without a name.
    pub(super) fn check_plan(&self, plan: &Plan) -> Checked {
        for service in self.state.services() {
            let Some(live) = service.rollout.as_ref().filter(|_| !service.deleting) else {
                continue;
            };
            let concerns = |command: &Command| service_of(command) == Some(service.id);
            if plan.commands.iter().any(concerns) {
                continue;
            }
            let report = plan.report.services.get(&service.id);
            let waits = report.is_some_and(|report| !report.waits.is_empty());
            let about = || format!("{} is {} and waits for nothing", live.id, live.phase);
            ensure(waits, "L4: every wait has a name", about)?;
        }
        Ok(())
    }

    /// What must hold as time passes.
    pub(super) fn check_passed(&mut self, before: ClusterTime, after: ClusterTime) -> Checked {
        self.count_holds(before, after);
        self.check_answers()
    }
}

/// Whose service a planned command is about.
fn service_of(command: &Command) -> Option<ServiceId> {
    match command {
        Command::MoveRollout { service, .. }
        | Command::PlaceTasks { service, .. }
        | Command::DrainTasks { service, .. }
        | Command::StartQueued { service, .. }
        | Command::AcceptRevision { service, .. }
        | Command::ForgetService { service } => Some(*service),
        Command::InitCluster { .. }
        | Command::Checkpoint
        | Command::CreateService { .. }
        | Command::UpdateService { .. }
        | Command::ScaleService { .. }
        | Command::RestartService { .. }
        | Command::MoveTasks { .. }
        | Command::DeleteService { .. }
        | Command::StopTasks { .. }
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
        | Command::SteerRollout { .. }
        | Command::RollbackService { .. }
        | Command::SetFreeze { .. }
        | Command::SettleNotices { .. } => None,
    }
}

/// I10: the stable revision changes only where a release, or a whole service at rest, is accepted.
fn check_stable(was: &Service, now: &Service, command: &Command) -> Checked {
    let accepts = matches!(
        command,
        Command::MoveRollout { to: Move::Accept, .. } | Command::AcceptRevision { .. }
    );
    let about = || format!("{:?} became {:?}", was.stable, now.stable);
    ensure(was.stable == now.stable || accepts, "I10: stable changes only by an accept", about)
}

/// I18: what has ended stays as it is, and every end is kept with its outcome. I20: a way back ends only as one.
fn check_ended(was: &Service, now: &Service) -> Checked {
    for old in &was.past {
        let kept = now.past.iter().find(|kept| kept.id == old.id);
        let same = kept.is_none_or(|kept| Arc::ptr_eq(kept, old) || kept == old);
        ensure(same, "I18: an ended release is immutable", || old.id.to_string())?;
    }
    let Some(old) = &was.rollout else { return Ok(()) };
    if now.rollout.as_ref().is_some_and(|new| new.id == old.id) {
        return Ok(());
    }
    let ended = now.past.iter().find(|ended| ended.id == old.id);
    let end = ended.and_then(|ended| ended.end.as_ref());
    ensure(end.is_some(), "I18: a release that ended is kept", || old.id.to_string())?;
    let outcome = end.map(|end| end.outcome);
    let back = old.phase.is_back();
    let fits = match outcome {
        Some(Outcome::RolledBack | Outcome::Superseded | Outcome::Cancelled) => true,
        Some(Outcome::Completed | Outcome::Failed) => !back,
        None => false,
    };
    ensure(fits, "I20: a rollback ends as one", || format!("{} ended {outcome:?}", old.id))
}

/// From one moment of a release to the next: I12, I13, I18 and I20.
fn check_release(old: &Rollout, new: &Rollout) -> Checked {
    let about = || {
        format!("{}: {} step {} to {} step {}", old.id, old.phase, old.step, new.phase, new.step)
    };
    let same_attempt = old.attempt == new.attempt;
    ensure(new.attempt >= old.attempt, "I13: attempts are counted up", about)?;
    ensure(!same_attempt || new.step >= old.step, "I12: steps go forward", about)?;
    let kept = old.failed_slots.keys().all(|slot| new.failed_slots.contains_key(slot));
    ensure(!same_attempt || kept, "I13: failed slots are not forgotten", about)?;
    let given = new.approvals.starts_with(&old.approvals);
    ensure(given, "I13: approvals are not forgotten", about)?;
    let fixed = old.from == new.from && old.to == new.to && old.steps == new.steps;
    ensure(fixed && old.settings == new.settings, "a release keeps what it was begun with", about)?;
    let stays = !old.phase.is_back() || new.phase.is_back();
    ensure(stays, "I20: a rollback is never turned round", about)?;
    ensure(old.abort.is_none() || new.abort.is_some(), "I20: an abort is not taken back", about)?;
    let told = old.phase == new.phase || old.timeline != new.timeline;
    ensure(told, "I18: a change of phase is in the timeline", about)
}
