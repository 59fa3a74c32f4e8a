//! The steps by which a canary gets its share.

use super::{FieldError, HookUrl, Quantity, RoleName, SPAN_MAX};
use crate::units::Weight;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Steps of one rollout, ramps written out: more than a person follows, and a bound for what is frozen in the state.
pub const STEPS_MAX: usize = 100;
/// Roles that one approval may name.
pub const APPROVAL_ROLES_MAX: usize = 16;

/// One step: first the tasks, then the share, then the wait, then the gate.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// The new revision's share of traffic from here on; that of the step before where absent.
    pub weight: Option<Weight>,
    /// Tasks of the new revision, where there should be more than the share needs.
    pub scale: Option<Quantity>,
    /// How long the share is kept. Only time counts in which the share is in force and enough tasks are ready.
    pub hold: Duration,
    /// Whether the gate asks the analysis for a verdict.
    pub analyze: bool,
    /// Who must agree before the rollout goes on.
    pub approve: Option<ApprovalRule>,
    /// Called at the gate; a failure fails the step.
    pub run: Option<HookUrl>,
    /// Stands for several steps that raise the share evenly.
    pub ramp: Option<Ramp>,
}

/// Raises the share evenly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ramp {
    /// The share at the end.
    pub to: Weight,
    /// By how much each step raises it; above 0.
    pub by: Weight,
    /// How long each step is kept.
    pub every: Duration,
}

/// Who must agree: `min` different people who have one of the roles.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApprovalRule {
    /// Any of these; anybody who may steer rollouts where empty.
    pub roles: Vec<RoleName>,
    /// How many people; 1 or more.
    pub min: u32,
}

impl Step {
    /// A step that gives `weight` and keeps it for `hold`.
    #[must_use]
    pub fn weight(weight: Weight, hold: Duration) -> Self {
        Self { weight: Some(weight), hold, ..Self::default() }
    }
}

/// Writes out the ramps, and ends at the full share: where the last weight is less, one more step is added that is kept
/// as long as the step before. The list is empty where `steps` is.
#[must_use]
pub fn expand(steps: &[Step]) -> Vec<Step> {
    let mut written: Vec<Step> = Vec::new();
    let mut reached = Weight::ZERO;
    for step in steps {
        let Some(ramp) = step.ramp else {
            reached = step.weight.unwrap_or(reached);
            written.push(step.clone());
            continue;
        };
        while reached < ramp.to && written.len() <= STEPS_MAX {
            reached = reached.plus(ramp.by).min(ramp.to);
            let like = Step { weight: Some(reached), hold: ramp.every, ..step.clone() };
            // What the ramp's step asks of a person is asked once, at its end.
            let last = reached == ramp.to;
            let (approve, run) = (step.approve.clone(), step.run.clone());
            written.push(Step {
                ramp: None,
                approve: approve.filter(|_| last),
                run: run.filter(|_| last),
                ..like
            });
        }
    }
    if let Some(last) = written.last()
        && reached < Weight::FULL
    {
        let hold = last.hold;
        written.push(Step::weight(Weight::FULL, hold));
    }
    written
}

/// Checks a list of steps.
///
/// # Errors
/// The field that cannot be what it is: weights that do not rise, a ramp that goes nowhere, more than [`STEPS_MAX`].
pub(super) fn check(steps: &[Step]) -> Result<(), FieldError> {
    let mut reached: Option<Weight> = None;
    for (i, step) in steps.iter().enumerate() {
        let field = |part: &str| format!("steps[{i}].{part}");
        if step.hold > SPAN_MAX {
            return Err(FieldError::new(field("hold"), "longer than a year"));
        }
        if let Some(weight) = step.weight {
            if step.ramp.is_some() {
                let problem = "a step has either a weight or a ramp: make two steps of it";
                return Err(FieldError::new(field("ramp"), problem));
            }
            rise(reached, weight).map_err(|problem| FieldError::new(field("weight"), problem))?;
            reached = Some(weight);
        }
        if let Some(ramp) = step.ramp {
            if ramp.by == Weight::ZERO {
                let problem = "0 never gets anywhere: write how much each step adds, as in 20";
                return Err(FieldError::new(field("ramp.by"), problem));
            }
            rise(reached, ramp.to).map_err(|problem| FieldError::new(field("ramp.to"), problem))?;
            reached = Some(ramp.to);
        }
        if let Some(rule) = &step.approve {
            rule.check().map_err(|error| error.within(&field("approve")))?;
        }
    }
    if expand(steps).len() > STEPS_MAX {
        let problem = format!("more than {STEPS_MAX} steps with the ramps written out");
        return Err(FieldError::new("steps", problem));
    }
    Ok(())
}

fn rise(reached: Option<Weight>, next: Weight) -> Result<(), String> {
    match reached {
        Some(before) if next <= before => Err(format!(
            "{next} is not more than {before}, the step before: steps rise, as in 10, 50, 100"
        )),
        Some(_) | None => Ok(()),
    }
}

impl ApprovalRule {
    pub(super) fn check(&self) -> Result<(), FieldError> {
        if self.min == 0 {
            return Err(FieldError::new("min", "0 approvals are none: write 1 or more"));
        }
        if self.roles.len() > APPROVAL_ROLES_MAX {
            let problem = format!("more than {APPROVAL_ROLES_MAX} roles");
            return Err(FieldError::new("roles", problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(percent: u16) -> Weight {
        Weight::from_per_mille(percent * 10).unwrap()
    }

    #[test]
    fn a_ramp_is_written_out_to_the_full_share() {
        let minute = Duration::from_secs(60);
        let ramp = Ramp { to: Weight::FULL, by: percent(20), every: minute };
        let steps =
            [Step::weight(percent(5), minute), Step { ramp: Some(ramp), ..Step::default() }];
        check(&steps).unwrap();
        let weights: Vec<_> = expand(&steps).iter().map(|step| step.weight.unwrap()).collect();
        assert_eq!(weights, [5, 25, 45, 65, 85, 100].map(percent));
    }

    #[test]
    fn steps_that_stop_short_get_a_last_one() {
        let steps = [Step::weight(percent(10), Duration::from_secs(7))];
        let written = expand(&steps);
        assert_eq!(written[1], Step::weight(Weight::FULL, Duration::from_secs(7)));
        assert!(expand(&[]).is_empty());
    }

    #[test]
    fn steps_that_do_not_rise_are_refused_by_name() {
        let step = |weight| Step::weight(percent(weight), Duration::ZERO);
        let refused = check(&[step(10), step(10)]).unwrap_err();
        assert_eq!(refused.field, "steps[1].weight");
        assert!(refused.problem.contains("steps rise"), "{refused}");
        let ramp = Ramp { to: percent(50), by: Weight::ZERO, every: Duration::ZERO };
        let refused = check(&[Step { ramp: Some(ramp), ..Step::default() }]).unwrap_err();
        assert_eq!(refused.field, "steps[0].ramp.by");
        let many: Vec<_> = (1..=101_u16)
            .map(|i| Step::weight(Weight::from_per_mille(i).unwrap(), Duration::ZERO))
            .collect();
        assert_eq!(check(&many).unwrap_err().field, "steps");
    }
}
