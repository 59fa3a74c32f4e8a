//! The flags that say how a change is brought in.

use super::canary::{CanaryFlags, percent};
use super::gate::GateFlags;
use super::words;
use crate::failure::{Failure, Outcome};
use clap::Args;
use warren_core::spec::{ProfileName, Quantity};
use warren_wire::convert::spec::render_strategy;
use warren_wire::v1;

/// How changes are brought in.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Updates")]
pub struct RolloutFlags {
    /// How a change is brought in [default: rolling]
    #[arg(long, value_name = "STRATEGY", value_parser = words::names(&words::STRATEGIES))]
    strategy: Option<String>,
    /// Tasks replaced at a time; 0 for as many as surge and unavailable allow [default: 1]
    #[arg(long, value_name = "N")]
    parallelism: Option<u32>,
    /// The wait between batches [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms)]
    delay: Option<u64>,
    /// Whether a replacement starts before its predecessor stops [default: start-first]
    #[arg(long, value_name = "ORDER", value_parser = ["start-first", "stop-first"])]
    order: Option<String>,
    /// Tasks above the wanted number while replacing, as in 1 or 25% [default: 1]
    #[arg(long, value_name = "N|N%")]
    max_surge: Option<Quantity>,
    /// Tasks below the wanted number while replacing [default: 0]
    #[arg(long, value_name = "N|N%")]
    max_unavailable: Option<Quantity>,
    /// A new task counts once it has been ready this long [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms)]
    min_ready: Option<u64>,
    /// A new task that is not ready in this time has failed [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms)]
    healthy_deadline: Option<u64>,
    /// A rollout that makes no progress for this long has failed [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms)]
    progress_deadline: Option<u64>,
    /// What follows a failure [default: rollback]
    #[arg(long, value_name = "ACTION", value_parser = ["rollback", "pause", "continue"])]
    failure_action: Option<String>,
    /// The share of tasks that may fail, as in 0.25 or 25% [default: 0]
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    max_failure_ratio: Option<u32>,
    /// A named set of settings to start from, in place of those that there are: see `warren rollout profile ls`
    #[arg(long, value_name = "NAME", value_parser = profile)]
    profile: Option<ProfileName>,
    /// What becomes of an update while an earlier one is under way [default: replace]
    #[arg(long, value_name = "WHAT", value_parser = ["replace", "queue", "reject"])]
    on_update: Option<String>,
    /// How long the new version has all traffic before it is accepted [default: blue-green 5m, else 0s]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms)]
    monitor: Option<u64>,
    /// How long blue-green keeps the old version at full size after that [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms)]
    standby: Option<u64>,
    /// How long tasks without traffic are kept for a look at them [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms)]
    scale_down_delay: Option<u64>,
    /// How long a task runs on once no answer names it, before it is told to stop [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms)]
    drain: Option<u64>,
    /// A rollback to one of so many earlier versions goes straight, without steps [default: 3]
    #[arg(long, value_name = "N")]
    rollback_window: Option<u32>,
    #[command(flatten)]
    canary: CanaryFlags,
    #[command(flatten)]
    gate: GateFlags,
}

fn profile(text: &str) -> Result<ProfileName, String> {
    text.parse()
}

/// Whole per cents, written as `25%` or `0.25`.
///
/// # Errors
/// What to write instead.
pub fn ratio(text: &str) -> Result<u32, String> {
    let refuse = || format!("{text:?} is not a ratio of whole per cents: write 0.25 or 25%");
    if let Some(number) = text.strip_suffix('%') {
        return percent(number).map_err(|_| refuse());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let fraction = if fraction.len() > 2 { fraction.trim_end_matches('0') } else { fraction };
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
        return Err(refuse());
    }
    let whole: u32 = whole.parse().map_err(|_| refuse())?;
    let hundredths: u32 = format!("{fraction:0<2}").parse().map_err(|_| refuse())?;
    match (whole, hundredths) {
        (0, hundredths) => Ok(hundredths),
        (1, 0) => Ok(100),
        _ => Err(refuse()),
    }
}

impl RolloutFlags {
    /// Lays what is given over the update settings of `spec`; the rest stays. A profile takes the place of what is
    /// there, but for the hooks and the approval: whom to tell and to ask is no part of it.
    ///
    /// # Errors
    /// Flags that do not go together, and a key that cannot be read.
    pub fn lay_over(&self, spec: &mut v1::ServiceSpec) -> Outcome {
        let mut new = spec.update_config.clone().unwrap_or_default();
        if let Some(name) = self.profile {
            let strategy = warren_core::spec::profile(name).strategy;
            spec.strategy = Some(render_strategy(strategy) as i32);
            new = v1::UpdateConfig {
                profile: Some(name.to_string()),
                hooks: new.hooks,
                approve: new.approve,
                ..Default::default()
            };
        }
        if let Some(word) = &self.strategy
            && let Some((_, strategy)) = words::STRATEGIES.iter().find(|(name, _)| name == word)
        {
            spec.strategy = Some(*strategy as i32);
        }
        self.canary.check(spec.strategy())?;
        if self.standby.is_some() && spec.strategy() != v1::DeploymentStrategy::BlueGreen {
            let strategy = words::strategy(spec.strategy());
            let why = format!(
                "--standby: only blue-green keeps the old version ready, and the strategy is {strategy}"
            );
            return Err(
                Failure::usage(why).hint("add --strategy blue-green, or leave --standby out")
            );
        }
        self.lay_numbers(&mut new);
        self.canary.lay_over(&mut new);
        self.gate.lay_over(&mut new)?;
        if spec.update_config.is_some() || new != v1::UpdateConfig::default() {
            spec.update_config = Some(new);
        }
        Ok(())
    }

    fn lay_numbers(&self, new: &mut v1::UpdateConfig) {
        new.parallelism = self.parallelism.or(new.parallelism);
        if self.delay.is_some() {
            (new.delay_ms, new.delay_seconds) = (self.delay, None);
        }
        new.order = self.order.clone().or_else(|| new.order.take());
        if let Some(quantity) = self.max_surge {
            (new.surge, new.max_surge) = (Some(quantity.to_string()), None);
        }
        if let Some(quantity) = self.max_unavailable {
            (new.unavailable, new.max_unavailable) = (Some(quantity.to_string()), None);
        }
        new.min_ready_ms = self.min_ready.or(new.min_ready_ms);
        new.healthy_deadline_ms = self.healthy_deadline.or(new.healthy_deadline_ms);
        new.progress_deadline_ms = self.progress_deadline.or(new.progress_deadline_ms);
        new.failure_action = self.failure_action.clone().or_else(|| new.failure_action.take());
        new.max_failure_percent = self.max_failure_ratio.or(new.max_failure_percent);
        new.on_update = self.on_update.clone().or_else(|| new.on_update.take());
        new.monitor_ms = self.monitor.or(new.monitor_ms);
        new.standby_ms = self.standby.or(new.standby_ms);
        new.scale_down_delay_ms = self.scale_down_delay.or(new.scale_down_delay_ms);
        new.drain_ms = self.drain.or(new.drain_ms);
        new.rollback_window = self.rollback_window.or(new.rollback_window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_whole_per_cents() {
        for (text, percent) in [
            ("0", 0),
            ("1", 100),
            ("0.25", 25),
            ("0.5", 50),
            ("0.250", 25),
            ("7%", 7),
            ("1.0", 100),
        ] {
            assert_eq!(ratio(text), Ok(percent), "{text}");
        }
        for wrong in ["", "2", "1.01", "0.255", "-0.1", "101%", "x", ".5", "0."] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }
}
