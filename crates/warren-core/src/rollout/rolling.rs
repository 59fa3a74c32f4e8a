//! The rolling arithmetic: how many replacements may start and how many old tasks may stop now. It is computed afresh
//! each time from counts, never scripted, so that a crash, a scale or a new leader in the middle changes nothing.

use super::step::{accept, hold, missing_allowed, through_gate};
use super::{Facts, Move, Next, Phase, Rollout, RolloutWait};
use crate::spec::{Order, Template, UpdateSettings};
use std::time::Duration;

/// The limits of one service's replacements, as numbers of tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Replacements under way at a time.
    pub(crate) parallelism: u32,
    /// Tasks above the wanted number.
    pub(crate) surge: u32,
    /// Tasks below the wanted number.
    pub(crate) unavailable: u32,
    /// New first or old first.
    pub(crate) order: Order,
}

impl Limits {
    /// The limits of `settings` for `replicas` tasks of `template`. A host port that two tasks cannot share on one node
    /// forces the old task to go first, and then one task at least may be missing.
    pub(crate) fn new(settings: &UpdateSettings, template: &Template, replicas: u32) -> Self {
        let surge = settings.max_surge.ceil_of(replicas);
        let exclusive = template.ports.iter().any(|port| port.host.is_some());
        let order = if exclusive || surge == 0 { Order::StopFirst } else { settings.order };
        let unavailable = settings.max_unavailable.floor_of(replicas);
        Self {
            parallelism: if settings.parallelism == 0 { u32::MAX } else { settings.parallelism },
            surge,
            unavailable: if order == Order::StopFirst { unavailable.max(1) } else { unavailable },
            order,
        }
    }
}

/// How a service stands in the middle of a replacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// Tasks wanted.
    pub(crate) replicas: u32,
    /// Tasks that have not ended, whatever is wanted of them.
    pub(crate) live: u32,
    /// Wanted tasks that are ready.
    pub(crate) ready: u32,
    /// Slots whose new task has not been ready for `min_ready`, and slots that wait for one.
    pub(crate) in_flight: u32,
    /// Slots that have an old task and no new one.
    pub(crate) old: u32,
}

/// How many replacements may start beside their old tasks now.
pub(crate) fn starts(limits: &Limits, counts: &Counts) -> u32 {
    match limits.order {
        Order::StopFirst => 0,
        Order::StartFirst => {
            let room = (counts.replicas.saturating_add(limits.surge)).saturating_sub(counts.live);
            counts.old.min(room).min(limits.parallelism.saturating_sub(counts.in_flight))
        }
    }
}

/// How many ready old tasks may stop before their replacement starts now.
pub(crate) fn stops(limits: &Limits, counts: &Counts) -> u32 {
    match limits.order {
        Order::StartFirst => 0,
        Order::StopFirst => {
            let needed = counts.replicas.saturating_sub(limits.unavailable);
            let spare = counts.ready.saturating_sub(needed);
            counts.old.min(spare).min(limits.parallelism.saturating_sub(counts.in_flight))
        }
    }
}

/// One step of a release that has no split: rolling, recreate, and the first of a service.
pub(super) fn step(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    match rollout.phase {
        Phase::Updating => update(rollout, facts),
        Phase::Monitoring => {
            let length = rollout.settings.monitor.unwrap_or(Duration::ZERO);
            match hold(rollout, facts, length, obstacle(rollout, facts)) {
                Ok(()) => through_gate(rollout, facts, accept(rollout, facts)),
                Err(next) => next.waking(facts.to.next),
            }
        }
        Phase::Gating => through_gate(rollout, facts, accept(rollout, facts)),
        Phase::Queued
        | Phase::Preparing
        | Phase::Scaling
        | Phase::Promoting
        | Phase::Shifting
        | Phase::Holding
        | Phase::Standby
        | Phase::Finalizing
        | Phase::RollingBack
        | Phase::RollbackStalled => Next::default(),
    }
}

fn update(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    let old = facts.from.wanted + facts.others.wanted;
    if facts.to.done < facts.replicas || old > 0 {
        if facts.to.available > rollout.available {
            return Next::one(Move::Available(facts.to.available));
        }
        let (revision, have, need) = (rollout.to, facts.to.done, facts.replicas);
        let wait = RolloutWait::NewTasks { revision, have, need };
        return Next::default().wait(wait).waking(facts.to.next);
    }
    if rollout.settings.monitor.is_some_and(|span| !span.is_zero()) {
        return Next::one(Move::Enter(Phase::Monitoring));
    }
    through_gate(rollout, facts, accept(rollout, facts))
}

fn obstacle(rollout: &Rollout, facts: &Facts<'_>) -> Option<String> {
    let need = facts.replicas.saturating_sub(missing_allowed(rollout, facts.replicas));
    let short = facts.to.ready < need;
    short.then(|| format!("{} of {need} tasks of {} are ready", facts.to.ready, rollout.to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(order: Order, surge: u32, unavailable: u32, parallelism: u32) -> Limits {
        Limits { parallelism, surge, unavailable, order }
    }

    proptest! {
        #[test]
        fn surge_and_unavailable_are_never_exceeded(
            replicas in 0u32..50, live in 0u32..100, ready in 0u32..60, in_flight in 0u32..10,
            old in 0u32..50, surge in 0u32..5, unavailable in 0u32..5, parallelism in 1u32..10,
        ) {
            let counts = Counts { replicas, live, ready, in_flight, old };
            let started = starts(&limits(Order::StartFirst, surge, unavailable, parallelism), &counts);
            prop_assert!(started == 0 || live + started <= replicas + surge);
            prop_assert!(started == 0 || in_flight + started <= parallelism);
            let stopped = stops(&limits(Order::StopFirst, surge, unavailable, parallelism), &counts);
            prop_assert!(stopped == 0 || ready - stopped >= replicas.saturating_sub(unavailable));
            prop_assert!(started.max(stopped) <= old);
        }
    }
}
