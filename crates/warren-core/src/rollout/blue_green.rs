//! Blue-green: the new revision comes up at full size without traffic, is tried under its own name, and gets all
//! traffic in one entry. That is a canary of two steps, and has no other mechanism.

use crate::spec::{Quantity, Step, UpdateSettings};
use crate::units::Weight;
use std::time::Duration;

/// How long all traffic goes to the new revision before it is accepted, where nothing is said.
const MONITOR: Duration = Duration::from_secs(300);

/// The two steps. Steps that the settings name without a share are gates before the switch.
pub(super) fn steps(settings: &UpdateSettings) -> Vec<Step> {
    let full = Some(Quantity::Percent(100));
    let tried = |step: &Step| Step { weight: Some(Weight::ZERO), scale: full, ..step.clone() };
    let named = settings.steps.iter().filter(|step| {
        step.ramp.is_none() && step.weight.is_none_or(|weight| weight == Weight::ZERO)
    });
    let mut steps: Vec<_> = named.map(tried).collect();
    if steps.is_empty() {
        steps.push(tried(&Step::default()));
    }
    steps.push(Step::weight(Weight::FULL, settings.monitor.unwrap_or(MONITOR)));
    steps
}
