//! What makes a release fail.

use super::facts::Verdict;
use super::{Facts, Move, Phase, Rollout, Trigger};
use crate::time::ClusterTime;

/// What went wrong, in a word and in words.
pub(super) type Found = (Trigger, String);

/// Slots that fail now and were not counted yet.
pub(super) fn new_failures(rollout: &Rollout, facts: &Facts<'_>) -> Vec<Move> {
    let new = facts.failing.iter().filter(|(slot, _)| !rollout.failed_slots.contains_key(slot));
    new.map(|(slot, why)| Move::FailSlot { slot: *slot, why: why.clone() }).collect()
}

/// The first thing that is wrong.
pub(super) fn found(rollout: &Rollout, facts: &Facts<'_>) -> Option<Found> {
    hook(rollout)
        .or_else(|| slots(rollout, facts.replicas))
        .or_else(|| verdict(facts))
        .or_else(|| progress(rollout, facts.frozen.is_some(), facts.now))
}

/// Whether it has failed, whatever its settings say is to follow. What is measured is not asked.
pub(crate) fn has_failed(rollout: &Rollout, replicas: u32, frozen: bool, now: ClusterTime) -> bool {
    let found = hook(rollout).or_else(|| slots(rollout, replicas));
    found.or_else(|| progress(rollout, frozen, now)).is_some()
}

fn hook(rollout: &Rollout) -> Option<Found> {
    let called = rollout.called.as_ref()?;
    let why = called.failed.as_ref()?;
    Some((Trigger::Hook, format!("a hook at {} failed: {why}", called.on)))
}

fn slots(rollout: &Rollout, replicas: u32) -> Option<Found> {
    let percent = u64::from(rollout.settings.max_failure_percent);
    let allowed = u64::from(replicas) * percent / 100 + u64::from(rollout.tolerated);
    let failed = rollout.failed_slots.len() as u64;
    let (slot, why) = rollout.failed_slots.iter().next_back()?;
    (failed > allowed).then(|| {
        let what = format!("slot {slot} of {}: {why}", rollout.to);
        let which =
            if failed == 1 { what } else { format!("{failed} of {replicas} slots, as {what}") };
        (Trigger::HealthCheck, which)
    })
}

fn verdict(facts: &Facts<'_>) -> Option<Found> {
    let failed = facts.verdict == Verdict::Fail;
    failed.then(|| (Trigger::Analysis, "the analysis failed".to_owned()))
}

fn progress(rollout: &Rollout, frozen: bool, now: ClusterTime) -> Option<Found> {
    let late = deadline(rollout, frozen).is_some_and(|at| at <= now);
    let within = rollout.settings.progress_deadline.as_secs();
    late.then(|| {
        let why = format!("nothing moved within {within} s while it was {}", rollout.phase);
        (Trigger::Deadline, why)
    })
}

/// When too little will have moved for too long. Time that is held, paused or at a gate does not count.
pub(super) fn deadline(rollout: &Rollout, frozen: bool) -> Option<ClusterTime> {
    let waits_for_tasks = match rollout.phase {
        Phase::Updating | Phase::Scaling | Phase::Promoting | Phase::Shifting => true,
        Phase::Holding | Phase::Monitoring => rollout.eligible_since.is_none(),
        Phase::Preparing => {
            let asked = rollout.called.as_ref().is_some_and(|called| !called.pending.is_empty());
            rollout.approval_wanted().is_none() && !asked && !frozen
        }
        Phase::Queued
        | Phase::Gating
        | Phase::Standby
        | Phase::Finalizing
        | Phase::RollingBack
        | Phase::RollbackStalled => false,
    };
    let counts = waits_for_tasks && rollout.pauses.is_empty();
    counts.then(|| rollout.progress_at.after(rollout.settings.progress_deadline))
}
