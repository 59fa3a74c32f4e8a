//! The way back: traffic first, then tasks. It is never held by a pause, a freeze or a gate, and never turned round.

use super::step::stable_carries_all;
use super::{Back, Facts, Move, Next, Phase, Rollout, RolloutWait, Shape};
use crate::spec::Strategy;
use crate::time::ClusterTime;
use crate::units::Weight;
use std::time::Duration;

/// How much a gradual way back takes at a time (C28).
const CUT: u16 = 200;
/// How often it does.
const CUT_EVERY: Duration = Duration::from_secs(60);

pub(super) fn shape(rollout: &Rollout, facts: &Facts<'_>) -> Shape {
    let Some(from) = rollout.from else {
        return Shape::Only { revision: rollout.to, fast: true };
    };
    // What an earlier release left keeps its share until the stable revision is at its full size beside it.
    if facts.strangers {
        return Shape::Beside { from, to: rollout.to, count: None };
    }
    if rollout.is_beside()
        && (facts.share.is_some_and(|w| w > Weight::ZERO) || keeps(rollout, facts))
    {
        return Shape::Beside { from, to: rollout.to, count: None };
    }
    match rollout.strategy {
        Strategy::Recreate => Shape::Recreate { revision: from },
        Strategy::Rolling | Strategy::Canary | Strategy::BlueGreen => {
            Shape::Only { revision: from, fast: true }
        }
    }
}

fn keeps(rollout: &Rollout, facts: &Facts<'_>) -> bool {
    kept_until(rollout, facts).is_some_and(|until| until > facts.now)
}

/// Until when the tasks of the revision that failed are kept for a look at them.
fn kept_until(rollout: &Rollout, facts: &Facts<'_>) -> Option<ClusterTime> {
    let aborted = rollout.abort.as_ref().map_or(rollout.since, |abort| abort.at);
    let from = facts.settled_at.max(aborted);
    facts.share.map(|_| from.after(rollout.settings.scale_down_delay))
}

pub(super) fn step(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    if let Some(next) = stalled(rollout, facts) {
        return next;
    }
    if facts.strangers {
        return outcast(rollout, facts);
    }
    let next = if rollout.is_beside() { beside(rollout, facts) } else { replace(rollout, facts) };
    let stall_at = (rollout.phase == Phase::RollingBack).then(|| stall_at(rollout));
    next.waking(stall_at)
}

/// When the way back takes longer than a task may take to become ready.
fn stall_at(rollout: &Rollout) -> ClusterTime {
    let settings = &rollout.settings;
    rollout
        .progress_at
        .after(settings.healthy_deadline + settings.scale_down_delay + settings.drain)
}

fn stalled(rollout: &Rollout, facts: &Facts<'_>) -> Option<Next> {
    let late = rollout.phase == Phase::RollingBack && stall_at(rollout) <= facts.now;
    late.then(|| Next::one(Move::Enter(Phase::RollbackStalled)))
}

fn beside(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    let share = facts.share.unwrap_or(Weight::ZERO);
    if share > Weight::ZERO {
        return cut(rollout, facts, share);
    }
    if facts.share.is_some() && !facts.is_settled() {
        let (nodes, until) = (facts.unacked.clone(), facts.settled_at);
        return Next::default().wait(RolloutWait::Acks { nodes, until });
    }
    if let Some(until) = kept_until(rollout, facts).filter(|until| *until > facts.now)
        && facts.to.live + facts.others.live > 0
    {
        return Next::default().wait(RolloutWait::Kept { revision: rollout.to, until });
    }
    replace(rollout, facts)
}

/// Takes away the share of what an earlier release left behind, as soon as the stable revision's tasks can carry it.
fn outcast(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    if stable_carries_all(rollout, facts) {
        return Next::one(Move::Shift { weight: Weight::ZERO, next: rollout.phase });
    }
    waits_for_stable(rollout, facts)
}

/// Takes share away from the revision that failed: as much as the stable one's ready tasks can carry, one task more.
fn cut(rollout: &Rollout, facts: &Facts<'_>, share: Weight) -> Next {
    let back = rollout.abort.as_ref().map(|abort| abort.back).unwrap_or_default();
    let weak = facts.to.ready < share.ceil_of(facts.replicas).max(1);
    let carried = match facts.from.ready {
        // A service of no tasks loses none.
        _ if facts.replicas == 0 => Weight::FULL,
        0 => Weight::ZERO,
        ready if facts.to.ready == 0 => {
            Weight::carried_by(ready.max(facts.replicas), facts.replicas)
        }
        ready => Weight::carried_by(ready + 1, facts.replicas),
    };
    let least = carried.rest();
    let goal = match back {
        Back::Gradual if !weak => {
            let due = facts.split_since.after(CUT_EVERY);
            let aborted = rollout.abort.as_ref().map_or(rollout.since, |abort| abort.at);
            // What happened in the same moment came before where the share is still that of the step.
            let at_once = facts.split_since == aborted && share == rollout.weight;
            let first = facts.split_since < aborted || at_once;
            if !first && due > facts.now {
                return Next::default().wait(RolloutWait::NextCut { until: due });
            }
            let step = Weight::from_per_mille(CUT).unwrap_or_default();
            share.minus(step).max(least)
        }
        Back::Gradual | Back::Immediate => least,
    };
    if goal < share {
        return Next::one(Move::Shift { weight: goal, next: rollout.phase });
    }
    waits_for_stable(rollout, facts)
}

fn waits_for_stable(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    let revision = rollout.from.unwrap_or(rollout.to);
    let (have, need) = (facts.from.ready, facts.replicas);
    let wait = RolloutWait::StableTasks { revision, have, need };
    if rollout.phase == Phase::RollbackStalled {
        let why = format!("{wait}, and the way back has taken too long");
        return Next::default().wait(RolloutWait::Stalled { why });
    }
    Next::default().wait(wait)
}

/// The stable revision in every slot, and nothing else left.
fn replace(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    if facts.from.done < facts.replicas {
        if facts.from.available > rollout.available && rollout.phase == Phase::RollingBack {
            return Next::one(Move::Available(facts.from.available));
        }
        return waits_for_stable(rollout, facts).waking(facts.from.next);
    }
    match facts.to.live + facts.others.live {
        0 => Next::one(Move::Finish),
        left => Next::default().wait(RolloutWait::Leaving { left }),
    }
}
