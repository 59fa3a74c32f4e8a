//! Releases, as they are and as they were.

use super::Sources;
use crate::convert::step;
use crate::v1;
use std::time::Duration;
use warren_core::id::RevisionNumber;
use warren_core::report::WaitReason;
use warren_core::rollout::{Outcome, Phase, Rollout, RolloutWait, Runs, paused};
use warren_core::service::{Freeze, QueuedUpdate, Service};
use warren_core::spec::Mode;
use warren_core::task::Task;
use warren_core::time::millis;
use warren_core::units::Weight;

impl Sources<'_> {
    /// The release under way, or the last one; absent where there was none.
    #[must_use]
    pub fn live_or_last(&self, service: &Service) -> Option<v1::Rollout> {
        let found = service.rollout.as_ref().or_else(|| service.past.last());
        found.map(|rollout| v1::Rollout {
            queued: service.queued.as_deref().map(queued),
            ..self.rollout(service, rollout)
        })
    }

    /// The releases that are kept, newest first.
    #[must_use]
    pub fn rollouts(&self, service: &Service) -> Vec<v1::Rollout> {
        let newest_first = service.rollout.iter().chain(service.past.iter().rev());
        newest_first.map(|rollout| self.rollout(service, rollout)).collect()
    }

    /// The release under way without its timeline, for where a service is shown.
    pub(super) fn brief(&self, service: &Service) -> Option<v1::Rollout> {
        let live = service.rollout.as_ref()?;
        let queued = service.queued.as_deref().map(queued);
        Some(v1::Rollout { timeline: Vec::new(), queued, ..self.rollout(service, live) })
    }

    /// One release.
    #[must_use]
    pub fn rollout(&self, service: &Service, rollout: &Rollout) -> v1::Rollout {
        let end = rollout.end.as_ref();
        let until = end.map_or(self.now, |end| end.at);
        let live = end.is_none();
        let abort = rollout.abort.as_ref();
        let why = end.map(|end| end.reason.clone()).filter(|reason| !reason.is_empty());
        let hold = if live { hold_of(rollout) } else { Duration::ZERO };
        let held = Duration::from_millis(rollout.eligible_at(until)).min(hold);
        let (from_image, _) = images(rollout.from_runs.as_ref());
        let (to_image, to_digest) = images(rollout.to_runs.as_ref());
        let numbered = !rollout.steps.is_empty() && rollout.phase > Phase::Preparing;
        v1::Rollout {
            id: rollout.id.to_string(),
            service_id: service.id.to_string(),
            service: service.spec.name.to_string(),
            from_revision: rollout.from.map_or(0, |from| from.0),
            to_revision: rollout.to.0,
            strategy: rollout.strategy.to_string(),
            phase: rollout.phase.to_string(),
            attempt: rollout.attempt,
            step: if numbered { rollout.step + 1 } else { 0 },
            steps: u32::try_from(rollout.steps.len()).unwrap_or(u32::MAX),
            progress_percent: rollout.progress(self.replicas(service)),
            outcome: end.map(|end| end.outcome.to_string()).unwrap_or_default(),
            reason: why.or_else(|| abort.map(|abort| abort.reason.clone())).unwrap_or_default(),
            started_by: rollout.by.to_string(),
            started_unix_ms: rollout.started_wall.0,
            ended_unix_ms: end.map_or(0, |end| end.wall.0),
            waits: if live { self.release_waits(service) } else { Vec::new() },
            kind: rollout.kind.to_string(),
            weight_per_mille: self.share(service, rollout).per_mille().into(),
            pauses: pauses(rollout),
            phase_for_ms: millis(until.since(rollout.since)),
            held_ms: millis(held),
            hold_ms: millis(hold),
            plan: step::render_all(&rollout.steps),
            tasks: if live { self.tasks_per_revision(service, rollout) } else { Vec::new() },
            failures: failures(rollout),
            approvals: approvals(rollout),
            approval_wanted: if live { approval_wanted(rollout) } else { String::new() },
            cause: rollout.cause.clone(),
            timeline: timeline(rollout),
            trigger: abort.map(|abort| abort.trigger.to_string()).unwrap_or_default(),
            duration_ms: millis(until.since(rollout.started)),
            from_image,
            to_image,
            to_digest,
            queued: None,
            freeze_override: rollout.overrides_freeze().unwrap_or_default().to_owned(),
        }
    }

    fn replicas(&self, service: &Service) -> u32 {
        match (service.spec.mode, self.report.services.get(&service.id)) {
            (Mode::Replicated { replicas }, _) => replicas,
            (Mode::Global, Some(report)) => report.desired,
            (Mode::Global, None) => 0,
        }
    }

    fn release_waits(&self, service: &Service) -> Vec<String> {
        let waits = self.report.services.get(&service.id).into_iter();
        let waits = waits.flat_map(|report| &report.waits);
        waits
            .filter_map(|wait| release_wait(&wait.reason))
            .map(|wait| self.now_words(service, wait))
            .collect()
    }

    /// A wait in words as of now: what is left of a hold runs down between two plans.
    pub(super) fn now_words(&self, service: &Service, wait: &RolloutWait) -> String {
        match (wait, service.rollout.as_deref()) {
            (RolloutWait::Hold { phase, .. }, Some(live)) if live.phase == *phase => {
                let held = Duration::from_millis(live.eligible_at(self.now));
                let left = hold_of(live).saturating_sub(held);
                RolloutWait::Hold { phase: *phase, left }.to_string()
            }
            _ => wait.to_string(),
        }
    }

    /// The new revision's share in force; without a split, its part of the ready tasks.
    fn share(&self, service: &Service, rollout: &Rollout) -> Weight {
        if let Some(end) = &rollout.end {
            let all = end.outcome == Outcome::Completed;
            return if all { Weight::FULL } else { Weight::ZERO };
        }
        if let Some(weight) = service.split.weight_of(rollout.to) {
            return weight;
        }
        match self.ready(service, |_| true) {
            0 => Weight::ZERO,
            all => Weight::carried_by(self.ready(service, |revision| revision == rollout.to), all),
        }
    }

    fn ready(&self, service: &Service, of: impl Fn(RevisionNumber) -> bool) -> u32 {
        let serves = |task: &Task| task.serves() && self.observed.is_ready(task.id);
        let tasks = self.state.tasks_of(service.id);
        let ready = tasks.filter(|task| of(task.revision) && serves(task)).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    fn tasks_per_revision(&self, service: &Service, rollout: &Rollout) -> Vec<v1::RevisionTasks> {
        let live: Vec<_> = self.state.tasks_of(service.id).filter(|task| task.is_live()).collect();
        let mut revisions: Vec<_> = live.iter().map(|task| task.revision).collect();
        revisions.extend(rollout.from);
        revisions.push(rollout.to);
        revisions.sort_unstable();
        revisions.dedup();
        let count = |revision| live.iter().filter(|task| task.revision == revision).count();
        let of = |revision: RevisionNumber| v1::RevisionTasks {
            revision: revision.0,
            live: u32::try_from(count(revision)).unwrap_or(u32::MAX),
            ready: self.ready(service, |one| one == revision),
            per_mille: service.split.weight_of(revision).map(|share| share.per_mille().into()),
        };
        revisions.into_iter().map(of).collect()
    }
}

/// What holds releases; of all services where `service` is empty.
#[must_use]
pub fn freeze(freeze: &Freeze, service: &str) -> v1::Freeze {
    v1::Freeze {
        by: freeze.by.to_string(),
        reason: freeze.reason.clone(),
        since_unix_ms: freeze.wall.0,
        service: service.to_owned(),
    }
}

fn release_wait(reason: &WaitReason) -> Option<&RolloutWait> {
    match reason {
        WaitReason::Release(wait) => Some(wait),
        WaitReason::Listening
        | WaitReason::Queued { .. }
        | WaitReason::NoNode { .. }
        | WaitReason::BackOff { .. }
        | WaitReason::Starting { .. }
        | WaitReason::CutOff { .. }
        | WaitReason::NotReady { .. }
        | WaitReason::MinReady { .. }
        | WaitReason::Replacing { .. }
        | WaitReason::Held { .. }
        | WaitReason::Draining { .. }
        | WaitReason::Stopping { .. } => None,
    }
}

/// How long the phase that a release is in keeps what it has.
fn hold_of(rollout: &Rollout) -> Duration {
    match rollout.phase {
        Phase::Holding | Phase::Monitoring => rollout
            .current_step()
            .map_or_else(|| rollout.settings.monitor.unwrap_or_default(), |step| step.hold),
        Phase::Standby => rollout.settings.standby,
        Phase::Queued
        | Phase::Preparing
        | Phase::Updating
        | Phase::Scaling
        | Phase::Promoting
        | Phase::Shifting
        | Phase::Gating
        | Phase::Finalizing
        | Phase::RollingBack
        | Phase::RollbackStalled => Duration::ZERO,
    }
}

/// An image and what its name meant; empty where that is not known.
fn images(runs: Option<&Runs>) -> (String, String) {
    let Some(Runs { image, pinned }) = runs else { return (String::new(), String::new()) };
    let digest = pinned.as_ref().map(ToString::to_string).unwrap_or_default();
    (image.to_string(), digest)
}

fn queued(queued: &QueuedUpdate) -> v1::QueuedUpdate {
    v1::QueuedUpdate {
        id: queued.id.to_string(),
        by: queued.by.to_string(),
        cause: queued.cause.clone(),
        image: queued.spec.template.image.to_string(),
    }
}

/// Why it stands still, as it follows the word "paused".
fn pauses(rollout: &Rollout) -> Vec<String> {
    let pauses = rollout.pauses.iter().map(|(pause, by)| {
        let words = paused(*pause, &by.by, &by.reason);
        words.strip_prefix("paused ").unwrap_or(&words).to_owned()
    });
    pauses.collect()
}

fn failures(rollout: &Rollout) -> Vec<String> {
    rollout.failed_slots.iter().map(|(slot, why)| format!("slot {slot}: {why}")).collect()
}

fn approvals(rollout: &Rollout) -> Vec<String> {
    let approvals = rollout.approvals.iter().map(|given| {
        let role = given.role.as_ref().map(|role| format!(" as {role}")).unwrap_or_default();
        let words =
            if given.comment.is_empty() { String::new() } else { format!(": {}", given.comment) };
        format!("{}{role} approved {}{words}", given.by, step_words(given.step))
    });
    approvals.collect()
}

fn approval_wanted(rollout: &Rollout) -> String {
    let Some((step, rule)) = rollout.approval_wanted() else { return String::new() };
    let have = rollout.approvals.iter().filter(|given| given.step == step).count();
    let roles: Vec<_> = rule.roles.iter().map(ToString::to_string).collect();
    let who = if roles.is_empty() { String::new() } else { format!(" by {}", roles.join(" or ")) };
    let times = if rule.min == 1 { "approval" } else { "approvals" };
    format!("{} needs {} {times}{who}, and has {have}", step_words(step), rule.min)
}

fn step_words(step: u32) -> String {
    if step == 0 { "the start".to_owned() } else { format!("step {step}") }
}

fn timeline(rollout: &Rollout) -> Vec<v1::Moment> {
    let moments = rollout.timeline.iter().map(|moment| v1::Moment {
        at_unix_ms: moment.wall.0,
        after_ms: millis(moment.at.since(rollout.started)),
        by: moment.by.to_string(),
        text: moment.what.to_string(),
        action: moment.what.word(),
    });
    moments.collect()
}
