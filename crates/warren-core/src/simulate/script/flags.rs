//! The words and flags of one command.

use crate::spec::{
    ApprovalRule, FailureAction, Hook, HookUrl, Image, Mode, OnUpdate, Order, RoleName,
    ServiceSpec, Step, Strategy, UpdateSettings, profile,
};
use crate::units::Weight;
use std::str::FromStr;
use std::time::Duration;

use super::span;

/// Flags that stand alone.
const ALONE: [&str; 3] = ["careful", "gradual", "full"];

/// What follows the command's name.
pub(super) struct Flags<'a> {
    pub(super) words: Vec<&'a str>,
    flags: Vec<(&'a str, &'a str)>,
}

/// The words of a line; those in double quotes are one.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Reads a share in per cent, as in `25` or `2.5`.
pub(super) fn weight(text: &str) -> Result<Weight, String> {
    let refuse = || format!("{text:?} is no share: write per cent, as in 25 or 2.5");
    let text = text.strip_suffix('%').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let whole: u16 = whole.parse().map_err(|_| refuse())?;
    let part: u16 = part.parse().map_err(|_| refuse())?;
    let per_mille = whole.checked_mul(10).and_then(|whole| whole.checked_add(part));
    per_mille.and_then(Weight::from_per_mille).ok_or_else(refuse)
}

impl<'a> Flags<'a> {
    pub(super) fn read(words: &[&'a str]) -> Result<Self, String> {
        let mut read = Self { words: Vec::new(), flags: Vec::new() };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            match word.strip_prefix("--") {
                None => read.words.push(word),
                Some(flag) if ALONE.contains(&flag) => read.flags.push((flag, "")),
                Some(flag) => {
                    let value = rest.next().ok_or_else(|| format!("--{flag} needs a value"))?;
                    read.flags.push((flag, value));
                }
            }
        }
        Ok(read)
    }

    pub(super) fn word(&self, at: usize) -> Result<&'a str, String> {
        self.words.get(at).copied().ok_or_else(|| "a word is missing".to_owned())
    }

    pub(super) fn number(&self, at: usize) -> Result<u32, String> {
        let word = self.word(at)?;
        word.parse().map_err(|_| format!("{word:?} is not a number"))
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|(name, _)| *name == flag)
    }

    pub(super) fn value(&self, flag: &str) -> Option<&'a str> {
        self.flags.iter().find(|(name, _)| *name == flag).map(|(_, value)| *value)
    }

    pub(super) fn parsed<T: FromStr>(&self, flag: &str) -> Result<Option<T>, String> {
        let read = |value: &str| value.parse().map_err(|_| format!("--{flag} cannot be {value:?}"));
        self.value(flag).map(read).transpose()
    }

    /// Changes a spec as the flags say, the profile first.
    pub(super) fn change(&self, spec: &mut ServiceSpec) -> Result<(), String> {
        if let Some(image) = self.value("image") {
            spec.template.image = Image::parse(image).map_err(|error| error.to_string())?;
        }
        if let Some(replicas) = self.parsed("replicas")? {
            spec.mode = Mode::Replicated { replicas };
        }
        if let Some(attempts) = self.parsed("restart-attempts")? {
            spec.restart.attempts = attempts;
        }
        if let Some(most) = self.parsed("max-per-node")? {
            spec.placement.max_per_node = Some(most);
        }
        if let Some(name) = self.parsed("profile")? {
            spec.update = profile(name);
        }
        for (flag, value) in &self.flags {
            change(&mut spec.update, flag, value)?;
        }
        if let Some(window) = self.value("canary-window").map(span).transpose()? {
            if spec.update.steps.is_empty() {
                spec.update.steps = UpdateSettings::default_steps(window);
            }
            spec.update.steps.iter_mut().for_each(|step| step.hold = window);
        }
        Ok(())
    }
}

fn change(update: &mut UpdateSettings, flag: &str, value: &str) -> Result<(), String> {
    match flag {
        "strategy" => update.strategy = strategy(value)?,
        "canary-steps" => update.steps = value.split(',').map(step).collect::<Result<_, _>>()?,
        "parallelism" => update.parallelism = number(value)?,
        "max-surge" => update.max_surge = value.parse()?,
        "max-unavailable" => update.max_unavailable = value.parse()?,
        "max-failure-percent" => {
            update.max_failure_percent = u8::try_from(number(value)?).unwrap_or(u8::MAX);
        }
        "rollback-window" => update.rollback_window = number(value)?,
        "delay" => update.delay = span(value)?,
        "min-ready" => update.min_ready = span(value)?,
        "healthy-deadline" => update.healthy_deadline = span(value)?,
        "progress-deadline" => update.progress_deadline = span(value)?,
        "monitor" => update.monitor = Some(span(value)?),
        "standby" => update.standby = span(value)?,
        "scale-down-delay" => update.scale_down_delay = span(value)?,
        "drain" => update.drain = span(value)?,
        "order" => {
            let first = value == "stop-first";
            update.order = if first { Order::StopFirst } else { Order::StartFirst };
        }
        "failure-action" => {
            update.failure_action = match value {
                "rollback" => FailureAction::Rollback,
                "pause" => FailureAction::Pause,
                "continue" => FailureAction::Continue,
                _ => return Err(format!("no failure action {value:?}")),
            };
        }
        "on-update" => {
            update.on_update = match value {
                "replace" => OnUpdate::Replace,
                "queue" => OnUpdate::Queue,
                "reject" => OnUpdate::Reject,
                _ => return Err(format!("--on-update cannot be {value:?}")),
            };
        }
        "approve" => update.approve = Some(ApprovalRule { roles: Vec::new(), min: number(value)? }),
        "hook" => {
            let (on, url) =
                value.split_once('=').ok_or("write as in pre_promote=http://ci/gate")?;
            update.hooks.push(Hook::new(on.parse()?, HookUrl::parse(url)?));
        }
        "image" | "replicas" | "restart-attempts" | "profile" | "canary-window" | "cause"
        | "expect" | "override-freeze" | "max-per-node" => {}
        flag => return Err(format!("there is no flag --{flag}")),
    }
    Ok(())
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

fn strategy(text: &str) -> Result<Strategy, String> {
    match text {
        "rolling" => Ok(Strategy::Rolling),
        "canary" => Ok(Strategy::Canary),
        "blue-green" => Ok(Strategy::BlueGreen),
        "recreate" => Ok(Strategy::Recreate),
        _ => Err(format!("there is no strategy {text:?}")),
    }
}

/// `25`, or `25:2m` to keep it so long, or `25:2m:captain` to ask that role as well.
fn step(text: &str) -> Result<Step, String> {
    let mut parts = text.split(':');
    let share = weight(parts.next().unwrap_or_default())?;
    let hold = parts.next().map_or(Ok(UpdateSettings::CANARY_WINDOW), span)?;
    let role = parts.next().map(RoleName::parse).transpose().map_err(|error| error.to_string())?;
    let approve = role.map(|role| ApprovalRule { roles: vec![role], min: 1 });
    Ok(Step { approve, ..Step::weight(share, Duration::max(hold, Duration::ZERO)) })
}
