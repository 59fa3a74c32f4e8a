//! How releases change: what plans move and what people steer. Every change is one entry with an actor and a reason in
//! the rollout's timeline and among the events.

use super::services::{service_event, touch};
use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::{EventKind, ServiceChange};
use crate::id::{RevisionNumber, RolloutId, ServiceId};
use crate::rollout::{
    Abort, Back, Called, End, Happened, Haste, Kind, Moment, Move, Outcome, Pause, Paused, Phase,
    ROLLOUTS_KEPT, Rollout, Runs, Trigger, steps_of,
};
use crate::service::{Actor, REVISIONS_KEPT, Service, Split};
use crate::spec::{HookPoint, Strategy, UpdateSettings};
use crate::task::Task;
use crate::units::Weight;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A release to begin.
pub(super) struct Begin {
    /// Its id, where that is known already.
    pub(super) reserved: Option<RolloutId>,
    pub(super) kind: Kind,
    pub(super) to: RevisionNumber,
    pub(super) settings: UpdateSettings,
    pub(super) strategy: Strategy,
    pub(super) by: Actor,
    pub(super) cause: String,
    pub(super) freeze_override: Option<String>,
}

impl State {
    /// Begins a release, in place of the one under way, if there is one. `current` and the intent's template follow it.
    pub(super) fn begin_rollout(&mut self, now: Now, id: ServiceId, begin: Begin) -> RolloutId {
        let rollout_id = begin.reserved.unwrap_or_else(|| RolloutId(self.next_id()));
        self.end_current(now, id, &begin);
        let frozen = self.freeze_of(id).is_some() && begin.freeze_override.is_none();
        let Ok(service) = self.service_mut(id) else { return rollout_id };
        service.moves.clear();
        let steps = steps_of(&begin.settings);
        let overrides = begin.freeze_override.clone().filter(|_| begin.kind != Kind::Rollback);
        let by = begin.by.clone();
        let phase = first_phase(service, &begin, frozen);
        let rollout = Rollout {
            id: rollout_id,
            kind: begin.kind,
            attempt: 1,
            attempt_at: now.at,
            from: service.stable,
            to: begin.to,
            strategy: begin.strategy,
            steps: if service.stable.is_some() { steps } else { Vec::new() },
            settings: begin.settings,
            phase,
            since: now.at,
            step: 0,
            weight: Weight::ZERO,
            seq: 0,
            eligible_ms: 0,
            eligible_since: None,
            available: 0,
            progress_at: now.at,
            pauses: BTreeMap::new(),
            failed_slots: BTreeMap::new(),
            tolerated: 0,
            approvals: Vec::new(),
            called: None,
            haste: Haste::None,
            freeze_override: begin.freeze_override,
            abort: None,
            from_runs: service.stable.and_then(|stable| Runs::of(service, stable)),
            to_runs: Runs::of(service, begin.to),
            by: begin.by.clone(),
            cause: begin.cause,
            started: now.at,
            started_wall: now.wall,
            end: None,
            timeline: Vec::new(),
        };
        service.aim_at(begin.to);
        service.rollout = Some(Arc::new(rollout));
        self.stored.traffic_epoch += 1;
        self.happened(now, id, begin.by, Happened::Started);
        if let Some(reason) = overrides {
            self.happened(now, id, by, Happened::FreezeOverridden { reason });
        }
        rollout_id
    }

    /// Ends the release under way because another begins.
    fn end_current(&mut self, now: Now, id: ServiceId, begin: &Begin) {
        let Some(live) = self.service(id).and_then(|service| service.rollout.clone()) else {
            return;
        };
        let (outcome, reason) = if live.phase.is_accepted() {
            (Outcome::Completed, String::new())
        } else {
            let article = if begin.kind == Kind::Update { "an" } else { "a" };
            (Outcome::Superseded, format!("by {article} {} to {}", begin.kind, begin.to))
        };
        self.end_rollout(now, id, outcome, reason, &begin.by);
    }

    /// Ends the release under way and keeps it. What tasks and traffic are to be is not touched.
    pub(super) fn end_rollout(
        &mut self,
        now: Now,
        id: ServiceId,
        outcome: Outcome,
        reason: String,
        by: &Actor,
    ) {
        let what = Happened::Ended { outcome, reason: reason.clone() };
        self.happened(now, id, by.clone(), what);
        let Ok(service) = self.service_mut(id) else { return };
        let Some(mut ended) = service.rollout.take() else { return };
        let rollout = Arc::make_mut(&mut ended);
        rollout.end = Some(End { outcome, reason, at: now.at, wall: now.wall });
        rollout.eligible_ms = rollout.eligible_at(now.at);
        rollout.eligible_since = None;
        service.past.push(ended);
        let surplus = service.past.len().saturating_sub(ROLLOUTS_KEPT);
        service.past.drain(..surplus);
    }

    pub(super) fn move_rollout(
        &mut self,
        now: Now,
        id: ServiceId,
        rollout: RolloutId,
        seq: u64,
        to: Move,
    ) -> Result<Applied, Rejection> {
        let service = self.service(id).ok_or(Rejection::NoService(id))?;
        let live = service.rollout.as_ref().filter(|live| live.id == rollout && live.seq == seq);
        let Some(live) = live.cloned() else {
            return Err(Rejection::Stale(format!("{rollout} has moved on")));
        };
        if service.deleting {
            return Err(Rejection::Stale(format!("{id} is being deleted")));
        }
        self.perform_move(now, id, &live, to)?;
        self.edit(id, |rollout| rollout.seq += 1);
        Ok(Applied::Done)
    }

    fn perform_move(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        to: Move,
    ) -> Result<(), Rejection> {
        let by = Actor::warren();
        match to {
            Move::Enter(phase) => self.enter(now, id, phase),
            Move::Step(step) => self.begin_step(now, id, live, step)?,
            Move::Shift { weight, next } => self.shift(now, id, live, weight, next)?,
            Move::Unsplit { next } => {
                self.set_split(now, id, Vec::new())?;
                self.enter(now, id, next);
            }
            Move::Clock { running } => self.edit(id, |rollout| {
                rollout.eligible_ms = rollout.eligible_at(now.at);
                rollout.eligible_since = running.then_some(now.at);
                rollout.progress_at = now.at;
            }),
            Move::Available(count) => self.edit(id, |rollout| {
                rollout.available = rollout.available.max(count);
                rollout.progress_at = now.at;
            }),
            Move::FailSlot { slot, why } => {
                if live.failed_slots.contains_key(&slot) {
                    return Err(Rejection::Stale(format!("slot {slot} has failed already")));
                }
                self.edit(id, |rollout| {
                    rollout.failed_slots.insert(slot, why.clone());
                });
                self.happened(now, id, by, Happened::SlotFailed { slot, why });
            }
            Move::Pause { pause, reason } => self.pause(now, id, pause, reason, by),
            Move::CallHooks(on) => self.call_hooks(now, id, live, on),
            Move::Accept => self.accept(now, id, live),
            Move::Abort { trigger, reason } => {
                self.abort(now, id, live, trigger, reason, Back::Immediate, by)?;
            }
            Move::Finish => self.finish(now, id, live)?,
        }
        Ok(())
    }

    /// Changes the release under way without a word in its timeline.
    pub(super) fn edit(&mut self, id: ServiceId, change: impl FnOnce(&mut Rollout)) {
        let Ok(service) = self.service_mut(id) else { return };
        let Some(live) = service.rollout.as_mut() else { return };
        let rollout = Arc::make_mut(live);
        change(rollout);
    }

    /// Writes into the timeline of the release under way, among the events, and to those who want to hear of it.
    pub(super) fn happened(&mut self, now: Now, id: ServiceId, by: Actor, what: Happened) {
        let moment = Moment { at: now.at, wall: now.wall, by: by.clone(), what: what.clone() };
        let told = moment.clone();
        self.edit(id, |rollout| rollout.note(moment));
        let Some(service) = self.service(id).cloned() else { return };
        let Some(live) = service.rollout.clone() else { return };
        self.tell(&service, &live, HookPoint::Event, &told);
        let kind = EventKind::Rollout {
            id: live.id,
            service: id,
            name: service.spec.name.clone(),
            from: live.from,
            to: live.to,
            strategy: live.strategy,
            by,
            what,
        };
        self.record(now, kind);
    }

    pub(super) fn enter(&mut self, now: Now, id: ServiceId, phase: Phase) {
        let mut step = 0;
        let mut changed = false;
        self.edit(id, |rollout| {
            changed = rollout.phase != phase;
            let hold = matches!(phase, Phase::Holding | Phase::Monitoring | Phase::Standby);
            if changed && hold {
                rollout.eligible_ms = 0;
                rollout.eligible_since = None;
            }
            rollout.phase = phase;
            rollout.since = now.at;
            rollout.progress_at = now.at;
            // What a gate of this phase has asked, it has asked: a new split meanwhile is no reason to ask again.
            if changed {
                rollout.called = None;
            }
            step = if rollout.steps.is_empty() || phase <= Phase::Preparing {
                0
            } else {
                rollout.step + 1
            };
        });
        if changed {
            self.happened(now, id, Actor::warren(), Happened::Entered { phase, step });
        }
    }

    fn begin_step(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        step: u32,
    ) -> Result<(), Rejection> {
        let Some(next) = live.steps.get(step as usize) else {
            return Err(Rejection::Stale(format!("{} has no step {step}", live.id)));
        };
        if step < live.step || live.phase.is_back() {
            return Err(Rejection::Stale("steps go forward only".to_owned()));
        }
        let weight = next.weight.unwrap_or(live.weight).max(live.weight);
        self.edit(id, |rollout| {
            rollout.step = step;
            rollout.weight = weight;
            rollout.available = 0;
            if rollout.haste == Haste::Step {
                rollout.haste = Haste::None;
            }
        });
        let full = weight == Weight::FULL;
        self.enter(now, id, if full { Phase::Promoting } else { Phase::Scaling });
        Ok(())
    }

    fn shift(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        weight: Weight,
        next: Phase,
    ) -> Result<(), Rejection> {
        let service = self.service(id).ok_or(Rejection::NoService(id))?;
        let before = service.split.weight_of(live.to);
        if live.phase.is_back() && before.is_some_and(|before| weight > before) {
            return Err(Rejection::Stale(
                "a release that goes back gets no more traffic".to_owned(),
            ));
        }
        let weights = match live.from {
            Some(from) if from != live.to => vec![(from, weight.rest()), (live.to, weight)],
            Some(_) | None => vec![(live.to, Weight::FULL)],
        };
        let epoch = self.set_split(now, id, weights)?;
        // At the start the old revision has all traffic already: to write so changes nothing that anybody sees.
        let told = before.is_some() || weight > Weight::ZERO || live.phase > Phase::Preparing;
        if told {
            self.happened(now, id, Actor::warren(), Happened::Shifted { weight, epoch });
        }
        self.enter(now, id, next);
        Ok(())
    }

    pub(super) fn set_split(
        &mut self,
        now: Now,
        id: ServiceId,
        weights: Vec<(RevisionNumber, Weight)>,
    ) -> Result<u64, Rejection> {
        self.stored.traffic_epoch += 1;
        let epoch = self.stored.traffic_epoch;
        let service = self.service_mut(id)?;
        service.split = Split { epoch, since: now.at, weights };
        Ok(epoch)
    }

    pub(super) fn pause(&mut self, now: Now, id: ServiceId, why: Pause, reason: String, by: Actor) {
        let paused = Paused { by: by.clone(), since: now.at, reason: reason.clone() };
        self.edit(id, |rollout| {
            rollout.eligible_ms = rollout.eligible_at(now.at);
            rollout.eligible_since = None;
            rollout.pauses.insert(why, paused);
        });
        self.happened(now, id, by, Happened::Paused { pause: why, reason });
    }

    fn call_hooks(&mut self, now: Now, id: ServiceId, live: &Rollout, on: HookPoint) {
        let moment = Moment {
            at: now.at,
            wall: now.wall,
            by: Actor::warren(),
            what: Happened::HooksCalled { on, count: 0 },
        };
        let Some(service) = self.service(id).cloned() else { return };
        let pending: BTreeSet<_> = self.tell(&service, live, on, &moment);
        let count = u32::try_from(pending.len()).unwrap_or(u32::MAX);
        self.edit(id, |rollout| {
            rollout.called = Some(Called { on, pending, failed: None });
            rollout.progress_at = now.at;
        });
        self.happened(now, id, Actor::warren(), Happened::HooksCalled { on, count });
    }

    fn accept(&mut self, now: Now, id: ServiceId, live: &Rollout) {
        let Ok(service) = self.service_mut(id) else { return };
        service.accept(live.to, live.kind, now.at);
        let event = service_event(service, Actor::warren(), ServiceChange::Accepted(live.to));
        self.record(now, event);
        self.happened(now, id, Actor::warren(), Happened::Accepted);
        let standby = live.strategy == Strategy::BlueGreen
            && live.from.is_some()
            && live.kind != Kind::Rollback
            && !live.settings.standby.is_zero();
        self.enter(now, id, if standby { Phase::Standby } else { Phase::Finalizing });
    }

    /// Turns the release under way back. Where nothing has changed yet it just ends.
    #[expect(clippy::too_many_arguments, reason = "each is a fact of the record that is made")]
    pub(super) fn abort(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        trigger: Trigger,
        reason: String,
        back: Back,
        by: Actor,
    ) -> Result<(), Rejection> {
        if live.phase.is_back() || live.phase.is_accepted() {
            return Err(Rejection::Stale(format!("{} is {} already", live.id, live.phase)));
        }
        let service = self.service_mut(id)?;
        let Some(from) = live.from else {
            // There is nothing to go back to: the tasks stay, and are tried again with back-off.
            self.end_rollout(now, id, Outcome::Failed, reason, &by);
            return Ok(());
        };
        service.aim_at(from);
        touch(service, now, &by);
        let abort = Abort { trigger, reason: reason.clone(), back, by: by.clone(), at: now.at };
        self.edit(id, |rollout| {
            rollout.abort = Some(abort);
            rollout.pauses.clear();
            rollout.available = 0;
            rollout.haste = Haste::None;
        });
        let what = Happened::Aborted { trigger, reason: reason.clone(), back };
        let moment = Moment { at: now.at, wall: now.wall, by: by.clone(), what: what.clone() };
        self.happened(now, id, by.clone(), what);
        let ends = live.phase <= Phase::Preparing && self.is_stable_alone(id, from);
        if !ends {
            self.enter(now, id, Phase::RollingBack);
        }
        // Only now: who is told sees the release as it goes back, not as it was before.
        if let Some(service) = self.service(id).cloned()
            && let Some(back) = service.rollout.clone()
        {
            self.tell(&service, &back, HookPoint::Rollback, &moment);
        }
        if ends {
            let manual = matches!(trigger, Trigger::Manual | Trigger::Reverted);
            let outcome = if manual { Outcome::Cancelled } else { Outcome::Failed };
            self.set_split(now, id, Vec::new())?;
            self.end_rollout(now, id, outcome, reason, &by);
        }
        Ok(())
    }

    /// Whether nothing is left of what an earlier release brought.
    fn is_stable_alone(&self, id: ServiceId, stable: RevisionNumber) -> bool {
        let split = self.service(id).map(|service| &service.split.weights);
        let apart =
            |(revision, weight): &(_, Weight)| *revision != stable && *weight > Weight::ZERO;
        let others = |task: &Arc<Task>| task.revision != stable && task.is_live();
        !split.is_some_and(|weights| weights.iter().any(apart)) && !self.tasks_of(id).any(others)
    }

    fn finish(&mut self, now: Now, id: ServiceId, live: &Rollout) -> Result<(), Rejection> {
        let (outcome, reason) = live.outcome().ok_or_else(|| {
            Rejection::Stale(format!("{} is {}, not at its end", live.id, live.phase))
        })?;
        self.set_split(now, id, Vec::new())?;
        self.end_rollout(now, id, outcome, reason, &Actor::warren());
        Ok(())
    }
}

/// Where nothing is to be asked and nothing to be brought in order first, a release begins with its tasks.
fn first_phase(service: &Service, begin: &Begin, frozen: bool) -> Phase {
    let asks = begin.settings.approve.is_some()
        || begin.settings.hooks.iter().any(|hook| hook.on == HookPoint::PreRollout);
    let apart = match begin.strategy {
        Strategy::Rolling | Strategy::Recreate => false,
        Strategy::Canary | Strategy::BlueGreen => service.stable.is_some(),
    };
    if frozen {
        Phase::Queued
    } else if asks || apart || !service.split.weights.is_empty() {
        Phase::Preparing
    } else {
        Phase::Updating
    }
}

impl Service {
    /// Makes `revision` the one that tasks are to run, and the intent say so.
    pub(super) fn aim_at(&mut self, revision: RevisionNumber) {
        if let Some(found) = self.revisions.get(&revision) {
            self.spec.template = found.template.clone();
        }
        self.current = revision;
    }

    /// Makes `revision` the stable one. A way back takes off what it went over.
    pub(super) fn accept(
        &mut self,
        revision: RevisionNumber,
        kind: Kind,
        at: crate::time::ClusterTime,
    ) {
        self.stable = Some(revision);
        let known = self.accepted.iter().position(|number| *number == revision);
        match (kind, known) {
            (Kind::Rollback, Some(at)) => self.accepted.truncate(at),
            (Kind::Deploy | Kind::Update | Kind::Rollback, _) => {
                self.accepted.retain(|number| *number != revision);
            }
        }
        self.accepted.push(revision);
        let surplus = self.accepted.len().saturating_sub(REVISIONS_KEPT);
        self.accepted.drain(..surplus);
        if let Some(found) = self.revisions.get_mut(&revision) {
            Arc::make_mut(found).last_good = Some(at);
        }
    }
}
