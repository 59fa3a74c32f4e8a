//! The flags that say how a change is brought in.

use super::words;
use clap::Args;
use warren_core::spec::Quantity;
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
    #[arg(long, value_name = "TIME", value_parser = words::duration_ms)]
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
    #[arg(long, value_name = "TIME", value_parser = words::duration_ms)]
    min_ready: Option<u64>,
    /// A new task that is not ready in this time has failed [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = words::duration_ms)]
    healthy_deadline: Option<u64>,
    /// A rollout that makes no progress for this long has failed [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = words::duration_ms)]
    progress_deadline: Option<u64>,
    /// What follows a failure [default: rollback]
    #[arg(long, value_name = "ACTION", value_parser = ["rollback", "pause", "continue"])]
    failure_action: Option<String>,
    /// The share of tasks that may fail, as in 0.25 or 25% [default: 0]
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    max_failure_ratio: Option<u32>,
    /// The first canary's share of traffic in per cent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    canary_weight: Option<u32>,
    /// The shares of a canary's steps in per cent, rising [default: 10,25,50,100]
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = percent)]
    canary_steps: Vec<u32>,
    /// How long each step is watched, in whole seconds [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    stability_window: Option<u32>,
}

fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let percent = number.parse().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| format!("{text:?} is not a percentage: write 0 to 100"))
}

/// Whole per cents, written as `25%` or `0.25`.
fn ratio(text: &str) -> Result<u32, String> {
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

fn whole_seconds(text: &str) -> Result<u32, String> {
    let ms = words::duration_ms(text)?;
    let seconds = (ms % 1000 == 0).then(|| u32::try_from(ms / 1000).ok()).flatten();
    seconds.ok_or_else(|| format!("{text:?} is not whole seconds: write 30s, 5m"))
}

impl RolloutFlags {
    /// Lays what is given over the update settings of `spec`; the rest stays.
    pub fn lay_over(&self, spec: &mut v1::ServiceSpec) {
        if let Some(word) = &self.strategy
            && let Some((_, strategy)) = words::STRATEGIES.iter().find(|(name, _)| name == word)
        {
            spec.strategy = Some(*strategy as i32);
        }
        let mut new = spec.update_config.clone().unwrap_or_default();
        new.parallelism = self.parallelism.or(new.parallelism);
        if self.delay.is_some() {
            (new.delay_ms, new.delay_seconds) = (self.delay, None);
        }
        new.order = self.order.clone().or(new.order);
        if let Some(quantity) = self.max_surge {
            (new.surge, new.max_surge) = (Some(quantity.to_string()), None);
        }
        if let Some(quantity) = self.max_unavailable {
            (new.unavailable, new.max_unavailable) = (Some(quantity.to_string()), None);
        }
        new.min_ready_ms = self.min_ready.or(new.min_ready_ms);
        new.healthy_deadline_ms = self.healthy_deadline.or(new.healthy_deadline_ms);
        new.progress_deadline_ms = self.progress_deadline.or(new.progress_deadline_ms);
        new.failure_action = self.failure_action.clone().or(new.failure_action);
        new.max_failure_percent = self.max_failure_ratio.or(new.max_failure_percent);
        new.canary_weight = self.canary_weight.or(new.canary_weight);
        if !self.canary_steps.is_empty() {
            new.canary_steps.clone_from(&self.canary_steps);
        }
        new.stability_window_seconds = self.stability_window.or(new.stability_window_seconds);
        if spec.update_config.is_some() || new != v1::UpdateConfig::default() {
            spec.update_config = Some(new);
        }
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
