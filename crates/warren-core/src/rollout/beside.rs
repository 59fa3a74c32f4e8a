//! Two revisions beside each other: what canary and blue-green have in common. For each step the tasks come first, then
//! the share, then the acknowledgements, then the hold, then the gate.

use super::gate;
use super::step::{accept, hold, through_gate};
use super::{Facts, Haste, Move, Next, Phase, Rollout, RolloutWait, Shape};
use crate::spec::Strategy;
use crate::time::ClusterTime;
use crate::units::Weight;
use std::time::Duration;

/// Tasks of the new revision that this step needs.
pub(super) fn needed(rollout: &Rollout, facts: &Facts<'_>) -> u32 {
    let share = rollout.weight.ceil_of(facts.replicas).max(1);
    let scale = rollout.current_step().and_then(|step| step.scale);
    let scale = scale.map_or(0, |scale| scale.ceil_of(facts.replicas));
    share.max(scale).min(facts.replicas)
}

pub(super) fn shape(rollout: &Rollout, facts: &Facts<'_>) -> Shape {
    let to = rollout.to;
    let Some(from) = rollout.from else { return Shape::Only { revision: to, fast: false } };
    let full = Shape::Beside { from, to, count: Some(facts.replicas) };
    match rollout.phase {
        Phase::Standby => full,
        Phase::Finalizing if kept_until(rollout, facts).is_some() => full,
        Phase::Finalizing => Shape::Only { revision: to, fast: true },
        Phase::Queued
        | Phase::Preparing
        | Phase::Updating
        | Phase::Scaling
        | Phase::Promoting
        | Phase::Shifting
        | Phase::Holding
        | Phase::Gating
        | Phase::Monitoring
        | Phase::RollingBack
        | Phase::RollbackStalled => Shape::Beside { from, to, count: Some(needed(rollout, facts)) },
    }
}

/// Until when the old tasks are kept though the new revision is accepted; absent once that is over.
pub(super) fn kept_until(rollout: &Rollout, facts: &Facts<'_>) -> Option<ClusterTime> {
    let waited = match rollout.strategy {
        // Standby was longer than that.
        Strategy::BlueGreen if rollout.kind != super::Kind::Rollback => return None,
        Strategy::Canary | Strategy::BlueGreen => rollout.settings.scale_down_delay,
        Strategy::Rolling | Strategy::Recreate => return None,
    };
    let until = facts.settled_at.after(waited);
    (rollout.is_beside() && rollout.haste != Haste::Full && until > facts.now).then_some(until)
}

pub(super) fn step(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    match rollout.phase {
        Phase::Scaling | Phase::Promoting => scale(rollout, facts),
        Phase::Shifting if facts.is_settled() => Next::one(Move::Enter(hold_phase(rollout))),
        Phase::Shifting => {
            let (nodes, until) = (facts.unacked.clone(), facts.settled_at);
            Next::default().wait(RolloutWait::Acks { nodes, until })
        }
        Phase::Holding | Phase::Monitoring => {
            let length = rollout.current_step().map_or(Duration::ZERO, |step| step.hold);
            match hold(rollout, facts, length, obstacle(rollout, facts)) {
                Ok(()) => through_gate(rollout, facts, onward(rollout, facts)),
                Err(next) => next.waking(facts.to.next),
            }
        }
        Phase::Gating => match obstacle(rollout, facts) {
            None => through_gate(rollout, facts, onward(rollout, facts)),
            Some(why) => Next::default().wait(RolloutWait::Stopped { why }),
        },
        Phase::Standby => match hold(rollout, facts, rollout.settings.standby, None) {
            Ok(()) => Next::one(Move::Enter(Phase::Finalizing)),
            Err(next) => next,
        },
        Phase::Queued
        | Phase::Preparing
        | Phase::Updating
        | Phase::Finalizing
        | Phase::RollingBack
        | Phase::RollbackStalled => Next::default(),
    }
}

/// Brings up what the step needs, then gives it its share: never more than its ready tasks can carry, and never so much
/// that the old revision's ready tasks cannot carry the rest.
fn scale(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    if rollout.haste == Haste::Full
        && gate::frozen(rollout, facts).is_none()
        && let Some(step) = last_open_step(rollout)
    {
        return Next::one(Move::Step(step));
    }
    let need = needed(rollout, facts);
    let stable = rollout.weight.rest().ceil_of(facts.replicas);
    let mut next = Next::default().waking(facts.to.next);
    if facts.to.available < need {
        if facts.to.available > rollout.available {
            return Next::one(Move::Available(facts.to.available));
        }
        let (revision, have) = (rollout.to, facts.to.available);
        next = next.wait(RolloutWait::NewTasks { revision, have, need });
    }
    // A stable revision without a single ready task carries nothing that could be lost.
    if facts.from.ready < stable && facts.from.ready > 0 {
        let (revision, have) = (rollout.from.unwrap_or(rollout.to), facts.from.ready);
        next = next.wait(RolloutWait::StableTasks { revision, have, need: stable });
    }
    if !next.waits.is_empty() {
        return next;
    }
    if facts.share == Some(rollout.weight) {
        return Next::one(Move::Enter(hold_phase(rollout)));
    }
    Next::one(Move::Shift { weight: rollout.weight, next: Phase::Shifting })
}

fn hold_phase(rollout: &Rollout) -> Phase {
    if rollout.weight == Weight::FULL { Phase::Monitoring } else { Phase::Holding }
}

/// Why the hold does not count now.
fn obstacle(rollout: &Rollout, facts: &Facts<'_>) -> Option<String> {
    let need = needed(rollout, facts);
    if !facts.is_settled() {
        return Some("not every resolver answers by the new split".to_owned());
    }
    if facts.to.ready < need {
        return Some(format!("{} of {need} tasks of {} are ready", facts.to.ready, rollout.to));
    }
    None
}

/// What follows the gate of this step.
fn onward(rollout: &Rollout, facts: &Facts<'_>) -> Vec<Move> {
    if rollout.is_last_step() {
        return accept(rollout, facts);
    }
    let next = if rollout.haste == Haste::Full { last_open_step(rollout) } else { None };
    vec![Move::Step(next.unwrap_or(rollout.step + 1))]
}

/// The step that a promotion to the end leads to: the last one, or the first on the way that people have to agree to.
fn last_open_step(rollout: &Rollout) -> Option<u32> {
    let ahead = rollout.steps.iter().enumerate().skip(rollout.step as usize + 1);
    let last = rollout.steps.len().checked_sub(1)?;
    let stop = ahead.clone().find(|(_, step)| step.approve.is_some()).map_or(last, |(at, _)| at);
    let here = rollout.current_step().is_some_and(|step| step.approve.is_some());
    let step = u32::try_from(stop).ok()?;
    (step > rollout.step && !(here && rollout.approval_wanted().is_some())).then_some(step)
}
