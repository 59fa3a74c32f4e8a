//! The flags that say how a canary gets its share.

use super::words;
use crate::failure::{Failure, Outcome};
use clap::Args;
use warren_wire::v1;

/// How a canary gets its share.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Canaries")]
pub struct CanaryFlags {
    /// The shares of a canary's steps in per cent, rising [default: 10,25,50,100]
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = percent)]
    canary_steps: Vec<u32>,
    /// How long each step is watched, as in 5m, or in seconds as in 300 [default: 5m]
    #[arg(long, value_name = "TIME", alias = "stability-window", value_parser = words::span_ms)]
    canary_window: Option<u64>,
    /// Share of the first step in per cent; steps that do not go beyond it are left out
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    canary_weight: Option<u32>,
}

/// Reads whole per cents, as in `5` or `5%`.
///
/// # Errors
/// What to write instead.
pub fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let percent = number.parse().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| format!("{text:?} is not a percentage: write 0 to 100"))
}

impl CanaryFlags {
    /// Refuses what is given beside another strategy, where it would mean nothing.
    ///
    /// # Errors
    /// The first such flag.
    pub fn check(&self, strategy: v1::DeploymentStrategy) -> Outcome {
        let given = [
            ("--canary-steps", !self.canary_steps.is_empty()),
            ("--canary-window", self.canary_window.is_some()),
            ("--canary-weight", self.canary_weight.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) if strategy != v1::DeploymentStrategy::Canary => {
                let strategy = words::strategy(strategy);
                Err(Failure::usage(format!(
                    "{flag}: only a canary has that, and the strategy is {strategy}"
                ))
                .hint(format!("add --strategy canary, or leave {flag} out")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Lays what is given over `new`. A list of shares takes the place of the steps that there are, and keeps their
    /// window; a window alone is given to each step that there is.
    pub fn lay_over(&self, new: &mut v1::UpdateConfig) {
        if !self.canary_steps.is_empty() {
            new.canary_window_ms = new.canary_window_ms.or_else(|| held(&new.steps));
            new.steps.clear();
            new.canary_steps.clone_from(&self.canary_steps);
        }
        match self.canary_weight {
            Some(percent) if !new.steps.is_empty() => begin_with(&mut new.steps, percent),
            Some(percent) => new.canary_weight = Some(percent),
            None => {}
        }
        let Some(window) = self.canary_window else { return };
        new.stability_window_seconds = None;
        new.canary_window_ms = new.steps.is_empty().then_some(window);
        new.steps.iter_mut().for_each(|step| hold_for(step, window));
    }
}

/// How long the first share that is kept at all is kept.
fn held(steps: &[v1::Step]) -> Option<u64> {
    steps.iter().map(|step| step.hold_ms).find(|hold| *hold != 0)
}

fn begin_with(steps: &mut Vec<v1::Step>, percent: u32) {
    let share = percent.saturating_mul(10);
    let hold_ms = held(steps).unwrap_or_default();
    steps.retain(|step| step.weight_per_mille.is_none_or(|weight| weight > share));
    let first = v1::Step { weight_per_mille: Some(share), hold_ms, ..Default::default() };
    steps.insert(0, first);
}

fn hold_for(step: &mut v1::Step, window: u64) {
    if let Some(ramp) = &mut step.ramp {
        ramp.every_ms = window;
    } else if step.weight_per_mille.is_some() {
        step.hold_ms = window;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(flags: &CanaryFlags, mut config: v1::UpdateConfig) -> v1::UpdateConfig {
        flags.lay_over(&mut config);
        config
    }

    fn there() -> v1::UpdateConfig {
        let weight = |per_mille, hold_ms| v1::Step {
            weight_per_mille: Some(per_mille),
            hold_ms,
            ..Default::default()
        };
        let rule = v1::ApprovalRule { roles: Vec::new(), min: 1 };
        let approve = v1::Step { approve: Some(rule), ..Default::default() };
        let ramp = v1::Ramp { to_per_mille: 1000, by_per_mille: 200, every_ms: 7 };
        let ramp = v1::Step { ramp: Some(ramp), ..Default::default() };
        v1::UpdateConfig { steps: vec![weight(50, 60_000), approve, ramp], ..Default::default() }
    }

    #[test]
    fn a_list_of_shares_takes_the_place_of_the_steps_and_keeps_their_window() {
        let steps = CanaryFlags { canary_steps: vec![5, 100], ..Default::default() };
        let config = laid(&steps, there());
        assert!(config.steps.is_empty());
        assert_eq!((config.canary_steps, config.canary_window_ms), (vec![5, 100], Some(60_000)));
        let with = CanaryFlags { canary_window: Some(9), ..steps };
        assert_eq!(laid(&with, there()).canary_window_ms, Some(9));
    }

    #[test]
    fn the_first_share_leaves_out_what_does_not_go_beyond_it() {
        let weight = CanaryFlags { canary_weight: Some(5), ..Default::default() };
        let steps = laid(&weight, there()).steps;
        let weights: Vec<_> = steps.iter().map(|step| step.weight_per_mille).collect();
        assert_eq!(weights, [Some(50), None, None]);
        assert_eq!(steps[0].hold_ms, 60_000);
        assert_eq!(laid(&weight, v1::UpdateConfig::default()).canary_weight, Some(5));
    }

    #[test]
    fn a_window_alone_is_given_to_each_step_with_a_share() {
        let window = CanaryFlags { canary_window: Some(9), ..Default::default() };
        let config = laid(&window, there());
        let holds: Vec<u64> = config.steps.iter().map(|step| step.hold_ms).collect();
        assert_eq!(holds, [9, 0, 0]);
        assert_eq!(config.steps[2].ramp.unwrap().every_ms, 9);
        assert_eq!(config.canary_window_ms, None);
        assert_eq!(laid(&window, Default::default()).canary_window_ms, Some(9));
    }
}
