//! The blocks `update:` and `canary:` of a manifest as the API's settings, and back.

use super::convert::{Parsed, filled, millis, one_of, text, value, within};
use super::update::{Approve, Canary, Hook, Ramp, Share, Step, Update};
use crate::flags::{self, words};
use serde::Serialize;
use std::time::Duration;
use warren_core::spec::{FieldError, ProfileName, Quantity, UpdateSettings, profile};
use warren_wire::convert::spec::render_strategy;
use warren_wire::convert::update::render;
use warren_wire::v1;

/// The strategy that `update:` names: its own, else its profile's.
///
/// # Errors
/// A word that means none.
pub(super) fn strategy(update: Option<&Update>) -> Parsed<Option<i32>> {
    let Some(update) = update else { return Ok(None) };
    let Some(text) = &update.strategy else {
        let name = profile_name(update.profile.as_deref())?;
        return Ok(name.map(|name| render_strategy(profile(name).strategy) as i32));
    };
    let named = words::STRATEGIES.iter().find(|(name, _)| name == text);
    let refused = || one_of("update.strategy", text, &words::names(&words::STRATEGIES));
    named.map(|(_, strategy)| Some(*strategy as i32)).ok_or_else(refused)
}

fn profile_name(text: Option<&str>) -> Parsed<Option<ProfileName>> {
    value("update.profile", text)
}

/// Refuses what means nothing with the strategy.
///
/// # Errors
/// The first such field, by its path in the manifest.
pub(super) fn check(
    strategy: Option<i32>,
    update: Option<&Update>,
    canary: Option<&Canary>,
) -> Parsed<()> {
    let named = strategy.and_then(|number| v1::DeploymentStrategy::try_from(number).ok());
    let strategy = named.unwrap_or_default();
    let is = words::strategy(strategy);
    let refuse = |field: &str, what: &str| {
        let problem =
            format!("{what}, and update.strategy is {is}: change it, or leave {field} out");
        Err(FieldError::new(field, problem))
    };
    if update.is_some_and(|update| update.standby.is_some()) && !has_standby(strategy) {
        return refuse("update.standby", "only blue-green keeps the old version ready");
    }
    match canary.filter(|canary| **canary != Canary::default()) {
        Some(canary) if !means_something(strategy, canary) => {
            refuse("canary", "only a canary has shares")
        }
        Some(_) | None => Ok(()),
    }
}

fn has_standby(strategy: v1::DeploymentStrategy) -> bool {
    strategy == v1::DeploymentStrategy::BlueGreen
}

/// Whether the block `canary:` means something. Of blue-green it may have gates before the switch, without shares.
fn means_something(strategy: v1::DeploymentStrategy, canary: &Canary) -> bool {
    let share =
        |step: &Step| step.ramp.is_some() || step.weight.is_some_and(|weight| weight.per_mille > 0);
    match strategy {
        v1::DeploymentStrategy::Canary => true,
        v1::DeploymentStrategy::BlueGreen => {
            canary.weight.is_none() && canary.window.is_none() && !canary.steps.iter().any(share)
        }
        v1::DeploymentStrategy::Rolling | v1::DeploymentStrategy::Recreate => false,
    }
}

/// The API's settings of both blocks; absent where both are.
///
/// # Errors
/// The first field that cannot be, by its path in the manifest.
pub(super) fn read(
    update: Option<&Update>,
    canary: Option<&Canary>,
) -> Parsed<Option<v1::UpdateConfig>> {
    let mut config = match update {
        Some(update) => numbers(update).map_err(within("update"))?,
        None => v1::UpdateConfig::default(),
    };
    if let Some(canary) = canary {
        lay_canary(canary, &mut config).map_err(within("canary"))?;
    }
    Ok((update.is_some() || canary.is_some()).then_some(config))
}

fn numbers(update: &Update) -> Parsed<v1::UpdateConfig> {
    let surge: Option<Quantity> = value("max_surge", update.max_surge.as_deref())?;
    let unavailable: Option<Quantity> =
        value("max_unavailable", update.max_unavailable.as_deref())?;
    let ratio = update.max_failure_ratio.as_deref().map(|text| {
        flags::ratio(text).map_err(|problem| FieldError::new("max_failure_ratio", problem))
    });
    let hooks = update.hooks.iter().enumerate().map(|(i, hook)| {
        let timeout_ms =
            millis("timeout", hook.timeout.as_deref()).map_err(within(&format!("hooks[{i}]")))?;
        Ok(v1::Hook {
            on: hook.on.clone(),
            url: hook.url.clone(),
            timeout_ms,
            format: hook.format.clone().unwrap_or_default(),
            key: hook.key.clone().unwrap_or_default(),
        })
    });
    let hooks: Vec<v1::Hook> = hooks.collect::<Parsed<_>>()?;
    Ok(v1::UpdateConfig {
        profile: update.profile.clone(),
        parallelism: update.parallelism,
        delay_ms: millis("delay", update.delay.as_deref())?,
        failure_action: update.failure_action.clone(),
        surge: surge.map(|quantity| quantity.to_string()),
        unavailable: unavailable.map(|quantity| quantity.to_string()),
        order: update.order.clone(),
        min_ready_ms: millis("min_ready", update.min_ready.as_deref())?,
        healthy_deadline_ms: millis("healthy_deadline", update.healthy_deadline.as_deref())?,
        progress_deadline_ms: millis("progress_deadline", update.progress_deadline.as_deref())?,
        max_failure_percent: ratio.transpose()?,
        on_update: update.on_update.clone(),
        monitor_ms: millis("monitor", update.monitor.as_deref())?,
        standby_ms: millis("standby", update.standby.as_deref())?,
        scale_down_delay_ms: millis("scale_down_delay", update.scale_down_delay.as_deref())?,
        drain_ms: millis("drain", update.drain.as_deref())?,
        rollback_window: update.rollback_window,
        approve: update.approve.as_ref().map(approve),
        hooks: (!hooks.is_empty()).then_some(v1::Hooks { hooks }),
        ..Default::default()
    })
}

fn approve(approve: &Approve) -> v1::ApprovalRule {
    v1::ApprovalRule { roles: approve.roles.clone(), min: approve.min.unwrap_or(1) }
}

fn lay_canary(canary: &Canary, config: &mut v1::UpdateConfig) -> Parsed<()> {
    let window = millis("window", canary.window.as_deref())?;
    if let Some(weight) = canary.weight {
        if !canary.steps.is_empty() {
            let problem = "a canary has either a weight or steps: keep one of them";
            return Err(FieldError::new("weight", problem));
        }
        if weight.per_mille % 10 != 0 {
            let problem = "write whole per cents here; steps take one decimal";
            return Err(FieldError::new("weight", problem));
        }
        config.canary_weight = Some(weight.per_mille / 10);
    }
    if canary.steps.is_empty() {
        config.canary_window_ms = window;
        return Ok(());
    }
    let window = window.unwrap_or(WINDOW_MS);
    let steps = canary.steps.iter().enumerate();
    let steps = steps.map(|(i, s)| step(s, window).map_err(within(&format!("steps[{i}]"))));
    config.steps = steps.collect::<Parsed<_>>()?;
    Ok(())
}

/// [`UpdateSettings::CANARY_WINDOW`] in the API's unit.
const WINDOW_MS: u64 = 300_000;

fn step(step: &Step, window: u64) -> Parsed<v1::Step> {
    let scale: Option<Quantity> = value("scale", step.scale.as_deref())?;
    let hold = millis("hold", step.hold.as_deref())?;
    let usual = if step.weight.is_some() { window } else { 0 };
    let ramp = step.ramp.as_ref().map(|ramp| {
        Ok(v1::Ramp {
            to_per_mille: ramp.to.per_mille,
            by_per_mille: ramp.by.per_mille,
            every_ms: millis("ramp.every", ramp.every.as_deref())?.unwrap_or(window),
        })
    });
    Ok(v1::Step {
        weight_per_mille: step.weight.map(|share| share.per_mille),
        scale: scale.map(|quantity| quantity.to_string()),
        hold_ms: hold.unwrap_or(usual),
        analyze: step.analyze,
        approve: step.approve.as_ref().map(approve),
        run: step.run.clone().unwrap_or_default(),
        ramp: ramp.transpose()?,
        ..Default::default()
    })
}

/// The blocks that mean the settings of `spec`, without what its profile, or else every service, has anyway.
pub(super) fn blocks(spec: &v1::ServiceSpec) -> (Option<Update>, Option<Canary>) {
    let config = spec.update_config.clone().unwrap_or_default();
    let name: Option<ProfileName> = config.profile.as_deref().and_then(|name| name.parse().ok());
    let base = name.map(profile).unwrap_or_default();
    let (mut update, canary) = back(spec.strategy, &config, &base);
    update.profile = config.profile;
    (filled(update), filled(canary))
}

/// `update:` and `canary:` alone.
#[derive(Serialize)]
pub struct Blocks {
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<Update>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<Canary>,
}

/// The blocks that mean these settings in any manifest, whatever profile they came from.
pub fn settings(strategy: v1::DeploymentStrategy, config: &v1::UpdateConfig) -> Blocks {
    let base = UpdateSettings::default();
    let (mut update, canary) = back(Some(strategy as i32), config, &base);
    if update == Update::default() {
        update.strategy = Some("rolling".into());
    }
    Blocks { update: Some(update), canary: filled(canary) }
}

fn back(
    strategy: Option<i32>,
    config: &v1::UpdateConfig,
    base: &UpdateSettings,
) -> (Update, Canary) {
    let usual = render(base);
    let named = strategy.and_then(|number| {
        let named = words::STRATEGIES.iter().find(|(_, strategy)| *strategy as i32 == number);
        named.map(|(name, _)| (*name).to_owned())
    });
    let quantity = |text: &Option<String>, number: Option<u32>| {
        text.clone().or_else(|| number.map(|number| number.to_string()))
    };
    let delay = |config: &v1::UpdateConfig| {
        config.delay_ms.or_else(|| config.delay_seconds.map(|secs| u64::from(secs) * 1000))
    };
    let ms = |length: Duration| Some(words::millis(length));
    let update = Update {
        strategy: unlike(named, Some(base.strategy.to_string())),
        profile: None,
        parallelism: unlike(config.parallelism, usual.parallelism),
        delay: unlike(delay(config), ms(base.delay)).map(span),
        order: unlike(config.order.clone(), usual.order.clone()),
        max_surge: unlike(
            quantity(&config.surge, config.max_surge),
            Some(base.max_surge.to_string()),
        ),
        max_unavailable: unlike(
            quantity(&config.unavailable, config.max_unavailable),
            Some(base.max_unavailable.to_string()),
        ),
        min_ready: unlike(config.min_ready_ms, usual.min_ready_ms).map(span),
        healthy_deadline: unlike(config.healthy_deadline_ms, usual.healthy_deadline_ms).map(span),
        progress_deadline: unlike(config.progress_deadline_ms, usual.progress_deadline_ms)
            .map(span),
        failure_action: unlike(config.failure_action.clone(), usual.failure_action.clone()),
        max_failure_ratio: unlike(config.max_failure_percent, usual.max_failure_percent)
            .map(|percent| format!("{percent}%")),
        on_update: unlike(config.on_update.clone(), Some(base.on_update.to_string())),
        monitor: unlike(config.monitor_ms, base.monitor.and_then(ms)).map(span),
        standby: unlike(config.standby_ms, ms(base.standby)).map(span),
        scale_down_delay: unlike(config.scale_down_delay_ms, ms(base.scale_down_delay)).map(span),
        drain: unlike(config.drain_ms, ms(base.drain)).map(span),
        rollback_window: unlike(config.rollback_window, Some(base.rollback_window)),
        approve: config.approve.as_ref().filter(|rule| rule.min > 0).map(approve_back),
        hooks: config.hooks.iter().flat_map(|hooks| &hooks.hooks).map(hook_back).collect(),
    };
    let strategy = strategy.and_then(|number| v1::DeploymentStrategy::try_from(number).ok());
    let strategy = strategy.unwrap_or_default();
    let standby = update.standby.filter(|_| has_standby(strategy));
    // What an earlier strategy left among the settings means nothing now.
    let canary = canary_back(config, &usual);
    let canary = if means_something(strategy, &canary) { canary } else { Canary::default() };
    (Update { standby, ..update }, canary)
}

/// A value that differs from the usual one.
fn unlike<T: PartialEq>(value: Option<T>, usual: Option<T>) -> Option<T> {
    if value == usual { None } else { value }
}

fn span(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

fn approve_back(rule: &v1::ApprovalRule) -> Approve {
    Approve { roles: rule.roles.clone(), min: Some(rule.min) }
}

fn hook_back(hook: &v1::Hook) -> Hook {
    let usual = words::millis(warren_core::spec::Hook::TIMEOUT);
    Hook {
        on: hook.on.clone(),
        url: hook.url.clone(),
        timeout: unlike(hook.timeout_ms, Some(usual)).map(span),
        format: text(hook.format.clone()).filter(|format| format != "json"),
        key: text(hook.key.clone()),
    }
}

fn canary_back(config: &v1::UpdateConfig, usual: &v1::UpdateConfig) -> Canary {
    let steps = if config.steps == usual.steps { &[][..] } else { &config.steps };
    let shares = config.canary_steps.iter();
    let bare = shares.map(|percent| Step { weight: Some(whole(*percent)), ..Step::default() });
    let seconds = config.stability_window_seconds.map(|secs| u64::from(secs) * 1000);
    Canary {
        weight: config.canary_weight.map(whole),
        steps: steps.iter().map(step_back).chain(bare).collect(),
        window: config.canary_window_ms.or(seconds).map(span),
    }
}

fn whole(percent: u32) -> Share {
    Share { per_mille: percent.saturating_mul(10) }
}

fn step_back(step: &v1::Step) -> Step {
    // A share without a hold would be kept for the window.
    let says = step.weight_per_mille.is_some() || step.hold_ms != 0;
    Step {
        weight: step.weight_per_mille.map(|per_mille| Share { per_mille }),
        scale: step.scale.clone(),
        hold: says.then(|| span(step.hold_ms)),
        analyze: step.analyze,
        approve: step.approve.as_ref().map(approve_back),
        run: text(step.run.clone()),
        ramp: step.ramp.as_ref().map(|ramp| Ramp {
            to: Share { per_mille: ramp.to_per_mille },
            by: Share { per_mille: ramp.by_per_mille },
            every: Some(span(ramp.every_ms)),
        }),
    }
}
