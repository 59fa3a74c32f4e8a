//! Holds and gates: I11 and I14.

use super::{Checked, ensure};
use crate::command::Command;
use crate::id::RolloutId;
use crate::rollout::{Haste, Move, Phase, Rollout};
use crate::service::{Service, Split};
use crate::simulate::cluster::Cluster;
use crate::spec::{FailureAction, Mode, Strategy};
use crate::state::State;
use crate::time::ClusterTime;
use crate::traffic;
use std::time::Duration;

/// How long a hold has counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    phase: Phase,
    step: u32,
    since: ClusterTime,
    counted: Duration,
}

impl Cluster {
    /// Time passes: holds count it where nothing stands against it.
    pub(super) fn count_holds(&mut self, before: ClusterTime, after: ClusterTime) {
        let mut live: Vec<RolloutId> = Vec::new();
        for service in self.state.services() {
            let Some(rollout) = service.rollout.as_ref().filter(|r| holds(r)) else { continue };
            live.push(rollout.id);
            let fresh = Held {
                phase: rollout.phase,
                step: rollout.step,
                since: rollout.since,
                counted: Duration::ZERO,
            };
            let held = self.checker.held.entry(rollout.id).or_insert(fresh);
            if (held.phase, held.step, held.since) != (fresh.phase, fresh.step, fresh.since) {
                *held = fresh;
            }
            let ready = self.state.tasks_of(service.id).filter(|task| {
                let up = self.state.node(task.node).is_some_and(|node| node.up);
                task.revision == rollout.to
                    && task.serves()
                    && up
                    && self.observed.is_ready(task.id)
            });
            let ready = u32::try_from(ready.count()).unwrap_or(u32::MAX);
            let Split { epoch, since, .. } = service.split;
            let settled = traffic::settled_at(&self.state, &self.observed, epoch, since);
            let settled = service.split.weights.is_empty() || settled <= after;
            let eligible = rollout.phase == Phase::Standby
                || (rollout.pauses.is_empty() && settled && ready >= need(service, rollout));
            if eligible && self.leads {
                held.counted += after.since(before.max(rollout.since));
            }
        }
        self.checker.held.retain(|id, _| live.contains(id));
    }

    /// What a release must have been through before it goes on.
    pub(super) fn check_gate(
        &self,
        before: &State,
        service: &Service,
        old: &Rollout,
        command: &Command,
    ) -> Checked {
        let Command::MoveRollout { to, .. } = command else { return Ok(()) };
        let onward = match to {
            Move::Step(_) | Move::Accept => true,
            Move::Enter(phase) => matches!(phase, Phase::Gating | Phase::Finalizing),
            Move::Shift { .. }
            | Move::Unsplit { .. }
            | Move::Clock { .. }
            | Move::Available(_)
            | Move::FailSlot { .. }
            | Move::Pause { .. }
            | Move::CallHooks(_)
            | Move::Abort { .. }
            | Move::Finish => false,
        };
        if !onward {
            return Ok(());
        }
        if holds(old) && old.haste == Haste::None {
            let counted =
                self.checker.held.get(&old.id).map_or(Duration::ZERO, |held| held.counted);
            let length = length_of(old);
            let about = || format!("{} was {} for {counted:?} of {length:?}", old.id, old.phase);
            ensure(counted + self.lost >= length, "I14: a hold takes its eligible time", about)?;
        }
        if !matches!(to, Move::Step(_) | Move::Accept) {
            return Ok(());
        }
        let paused = !old.pauses.is_empty();
        ensure(!paused, "a paused release does not go on", || old.id.to_string())?;
        let frozen = before.freeze_of(service.id).is_some() && old.freeze_override.is_none();
        ensure(!frozen, "I11: no gate passes in a freeze", || format!("{} {to:?}", old.id))?;
        let waits = old.approval_wanted().is_some() && old.phase > Phase::Preparing;
        let asks = waits && (old.phase != Phase::Promoting && old.phase != Phase::Scaling);
        ensure(!asks, "I11: no gate passes without its approvals", || old.id.to_string())?;
        self.check_skipped(old, to)?;
        let called = old.called.as_ref();
        let regardless = old.settings.failure_action == FailureAction::Continue;
        let answered =
            called.is_none_or(|c| c.pending.is_empty() && (c.failed.is_none() || regardless));
        ensure(answered, "I11: no gate passes before its hooks", || old.id.to_string())
    }

    /// A promotion to the end stops at steps that people have to agree to.
    fn check_skipped(&self, old: &Rollout, to: &Move) -> Checked {
        let Move::Step(next) = to else { return Ok(()) };
        if old.phase <= Phase::Preparing {
            return ensure(*next == 0, "a release begins with its first step", || next.to_string());
        }
        let skipped = (old.step + 1)..*next;
        let asks =
            |step: u32| old.steps.get(step as usize).is_some_and(|step| step.approve.is_some());
        let jumped = skipped.into_iter().any(asks);
        ensure(!jumped, "I11: no step that people agree to is skipped", || old.id.to_string())
    }
}

fn holds(rollout: &Rollout) -> bool {
    matches!(rollout.phase, Phase::Holding | Phase::Monitoring | Phase::Standby)
}

/// How long the hold is that it is in.
fn length_of(rollout: &Rollout) -> Duration {
    match (rollout.phase, rollout.current_step()) {
        (Phase::Standby, _) => rollout.settings.standby,
        (_, Some(step)) if rollout.is_beside() => step.hold,
        (_, _) => rollout.settings.monitor.unwrap_or_default(),
    }
}

/// Ready tasks without which a hold does not count.
fn need(service: &Service, rollout: &Rollout) -> u32 {
    let Mode::Replicated { replicas } = service.spec.mode else { return 0 };
    match rollout.strategy {
        Strategy::Canary | Strategy::BlueGreen if rollout.from.is_some() => {
            rollout.weight.ceil_of(replicas).max(1).min(replicas)
        }
        Strategy::Canary | Strategy::BlueGreen | Strategy::Rolling | Strategy::Recreate => {
            replicas.saturating_sub(rollout.settings.max_unavailable.floor_of(replicas))
        }
    }
}
