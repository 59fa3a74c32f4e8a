//! The steps of a release, and who must agree to them.

use super::{NOT_ZERO, given, item, narrow, span, text};
use crate::v1;
use std::time::Duration;
use warren_core::spec::{ApprovalRule, FieldError, Ramp, Step, UpdateSettings};
use warren_core::time::millis;
use warren_core::units::Weight;

/// What a message says of routes and mirrors.
const NEEDS_PROXY: &str =
    "needs the proxy, which this version of Warren does not have: leave it out and use weights";

/// Reads a list of steps.
///
/// # Errors
/// The first field that cannot be what it is.
pub fn parse_all(field: &str, steps: &[v1::Step]) -> Result<Vec<Step>, FieldError> {
    let steps = steps.iter().enumerate();
    steps.map(|(i, step)| parse(step).map_err(|error| item(error, field, i))).collect()
}

fn parse(step: &v1::Step) -> Result<Step, FieldError> {
    if !step.route.is_empty() {
        return Err(FieldError::new("route", NEEDS_PROXY));
    }
    if step.mirror_per_mille.is_some() {
        return Err(FieldError::new("mirror_per_mille", NEEDS_PROXY));
    }
    let weight = step.weight_per_mille;
    Ok(Step {
        weight: weight.map(|weight| per_mille("weight_per_mille", weight)).transpose()?,
        scale: step.scale.as_deref().map(|scale| text("scale", scale)).transpose()?,
        hold: span("hold_ms", Some(step.hold_ms), Duration::ZERO, Duration::ZERO)?,
        analyze: step.analyze,
        approve: match &step.approve {
            Some(rule) => Some(rule_of(rule).map_err(|error| error.within("approve"))?),
            None => None,
        },
        run: given(step.run.clone()).map(|url| text("run", &url)).transpose()?,
        ramp: match &step.ramp {
            Some(ramp) => Some(ramp_of(ramp).map_err(|error| error.within("ramp"))?),
            None => None,
        },
    })
}

fn ramp_of(ramp: &v1::Ramp) -> Result<Ramp, FieldError> {
    Ok(Ramp {
        to: per_mille("to_per_mille", ramp.to_per_mille)?,
        by: per_mille("by_per_mille", ramp.by_per_mille)?,
        every: span("every_ms", Some(ramp.every_ms), Duration::ZERO, Duration::ZERO)?,
    })
}

/// A share in thousandths.
pub(super) fn per_mille(field: &str, number: u32) -> Result<Weight, FieldError> {
    let rule = "a share in thousandths: write 0 to 1000, as in 100 for 10 %";
    let number = narrow(field, number, rule)?;
    Weight::from_per_mille(number)
        .ok_or_else(|| FieldError::new(field, format!("{number} is not {rule}")))
}

/// Reads who must agree. How many is checked with the settings as a whole.
///
/// # Errors
/// A role that is no name.
pub fn rule_of(rule: &v1::ApprovalRule) -> Result<ApprovalRule, FieldError> {
    let roles = rule.roles.iter().enumerate();
    let roles = roles.map(|(i, role)| text(&format!("roles[{i}]"), role));
    Ok(ApprovalRule { roles: roles.collect::<Result<_, _>>()?, min: rule.min })
}

/// The message that parses to `steps`.
#[must_use]
pub fn render_all(steps: &[Step]) -> Vec<v1::Step> {
    steps.iter().map(render).collect()
}

fn render(step: &Step) -> v1::Step {
    v1::Step {
        weight_per_mille: step.weight.map(|weight| weight.per_mille().into()),
        scale: step.scale.map(|scale| scale.to_string()),
        hold_ms: millis(step.hold),
        analyze: step.analyze,
        approve: step.approve.as_ref().map(render_rule),
        run: step.run.as_ref().map(ToString::to_string).unwrap_or_default(),
        ramp: step.ramp.map(|ramp| v1::Ramp {
            to_per_mille: ramp.to.per_mille().into(),
            by_per_mille: ramp.by.per_mille().into(),
            every_ms: millis(ramp.every),
        }),
        ..v1::Step::default()
    }
}

/// The message that parses to `rule`.
#[must_use]
pub fn render_rule(rule: &ApprovalRule) -> v1::ApprovalRule {
    v1::ApprovalRule { roles: rule.roles.iter().map(ToString::to_string).collect(), min: rule.min }
}

/// How long each step of a canary is kept, out of the two fields that say so.
///
/// # Errors
/// Both are there, or nothing would be watched, or it is longer than a year.
pub(super) fn window(config: &v1::UpdateConfig) -> Result<Option<Duration>, FieldError> {
    let (field, ms) = match (config.stability_window_seconds, config.canary_window_ms) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(super::twice("canary_window_ms", "stability_window_seconds"));
        }
        (Some(seconds), None) => ("stability_window_seconds", u64::from(seconds) * 1000),
        (None, Some(ms)) => ("canary_window_ms", ms),
    };
    if ms == 0 {
        let problem =
            "a window of 0 watches nothing: write how long each step is kept, as in 5 min";
        return Err(FieldError::new(field, problem));
    }
    span(field, Some(ms), NOT_ZERO, Duration::ZERO).map(Some)
}

/// The steps of settings that have `base`, after what `config` says of them.
///
/// # Errors
/// A share or a window out of its range, shares that do not rise, or two fields that say the same.
pub(super) fn merge(base: Vec<Step>, config: &v1::UpdateConfig) -> Result<Vec<Step>, FieldError> {
    let window = window(config)?;
    let shares = shares(config)?;
    if !config.steps.is_empty() {
        let other = if !config.canary_steps.is_empty() {
            Some("canary_steps")
        } else if config.canary_weight.is_some() {
            Some("canary_weight")
        } else if window.is_some() {
            Some("the window")
        } else {
            None
        };
        return match other {
            Some(other) => Err(super::twice("steps", other)),
            None => parse_all("steps", &config.steps),
        };
    }
    let mut steps = match shares.as_slice() {
        [] if window.is_none() && config.canary_weight.is_none() => return Ok(base),
        [] if base.is_empty() => UpdateSettings::default_steps(UpdateSettings::CANARY_WINDOW),
        [] => base,
        shares => {
            let kept = present_window(&base);
            shares.iter().map(|weight| Step::weight(*weight, kept)).collect()
        }
    };
    if let Some(window) = window {
        for step in &mut steps {
            match &mut step.ramp {
                Some(ramp) => ramp.every = window,
                None => step.hold = window,
            }
        }
    }
    first_share(steps, config)
}

/// The window of steps that are there: that of the first that keeps a share.
fn present_window(steps: &[Step]) -> Duration {
    let mut held = steps.iter().map(|step| step.ramp.map_or(step.hold, |ramp| ramp.every));
    held.find(|span| !span.is_zero()).unwrap_or(UpdateSettings::CANARY_WINDOW)
}

/// The shares of `canary_steps`.
fn shares(config: &v1::UpdateConfig) -> Result<Vec<Weight>, FieldError> {
    let mut before = 0;
    let mut shares = Vec::new();
    for (i, step) in config.canary_steps.iter().enumerate() {
        let field = format!("canary_steps[{i}]");
        let share = percent_of(&field, *step)?;
        if *step == 0 {
            let problem = "0 % gives the new version no traffic: begin with 1 or more, as in 5, 50, 100. A first step \
                           without traffic is written in a manifest: canary.steps: [{weight: 0, hold: 2m}, 50, 100]";
            return Err(FieldError::new(field, problem));
        }
        if *step <= before {
            let problem =
                format!("{step} is not more than {before}: steps rise, as in 10, 50, 100");
            return Err(FieldError::new(field, problem));
        }
        before = *step;
        shares.push(weight_of(share));
    }
    Ok(shares)
}

/// Gives the first step the share of `canary_weight`; later steps that do not go beyond it are left out.
fn first_share(mut steps: Vec<Step>, config: &v1::UpdateConfig) -> Result<Vec<Step>, FieldError> {
    let Some(percent) = config.canary_weight else { return Ok(steps) };
    let share = weight_of(percent_of("canary_weight", percent)?);
    if percent == 0 {
        let problem = "0 % gives the new version no traffic: write 1 to 99, as in 10";
        return Err(FieldError::new("canary_weight", problem));
    }
    let named = config.canary_steps.first().filter(|first| **first != percent);
    if let Some(first) = named {
        let problem = format!(
            "is {percent}, and canary_steps begins with {first}: give one of them, or the same"
        );
        return Err(FieldError::new("canary_weight", problem));
    }
    let mut later = steps.split_off(steps.len().min(1));
    if let Some(first) = steps.first_mut() {
        let hold = first.ramp.map_or(first.hold, |ramp| ramp.every);
        // A ramp goes on from the first share.
        if let Some(ramp) = first.ramp.take() {
            later.insert(0, Step { ramp: Some(ramp), ..first.clone() });
        }
        (first.weight, first.hold) = (Some(share), hold);
    }
    let beyond = |step: &Step| match (step.weight, step.ramp) {
        (Some(weight), _) => weight > share,
        (None, Some(ramp)) => ramp.to > share,
        (None, None) => true,
    };
    steps.extend(later.into_iter().filter(beyond));
    Ok(steps)
}

fn weight_of(percent: u8) -> Weight {
    Weight::from_per_mille(u16::from(percent) * 10).unwrap_or(Weight::FULL)
}

/// A percentage, 0 to 100.
pub(super) fn percent_of(field: &str, percent: u32) -> Result<u8, FieldError> {
    let rule = "a percentage: write 0 to 100";
    match narrow(field, percent, rule)? {
        percent @ 0..=100_u8 => Ok(percent),
        more => Err(FieldError::new(field, format!("{more} is not {rule}"))),
    }
}
