//! Settings that belong together, under a name: `warren rollout profile show NAME`.

use super::{ApprovalRule, Ramp, RoleName, Step, Strategy, UpdateSettings};
use crate::units::Weight;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The name of a set of settings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ProfileName {
    /// What holds where nothing is said.
    Default,
    /// For models that load for minutes and answer in long streams.
    Llm,
    /// A warm-up without traffic, then ever larger shares.
    Progressive,
    /// Half-hour stages and a person's word before all traffic.
    Enterprise,
    /// Two full sets of tasks, one switch, five minutes of watching.
    Bluegreen5m,
}

impl ProfileName {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Default, Self::Llm, Self::Progressive, Self::Enterprise, Self::Bluegreen5m];

    /// What it is for, in one sentence.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Default => {
                "rolling, one task at a time; as a canary 10, 25, 50, 100 % for 5 min each"
            }
            Self::Llm => "canary for models: half an hour to load, ten minutes to finish streams",
            Self::Progressive => {
                "canary: 2 min without traffic, 5 %, 20 %, then 20 points every 5 min"
            }
            Self::Enterprise => "canary in half-hour stages; a release captain agrees before 100 %",
            Self::Bluegreen5m => "blue-green: one switch, watched for 5 min, then the old one goes",
        }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Llm => "llm",
            Self::Progressive => "progressive",
            Self::Enterprise => "enterprise",
            Self::Bluegreen5m => "bluegreen-5m",
        })
    }
}

impl std::str::FromStr for ProfileName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|name| name.to_string() == text).ok_or_else(|| {
            let all = Self::ALL.map(|name| name.to_string()).join(", ");
            format!("there is no profile {text:?}: write one of {all}")
        })
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// The settings of a profile. Each is the table of one source document, which the requirement ids name.
#[must_use]
pub fn profile(name: ProfileName) -> UpdateSettings {
    let base = UpdateSettings { profile: Some(name), ..UpdateSettings::default() };
    match name {
        // B10, B13: the shipped defaults, with the steps that a canary without steps has.
        ProfileName::Default => UpdateSettings {
            steps: UpdateSettings::default_steps(UpdateSettings::CANARY_WINDOW),
            ..base
        },
        // A5, A9: the same flow for models.
        ProfileName::Llm => UpdateSettings {
            strategy: Strategy::Canary,
            steps: UpdateSettings::default_steps(5 * MINUTE),
            healthy_deadline: 30 * MINUTE,
            progress_deadline: 45 * MINUTE,
            drain: 10 * MINUTE,
            ..base
        },
        // C2 to C5.
        ProfileName::Progressive => UpdateSettings {
            strategy: Strategy::Canary,
            steps: vec![
                stage(0, 2 * MINUTE),
                stage(5, 10 * MINUTE),
                stage(20, 15 * MINUTE),
                Step {
                    ramp: Some(Ramp { to: Weight::FULL, by: percent(20), every: 5 * MINUTE }),
                    ..Step::default()
                },
            ],
            ..base
        },
        // D7 to D13.
        ProfileName::Enterprise => UpdateSettings {
            strategy: Strategy::Canary,
            steps: vec![
                stage(0, 15 * MINUTE),
                stage(5, 30 * MINUTE),
                stage(25, 30 * MINUTE),
                Step { approve: Some(captain()), ..stage(50, 30 * MINUTE) },
                stage(100, 10 * MINUTE),
            ],
            healthy_deadline: 2 * MINUTE,
            ..base
        },
        // E4, E5, E7.
        ProfileName::Bluegreen5m => UpdateSettings {
            strategy: Strategy::BlueGreen,
            monitor: Some(5 * MINUTE),
            standby: Duration::ZERO,
            ..base
        },
    }
}

fn percent(percent: u16) -> Weight {
    Weight::from_per_mille(percent * 10).unwrap_or_default()
}

fn stage(weight: u16, hold: Duration) -> Step {
    Step { analyze: true, ..Step::weight(percent(weight), hold) }
}

fn captain() -> ApprovalRule {
    let roles = ["release-captain", "sre-lead"];
    let roles = roles.iter().filter_map(|role| RoleName::parse(role).ok()).collect();
    ApprovalRule { roles, min: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::expand;

    #[test]
    fn every_profile_is_valid_and_found_by_its_name() {
        for name in ProfileName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
            let settings = profile(name);
            settings.check().unwrap();
            assert_eq!(settings.profile, Some(name));
        }
        assert!("slow".parse::<ProfileName>().unwrap_err().contains("bluegreen-5m"));
    }

    #[test]
    fn the_progressive_profile_takes_its_documented_time() {
        let steps = expand(&profile(ProfileName::Progressive).steps);
        let holds: Vec<_> = steps.iter().map(|step| step.hold.as_secs() / 60).collect();
        assert_eq!(holds, [2, 10, 15, 5, 5, 5, 5]);
    }
}
