//! Gates: who must agree before a release goes on.

use super::facts::Verdict;
use super::{Facts, Haste, Move, Phase, Rollout, RolloutWait};
use crate::spec::{ApprovalRule, HookPoint};
use crate::units::Weight;

/// How a gate stands.
pub(super) enum Gate {
    /// Go on.
    Open,
    /// Somebody has not answered.
    Wait(RolloutWait),
    /// Somebody is to be asked.
    Act(Move),
}

/// The freeze that holds this release.
pub(super) fn frozen(rollout: &Rollout, facts: &Facts<'_>) -> Option<RolloutWait> {
    let freeze = facts.frozen.filter(|_| rollout.freeze_override.is_none())?;
    Some(RolloutWait::Frozen { by: freeze.by.clone(), reason: freeze.reason.clone() })
}

/// The gate before anything changes.
pub(super) fn at_start(rollout: &Rollout) -> Gate {
    match approval(rollout, 0, rollout.settings.approve.as_ref()) {
        Some(wait) => Gate::Wait(wait),
        None => hooks(rollout, &[HookPoint::PreRollout]),
    }
}

/// The gate at the end of a step; for a strategy without steps, at the end of the release.
pub(super) fn at_step(rollout: &Rollout, facts: &Facts<'_>) -> Gate {
    if let Some(wait) = frozen(rollout, facts) {
        return Gate::Wait(wait);
    }
    let step = rollout.current_step();
    if facts.verdict != Verdict::Pass && rollout.haste == Haste::None {
        let why = format!("the analysis says {:?}", facts.verdict);
        return Gate::Wait(RolloutWait::Stopped { why });
    }
    let rule = step.and_then(|step| step.approve.as_ref());
    if let Some(wait) = approval(rollout, rollout.step + 1, rule) {
        return Gate::Wait(wait);
    }
    let last = rollout.is_last_step();
    let next = rollout.steps.get(rollout.step as usize + 1).and_then(|next| next.weight);
    let mut points = Vec::new();
    if step.is_some() {
        points.push(HookPoint::PerStep);
    }
    if !last && next == Some(Weight::FULL) {
        points.push(HookPoint::PrePromote);
    }
    if last {
        points.push(HookPoint::PostPromote);
    }
    hooks(rollout, &points)
}

fn approval(rollout: &Rollout, step: u32, rule: Option<&ApprovalRule>) -> Option<RolloutWait> {
    let rule = rule?;
    let have = rollout.approvals.iter().filter(|given| given.step == step).count();
    let have = u32::try_from(have).unwrap_or(u32::MAX);
    let roles: Vec<_> = rule.roles.iter().map(ToString::to_string).collect();
    let roles = roles.join(" or ");
    (have < rule.min).then_some(RolloutWait::Approval { have, need: rule.min, roles })
}

/// Calls the hooks of the points one after the other.
fn hooks(rollout: &Rollout, points: &[HookPoint]) -> Gate {
    let has = |point: &&HookPoint| {
        let named = rollout.settings.hooks.iter().any(|hook| hook.on == **point);
        let own = rollout.current_step().is_some_and(|step| step.run.is_some());
        named || (**point == HookPoint::PerStep && own)
    };
    let mut left = points.iter().filter(has).copied();
    if let Some(called) = &rollout.called {
        if !called.pending.is_empty() {
            let pending = u32::try_from(called.pending.len()).unwrap_or(u32::MAX);
            return Gate::Wait(RolloutWait::Hooks { on: called.on, pending });
        }
        // What follows the point that has answered.
        if left.clone().any(|point| point == called.on) {
            left.find(|point| *point == called.on);
        }
    }
    left.next().map_or(Gate::Open, |point| Gate::Act(Move::CallHooks(point)))
}

impl Rollout {
    /// What waits for people's agreement: the step, 0 for the start, and the rule.
    #[must_use]
    pub fn approval_wanted(&self) -> Option<(u32, &ApprovalRule)> {
        let (step, rule) = if self.phase <= Phase::Preparing {
            (0, self.settings.approve.as_ref())
        } else {
            (self.step + 1, self.current_step().and_then(|step| step.approve.as_ref()))
        };
        approval(self, step, rule)?;
        rule.map(|rule| (step, rule))
    }
}
