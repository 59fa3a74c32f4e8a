//! One step of a release: what it does next, what it wants of tasks, and what it waits for.

use super::gate::{self, Gate};
use super::{
    Facts, Haste, Kind, Move, Pause, Phase, Rollout, RolloutWait, beside, recreate, rollback,
    rolling, trouble,
};
use super::{blue_green, canary};
use crate::id::RevisionNumber;
use crate::spec::{FailureAction, Step, Strategy, UpdateSettings};
use crate::time::ClusterTime;
use crate::units::Weight;
use std::time::Duration;

/// What a release does next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Next {
    /// Moves to make, in this order; while there are any, tasks are left alone.
    pub moves: Vec<Move>,
    /// What it waits for.
    pub waits: Vec<RolloutWait>,
    /// When to look again, though nothing else may happen before.
    pub wake_at: Option<ClusterTime>,
}

impl Next {
    pub(super) fn one(to: Move) -> Self {
        Self { moves: vec![to], ..Self::default() }
    }

    pub(super) fn wait(mut self, wait: RolloutWait) -> Self {
        if let Some(until) = wait.until() {
            self.wake(Some(until));
        }
        self.waits.push(wait);
        self
    }

    /// Looks again at `at`, or earlier.
    pub(super) fn wake(&mut self, at: Option<ClusterTime>) {
        self.wake_at = match (self.wake_at, at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    pub(super) fn waking(mut self, at: Option<ClusterTime>) -> Self {
        self.wake(at);
        self
    }
}

/// What a release wants of tasks in its phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Leave everything as it is, and start nothing.
    Nothing,
    /// One revision in every slot; what runs another is replaced, within the limits.
    Only {
        /// Which.
        revision: RevisionNumber,
        /// Whether surge and unavailable are the only limits.
        fast: bool,
    },
    /// One revision in every slot, and no task of it before the last of any other has ended.
    Recreate {
        /// Which.
        revision: RevisionNumber,
    },
    /// What comes in stays as it is; the other revision comes to every slot that is left to it, and what an earlier
    /// release left goes.
    Settle {
        /// The revision that gets every slot.
        from: RevisionNumber,
        /// The one that is left alone.
        to: RevisionNumber,
    },
    /// Two revisions beside each other.
    Beside {
        /// The one that keeps its full size.
        from: RevisionNumber,
        /// The one that comes or goes.
        to: RevisionNumber,
        /// How many tasks of it; where absent, those that there are.
        count: Option<u32>,
    },
}

/// The steps of a release with these settings, written out; none for rolling and recreate.
#[must_use]
pub fn steps_of(settings: &UpdateSettings) -> Vec<Step> {
    match settings.strategy {
        Strategy::Rolling | Strategy::Recreate => Vec::new(),
        Strategy::Canary => canary::steps(settings),
        Strategy::BlueGreen => blue_green::steps(settings),
    }
}

/// What a release wants of tasks now.
pub(crate) fn shape(rollout: &Rollout, facts: &Facts<'_>) -> Shape {
    match rollout.phase {
        Phase::Queued | Phase::Preparing => match rollout.from {
            // What still has a share is left alone until that is taken away.
            Some(from) if !is_stable_alone(facts) => {
                Shape::Beside { from, to: rollout.to, count: None }
            }
            Some(from) => Shape::Settle { from, to: rollout.to },
            None => Shape::Nothing,
        },
        Phase::RollingBack | Phase::RollbackStalled => rollback::shape(rollout, facts),
        Phase::Updating
        | Phase::Scaling
        | Phase::Promoting
        | Phase::Shifting
        | Phase::Holding
        | Phase::Gating
        | Phase::Monitoring
        | Phase::Standby
        | Phase::Finalizing => {
            if rollout.is_beside() {
                return beside::shape(rollout, facts);
            }
            match rollout.strategy {
                Strategy::Recreate => recreate::shape(rollout),
                Strategy::Rolling | Strategy::Canary | Strategy::BlueGreen => {
                    let fast = rollout.kind == Kind::Rollback;
                    Shape::Only { revision: rollout.to, fast }
                }
            }
        }
    }
}

/// What a release does next.
pub(crate) fn step(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    if rollout.phase.is_back() {
        return rollback::step(rollout, facts);
    }
    let (mut wake_at, mut regardless) = (None, None);
    if !rollout.phase.is_accepted() && rollout.phase != Phase::Queued {
        let failed = trouble::new_failures(rollout, facts);
        if !failed.is_empty() {
            return Next { moves: failed, ..Next::default() };
        }
        let deadline = trouble::deadline(rollout, facts.frozen.is_some());
        wake_at = deadline.into_iter().chain(facts.unready_until).min();
        if let Some(found) = trouble::found(rollout, facts) {
            regardless = goes_on(rollout, &found);
            if let Some(to) = respond(rollout, found) {
                return Next::one(to);
            }
        }
    }
    let next = if rollout.pauses.is_empty() || rollout.phase.is_accepted() {
        forward(rollout, facts)
    } else {
        stand(rollout)
    };
    let next = next.waking(wake_at);
    match regardless.filter(|_| next.moves.is_empty()) {
        Some(wait) => next.wait(wait),
        None => next,
    }
}

/// Where a release goes on although it has failed, a person is named who can end it: nothing else does.
fn goes_on(rollout: &Rollout, (_, why): &trouble::Found) -> Option<RolloutWait> {
    let goes_on = rollout.settings.failure_action == FailureAction::Continue;
    (goes_on && rollout.from.is_some()).then(|| RolloutWait::Failed { why: why.clone() })
}

/// What follows a failure by the release's settings.
fn respond(rollout: &Rollout, (trigger, reason): trouble::Found) -> Option<Move> {
    match rollout.settings.failure_action {
        FailureAction::Rollback => Some(Move::Abort { trigger, reason }),
        FailureAction::Pause if rollout.pauses.contains_key(&Pause::FailureAction) => None,
        FailureAction::Pause => Some(Move::Pause { pause: Pause::FailureAction, reason }),
        FailureAction::Continue => None,
    }
}

/// A paused release stays as it is; its hold has stopped counting with the pause.
fn stand(rollout: &Rollout) -> Next {
    rollout.pauses.iter().fold(Next::default(), |next, (pause, paused)| {
        let (by, reason) = (paused.by.clone(), paused.reason.clone());
        next.wait(RolloutWait::Paused { pause: *pause, by, reason })
    })
}

fn forward(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    let frozen = gate::frozen(rollout, facts);
    // The share of a release that this one took the place of goes before anybody is asked.
    if let Some(from) = rollout.from.filter(|_| rollout.phase <= Phase::Preparing)
        && !is_stable_alone(facts)
    {
        return to_stable(rollout, facts, from);
    }
    match (rollout.phase, frozen) {
        (Phase::Queued, Some(wait)) => Next::default().wait(wait),
        (Phase::Queued, None) => Next::one(Move::Enter(Phase::Preparing)),
        (Phase::Preparing, Some(_)) => Next::one(Move::Enter(Phase::Queued)),
        (Phase::Preparing, None) => prepare(rollout, facts),
        (Phase::Finalizing, _) => finalize(rollout, facts),
        (
            Phase::Updating
            | Phase::Scaling
            | Phase::Promoting
            | Phase::Shifting
            | Phase::Holding
            | Phase::Gating
            | Phase::Monitoring
            | Phase::Standby
            | Phase::RollingBack
            | Phase::RollbackStalled,
            _,
        ) => {
            if rollout.is_beside() {
                beside::step(rollout, facts)
            } else {
                rolling::step(rollout, facts)
            }
        }
    }
}

/// Asks people and hooks; then brings traffic and tasks back to the stable revision alone, where an earlier release
/// left them otherwise.
fn prepare(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    match gate::at_start(rollout) {
        Gate::Open => {}
        Gate::Wait(wait) => return Next::default().wait(wait),
        Gate::Act(to) => return Next::one(to),
    }
    let apart = rollout.is_beside() || facts.share.is_some();
    let Some(from) = rollout.from.filter(|_| apart) else {
        return Next::one(Move::Enter(Phase::Updating));
    };
    if facts.share.is_none() || !is_stable_alone(facts) {
        return to_stable(rollout, facts, from);
    }
    let left = facts.others.wanted;
    if left > 0 {
        return Next::default().wait(RolloutWait::Leftovers { left });
    }
    if rollout.is_beside() {
        Next::one(Move::Step(0))
    } else {
        Next::one(Move::Unsplit { next: Phase::Updating })
    }
}

/// Whether only the stable revision has a share.
fn is_stable_alone(facts: &Facts<'_>) -> bool {
    facts.share.is_none_or(|share| share == Weight::ZERO) && !facts.strangers
}

/// All traffic to the stable revision, as soon as its tasks can carry it.
fn to_stable(rollout: &Rollout, facts: &Facts<'_>, from: RevisionNumber) -> Next {
    if stable_carries_all(rollout, facts) {
        return Next::one(Move::Shift { weight: Weight::ZERO, next: rollout.phase });
    }
    let (have, need) = (facts.from.ready, facts.replicas);
    Next::default().wait(RolloutWait::StableTasks { revision: from, have, need })
}

/// Whether the stable revision's ready tasks can carry all traffic, or nobody else can carry any.
pub(super) fn stable_carries_all(rollout: &Rollout, facts: &Facts<'_>) -> bool {
    let missing = missing_allowed(rollout, facts.replicas);
    let need = facts.replicas.saturating_sub(missing).max(1);
    facts.from.ready >= need || (facts.to.ready == 0 && facts.others.ready == 0)
}

/// How many tasks may be missing in a release.
pub(super) fn missing_allowed(rollout: &Rollout, replicas: u32) -> u32 {
    rollout.settings.max_unavailable.floor_of(replicas)
}

/// The new revision is stable: what is left of others goes.
fn finalize(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    if let Some(until) = beside::kept_until(rollout, facts) {
        let revision = rollout.from.unwrap_or(rollout.to);
        return Next::default().wait(RolloutWait::Kept { revision, until });
    }
    match facts.from.live + facts.others.live {
        0 => Next::one(Move::Finish),
        left => Next::default().wait(RolloutWait::Leaving { left }),
    }
}

/// Counts a hold. `Err` while it lasts.
pub(super) fn hold(
    rollout: &Rollout,
    facts: &Facts<'_>,
    length: Duration,
    obstacle: Option<String>,
) -> Result<(), Next> {
    let eligible = obstacle.is_none();
    if eligible && (length.is_zero() || rollout.haste != Haste::None) {
        return Ok(());
    }
    if eligible != rollout.eligible_since.is_some() {
        return Err(Next::one(Move::Clock { running: eligible }));
    }
    let past = Duration::from_millis(rollout.eligible_at(facts.now));
    let left = length.saturating_sub(past);
    match obstacle {
        None if left.is_zero() => Ok(()),
        None => {
            let wait = RolloutWait::Hold { phase: rollout.phase, left };
            Err(Next::default().wait(wait).waking(Some(facts.now.after(left))))
        }
        Some(why) => Err(Next::default().wait(RolloutWait::Stopped { why })),
    }
}

/// Makes the new revision stable; and ends the release at once where nothing of another is left.
pub(super) fn accept(rollout: &Rollout, facts: &Facts<'_>) -> Vec<Move> {
    let alone = facts.from.live + facts.others.live == 0;
    if alone && !rollout.is_beside() {
        vec![Move::Accept, Move::Finish]
    } else {
        vec![Move::Accept]
    }
}

/// Passes the gate at the end of a step, or comes to stand at it.
pub(super) fn through_gate(rollout: &Rollout, facts: &Facts<'_>, then: Vec<Move>) -> Next {
    let at_gate = rollout.phase == Phase::Gating;
    match gate::at_step(rollout, facts) {
        Gate::Open => Next { moves: then, ..Next::default() },
        Gate::Wait(_) | Gate::Act(_) if !at_gate => Next::one(Move::Enter(Phase::Gating)),
        Gate::Wait(wait) => Next::default().wait(wait),
        Gate::Act(to) => Next::one(to),
    }
}
