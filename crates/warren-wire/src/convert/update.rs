//! The numbers of an update.

use super::step::{percent_of, render_rule, rule_of};
use super::{NOT_ZERO, hook, span, step, text, twice, word};
use crate::v1;
use std::time::Duration;
use warren_core::spec::{
    ApprovalRule, FailureAction, FieldError, OnUpdate, Order, ProfileName, Quantity, Strategy,
    UpdateSettings, profile,
};
use warren_core::time::millis;

const FAILURE_ACTIONS: [(&str, FailureAction); 3] = [
    ("rollback", FailureAction::Rollback),
    ("pause", FailureAction::Pause),
    ("continue", FailureAction::Continue),
];

const ORDERS: [(&str, Order); 2] =
    [("start-first", Order::StartFirst), ("stop-first", Order::StopFirst)];

const ON_UPDATE: [(&str, OnUpdate); 3] =
    [("replace", OnUpdate::Replace), ("queue", OnUpdate::Queue), ("reject", OnUpdate::Reject)];

/// Lays `config` over `base`: what is absent keeps its value. A profile takes the place of `base`, but for who is told
/// and who must agree at the start, which no profile says.
///
/// # Errors
/// A number out of its range, an unknown word, or two fields that say the same thing.
pub fn merge(
    base: UpdateSettings,
    config: &v1::UpdateConfig,
) -> Result<UpdateSettings, FieldError> {
    let present = base.hooks.clone();
    let base = on_profile(base, config)?;
    let max_failure_percent = match config.max_failure_percent {
        None => base.max_failure_percent,
        Some(percent) => percent_of("max_failure_percent", percent)?,
    };
    let failure_action = config.failure_action.as_deref();
    let order = config.order.as_deref();
    let on_update = config.on_update.as_deref();
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
        min_ready: length("min_ready_ms", config.min_ready_ms, base.min_ready)?,
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
        profile: base.profile,
        on_update: on_update
            .map_or(Ok(base.on_update), |text| word("on_update", text, &ON_UPDATE))?,
        steps: step::merge(base.steps, config)?,
        monitor: match config.monitor_ms {
            Some(_) => Some(length("monitor_ms", config.monitor_ms, Duration::ZERO)?),
            None => base.monitor,
        },
        standby: length("standby_ms", config.standby_ms, base.standby)?,
        scale_down_delay: length(
            "scale_down_delay_ms",
            config.scale_down_delay_ms,
            base.scale_down_delay,
        )?,
        drain: length("drain_ms", config.drain_ms, base.drain)?,
        rollback_window: config.rollback_window.unwrap_or(base.rollback_window),
        approve: match &config.approve {
            Some(rule) => approve(rule)?,
            None => base.approve,
        },
        hooks: match &config.hooks {
            Some(hooks) => hook::parse_all(hooks, &present).map_err(|e| e.within("hooks"))?,
            None => base.hooks,
        },
    })
}

/// Refuses the sugar of canaries beside another strategy, where it would mean nothing.
///
/// # Errors
/// The first such field.
pub fn check_sugar(config: &v1::UpdateConfig, strategy: Strategy) -> Result<(), FieldError> {
    let sugar = [
        ("canary_steps", !config.canary_steps.is_empty()),
        ("canary_weight", config.canary_weight.is_some()),
        ("canary_window", config.canary_window_ms.is_some()),
        ("stability_window", config.stability_window_seconds.is_some()),
    ];
    match sugar.iter().find(|(_, given)| *given && strategy != Strategy::Canary) {
        None => Ok(()),
        Some((field, _)) => {
            let problem = format!(
                "only a canary has that, and the strategy is {strategy}: ask for the strategy canary, or leave it out"
            );
            Err(FieldError::new(*field, problem))
        }
    }
}

/// What `config` is laid over.
fn on_profile(
    base: UpdateSettings,
    config: &v1::UpdateConfig,
) -> Result<UpdateSettings, FieldError> {
    let Some(name) = &config.profile else { return Ok(base) };
    let name: ProfileName = text("profile", name)?;
    Ok(UpdateSettings { hooks: base.hooks, approve: base.approve, ..profile(name) })
}

/// The message that, laid over settings with the same keys of hooks, gives `settings`. Steps and a time of monitoring
/// that are absent cannot be said, so that those of the settings below stay.
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
        max_surge,
        surge,
        max_unavailable,
        unavailable,
        order: Some(order.to_owned()),
        min_ready_ms: Some(millis(settings.min_ready)),
        healthy_deadline_ms: Some(millis(settings.healthy_deadline)),
        progress_deadline_ms: Some(millis(settings.progress_deadline)),
        max_failure_percent: Some(settings.max_failure_percent.into()),
        profile: settings.profile.map(|name| name.to_string()),
        on_update: Some(settings.on_update.to_string()),
        steps: step::render_all(&settings.steps),
        monitor_ms: settings.monitor.map(millis),
        standby_ms: Some(millis(settings.standby)),
        scale_down_delay_ms: Some(millis(settings.scale_down_delay)),
        drain_ms: Some(millis(settings.drain)),
        rollback_window: Some(settings.rollback_window),
        approve: Some(settings.approve.as_ref().map(render_rule).unwrap_or_default()),
        hooks: Some(hook::render_all(&settings.hooks)),
        ..v1::UpdateConfig::default()
    }
}

fn length(field: &str, ms: Option<u64>, base: Duration) -> Result<Duration, FieldError> {
    span(field, ms, Duration::ZERO, base)
}

/// Who must agree at the start; nobody where the message is empty.
fn approve(rule: &v1::ApprovalRule) -> Result<Option<ApprovalRule>, FieldError> {
    if *rule == v1::ApprovalRule::default() {
        return Ok(None);
    }
    rule_of(rule).map(Some).map_err(|error| error.within("approve"))
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

fn split(quantity: Quantity) -> (Option<u32>, Option<String>) {
    match quantity {
        Quantity::Count(count) => (Some(count), None),
        Quantity::Percent(_) => (None, Some(quantity.to_string())),
    }
}
