//! Canary: the new revision gets a growing share, step by step.

use crate::spec::{Step, UpdateSettings, expand};

/// The steps of a canary, written out. `monitor` lengthens the last one, in which it has all traffic.
pub(super) fn steps(settings: &UpdateSettings) -> Vec<Step> {
    let mut steps = if settings.steps.is_empty() {
        UpdateSettings::default_steps(UpdateSettings::CANARY_WINDOW)
    } else {
        expand(&settings.steps)
    };
    if let (Some(last), Some(monitor)) = (steps.last_mut(), settings.monitor) {
        last.hold = last.hold.max(monitor);
    }
    steps
}
