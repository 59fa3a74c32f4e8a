//! How a change of the template is brought in.

use crate::spec::FieldError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The shape of a rollout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Strategy {
    /// Replaces tasks batch by batch. The default.
    Rolling,
    /// Builds the new version beside the old and switches at once.
    BlueGreen,
    /// Gives the new version a growing share of traffic.
    Canary,
    /// Stops everything, then starts the new version: downtime by choice.
    Recreate,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue-green",
            Self::Canary => "canary",
            Self::Recreate => "recreate",
        })
    }
}

/// What follows a failed rollout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FailureAction {
    /// Back to the stable revision. The default.
    Rollback,
    /// Stop and wait for a person.
    Pause,
    /// Go on regardless.
    Continue,
}

/// Whether a replacement starts before its predecessor stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Order {
    /// New first. The default.
    StartFirst,
    /// Old first; needed where both cannot be on one node.
    StopFirst,
}

/// A number of tasks, or a share of the replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Quantity {
    /// So many.
    Count(u32),
    /// So many of a hundred, 0 to 100.
    Percent(u8),
}

impl Quantity {
    /// Of `replicas`, rounded up.
    #[must_use]
    pub fn ceil_of(self, replicas: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(share) => share_of(replicas, share, 99),
        }
    }

    /// Of `replicas`, rounded down.
    #[must_use]
    pub fn floor_of(self, replicas: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(share) => share_of(replicas, share, 0),
        }
    }

    fn is_zero(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }
}

fn share_of(replicas: u32, percent: u8, round_up: u64) -> u32 {
    let hundredths = u64::from(replicas) * u64::from(percent) + round_up;
    u32::try_from(hundredths / 100).unwrap_or(u32::MAX)
}

impl std::str::FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("{text:?} is neither a number of tasks nor a percentage: write 2 or 25%");
        match text.strip_suffix('%') {
            Some(share) => share
                .parse()
                .ok()
                .filter(|share| *share <= 100)
                .map(Self::Percent)
                .ok_or_else(refuse),
            None => text.parse().map(Self::Count).map_err(|_| refuse()),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

/// How a change of the template is brought in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UpdateSettings {
    /// The shape of the rollout.
    pub strategy: Strategy,
    /// Tasks replaced at a time; 0 for as many as surge and unavailable allow. Default 1.
    pub parallelism: u32,
    /// The wait between batches. Default 0.
    pub delay: Duration,
    /// New first or old first.
    pub order: Order,
    /// Tasks above the wanted number while replacing; rounds up. Default 1.
    pub max_surge: Quantity,
    /// Tasks below the wanted number while replacing; rounds down. Default 0.
    pub max_unavailable: Quantity,
    /// A new task counts once it has been ready this long without a break. Default 10 s.
    pub min_ready: Duration,
    /// A new task that is not ready within this time has failed. Default 5 min.
    pub healthy_deadline: Duration,
    /// A rollout that makes no progress for this long has failed. Default 10 min.
    pub progress_deadline: Duration,
    /// What follows a failure.
    pub failure_action: FailureAction,
    /// The share of slots that may fail before the rollout has, in per cent. Default 0.
    pub max_failure_percent: u8,
}

impl Default for UpdateSettings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            parallelism: 1,
            delay: Duration::ZERO,
            order: Order::StartFirst,
            max_surge: Quantity::Count(1),
            max_unavailable: Quantity::Count(0),
            min_ready: Duration::from_secs(10),
            healthy_deadline: Duration::from_secs(300),
            progress_deadline: Duration::from_secs(600),
            failure_action: FailureAction::Rollback,
            max_failure_percent: 0,
        }
    }
}

impl UpdateSettings {
    pub(super) fn check(&self) -> Result<(), FieldError> {
        if self.max_surge.is_zero() && self.max_unavailable.is_zero() {
            return Err(FieldError::new(
                "max_unavailable",
                "max_surge and max_unavailable are both 0, so no task could ever be replaced: \
                 allow one more (--max-surge 1) or one less (--max-unavailable 1)",
            ));
        }
        if self.max_failure_percent > 100 {
            return Err(FieldError::new("max_failure_percent", "more than 100 %"));
        }
        Ok(())
    }
}
