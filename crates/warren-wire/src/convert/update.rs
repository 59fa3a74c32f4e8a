//! The numbers of an update.

use super::{NOT_ZERO, narrow, span, text, word};
use crate::v1;
use std::time::Duration;
use warren_core::spec::{FailureAction, FieldError, Order, Quantity, UpdateSettings};
use warren_core::time::millis;

const FAILURE_ACTIONS: [(&str, FailureAction); 3] = [
    ("rollback", FailureAction::Rollback),
    ("pause", FailureAction::Pause),
    ("continue", FailureAction::Continue),
];

const ORDERS: [(&str, Order); 2] =
    [("start-first", Order::StartFirst), ("stop-first", Order::StopFirst)];

/// Lays `config` over `base`: what is absent keeps its value.
///
/// # Errors
/// A number out of its range, an unknown word, or two fields that say the same thing.
pub fn merge(
    base: UpdateSettings,
    config: &v1::UpdateConfig,
) -> Result<UpdateSettings, FieldError> {
    check_canary(config)?;
    let max_failure_percent = match config.max_failure_percent {
        None => base.max_failure_percent,
        Some(percent) => percent_of("max_failure_percent", percent)?,
    };
    let failure_action = config.failure_action.as_deref();
    let order = config.order.as_deref();
    Ok(UpdateSettings {
        strategy: base.strategy,
        parallelism: config.parallelism.unwrap_or(base.parallelism),
        delay: delay(config, base.delay)?,
        order: order.map_or(Ok(base.order), |text| word("order", text, &ORDERS))?,
        max_surge: quantity(
            ("max_surge", config.max_surge),
            ("surge", config.surge.as_deref()),
            base.max_surge,
        )?,
        max_unavailable: quantity(
            ("max_unavailable", config.max_unavailable),
            ("unavailable", config.unavailable.as_deref()),
            base.max_unavailable,
        )?,
        min_ready: span("min_ready_ms", config.min_ready_ms, Duration::ZERO, base.min_ready)?,
        healthy_deadline: span(
            "healthy_deadline_ms",
            config.healthy_deadline_ms,
            NOT_ZERO,
            base.healthy_deadline,
        )?,
        progress_deadline: span(
            "progress_deadline_ms",
            config.progress_deadline_ms,
            NOT_ZERO,
            base.progress_deadline,
        )?,
        failure_action: failure_action
            .map_or(Ok(base.failure_action), |a| word("failure_action", a, &FAILURE_ACTIONS))?,
        max_failure_percent,
        ..base
    })
}

/// The message that, laid over any settings, gives `settings`.
#[must_use]
pub fn render(settings: &UpdateSettings) -> v1::UpdateConfig {
    let (max_surge, surge) = split(settings.max_surge);
    let (max_unavailable, unavailable) = split(settings.max_unavailable);
    let failure_action = match settings.failure_action {
        FailureAction::Rollback => "rollback",
        FailureAction::Pause => "pause",
        FailureAction::Continue => "continue",
    };
    let order = match settings.order {
        Order::StartFirst => "start-first",
        Order::StopFirst => "stop-first",
    };
    let whole_seconds = settings.delay.subsec_nanos() == 0;
    let seconds = u32::try_from(settings.delay.as_secs()).ok().filter(|_| whole_seconds);
    v1::UpdateConfig {
        parallelism: Some(settings.parallelism),
        delay_seconds: seconds,
        delay_ms: seconds.is_none().then(|| millis(settings.delay)),
        failure_action: Some(failure_action.to_owned()),
        canary_weight: None,
        canary_steps: Vec::new(),
        stability_window_seconds: None,
        max_surge,
        surge,
        max_unavailable,
        unavailable,
        order: Some(order.to_owned()),
        min_ready_ms: Some(millis(settings.min_ready)),
        healthy_deadline_ms: Some(millis(settings.healthy_deadline)),
        progress_deadline_ms: Some(millis(settings.progress_deadline)),
        max_failure_percent: Some(settings.max_failure_percent.into()),
        ..v1::UpdateConfig::default()
    }
}

/// The first field that only a canary has, by its name.
#[must_use]
pub fn canary_field(config: &v1::UpdateConfig) -> Option<&'static str> {
    if config.canary_weight.is_some() {
        Some("canary_weight")
    } else if !config.canary_steps.is_empty() {
        Some("canary_steps")
    } else if config.stability_window_seconds.is_some() {
        Some("stability_window_seconds")
    } else {
        None
    }
}

fn check_canary(config: &v1::UpdateConfig) -> Result<(), FieldError> {
    if let Some(weight) = config.canary_weight {
        percent_of("canary_weight", weight)?;
    }
    let mut before = 0;
    for (i, step) in config.canary_steps.iter().enumerate() {
        let field = format!("canary_steps[{i}]");
        percent_of(&field, *step)?;
        if *step <= before {
            let problem =
                format!("{step} is not more than {before}: steps rise, as in 10, 50, 100");
            return Err(FieldError::new(field, problem));
        }
        before = *step;
    }
    Ok(())
}

fn percent_of(field: &str, percent: u32) -> Result<u8, FieldError> {
    let rule = "a percentage: write 0 to 100";
    match narrow(field, percent, rule)? {
        percent @ 0..=100_u8 => Ok(percent),
        more => Err(FieldError::new(field, format!("{more} is not {rule}"))),
    }
}

fn delay(config: &v1::UpdateConfig, base: Duration) -> Result<Duration, FieldError> {
    match (config.delay_seconds, config.delay_ms) {
        (Some(_), Some(_)) => Err(twice("delay_ms", "delay_seconds")),
        (Some(seconds), None) => {
            span("delay_seconds", Some(u64::from(seconds) * 1000), Duration::ZERO, base)
        }
        (None, ms) => span("delay_ms", ms, Duration::ZERO, base),
    }
}

fn quantity(
    (count_field, count): (&str, Option<u32>),
    (text_field, share): (&str, Option<&str>),
    base: Quantity,
) -> Result<Quantity, FieldError> {
    match (count, share) {
        (Some(_), Some(_)) => Err(twice(text_field, count_field)),
        (Some(count), None) => Ok(Quantity::Count(count)),
        (None, Some(share)) => text(text_field, share),
        (None, None) => Ok(base),
    }
}

fn twice(field: &str, other: &str) -> FieldError {
    FieldError::new(field, format!("says the same as {other}: give one of them"))
}

fn split(quantity: Quantity) -> (Option<u32>, Option<String>) {
    match quantity {
        Quantity::Count(count) => (Some(count), None),
        Quantity::Percent(_) => (None, Some(quantity.to_string())),
    }
}
