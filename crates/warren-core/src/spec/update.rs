//! How a change of the template is brought in.

use crate::spec::{ApprovalRule, FieldError, HOOKS_MAX, Hook, ProfileName, SPAN_MAX, Step, step};
use crate::units::Weight;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The largest rollback window: as many as there are revisions kept, since none further back is there to go to.
pub const ROLLBACK_WINDOW_MAX: u32 = 10;
/// The two fields of which one must allow something.
const BOTH_LIMITS: &str = "max_surge, max_unavailable";
/// The two fields of which one bounds the other.
const BOTH_DEADLINES: &str = "progress_deadline, healthy_deadline";

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

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rolling, Self::BlueGreen, Self::Canary, Self::Recreate];
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

/// What becomes of an update while an earlier one is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum OnUpdate {
    /// The earlier one ends, superseded, and the new one starts from the stable revision. The default.
    #[default]
    Replace,
    /// The new one waits for the end of the earlier one; of several that wait the last stays.
    Queue,
    /// The new one is refused.
    Reject,
}

impl fmt::Display for OnUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "replace",
            Self::Queue => "queue",
            Self::Reject => "reject",
        })
    }
}

/// How a change of the template is brought in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UpdateSettings {
    /// The shape of the rollout.
    pub strategy: Strategy,
    /// The profile that the settings were taken from before single ones were changed; for people.
    pub profile: Option<ProfileName>,
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
    /// What becomes of an update while an earlier one is under way.
    pub on_update: OnUpdate,
    /// The steps of a canary; [`UpdateSettings::default_steps`] where empty.
    pub steps: Vec<Step>,
    /// How long the new revision has all traffic before it is accepted. Where absent: 5 min for blue-green, as its last
    /// step says for canary, 0 for the others.
    pub monitor: Option<Duration>,
    /// How long blue-green keeps the old revision at full size after that, for an instant way back. Default 5 min.
    pub standby: Duration,
    /// How long tasks without traffic are kept after a canary, or after a rollback, for a look at them. Default 30 s.
    pub scale_down_delay: Duration,
    /// How long a task still runs once no answer names it any more, before it is told to stop. Default 0.
    pub drain: Duration,
    /// A rollback to one of so many revisions before the stable one goes straight, without steps. Default 3.
    pub rollback_window: u32,
    /// Who must agree before anything changes.
    pub approve: Option<ApprovalRule>,
    /// Who is told and who is asked.
    pub hooks: Vec<Hook>,
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
            profile: None,
            on_update: OnUpdate::Replace,
            steps: Vec::new(),
            monitor: None,
            standby: Duration::from_secs(300),
            scale_down_delay: Duration::from_secs(30),
            drain: Duration::ZERO,
            rollback_window: 3,
            approve: None,
            hooks: Vec::new(),
        }
    }
}

impl UpdateSettings {
    pub(super) fn check(&self) -> Result<(), FieldError> {
        if self.max_surge.is_zero() && self.max_unavailable.is_zero() {
            return Err(FieldError::new(
                BOTH_LIMITS,
                "both are 0, so no task could ever be replaced: allow one more (max surge 1) or one less (max \
                 unavailable 1)",
            ));
        }
        self.check_deadlines()?;
        if self.rollback_window > ROLLBACK_WINDOW_MAX {
            let problem = format!(
                "{} is more than {ROLLBACK_WINDOW_MAX}, the revisions that are kept: write 0 to {ROLLBACK_WINDOW_MAX}",
                self.rollback_window
            );
            return Err(FieldError::new("rollback_window", problem));
        }
        if self.max_failure_percent > 100 {
            return Err(FieldError::new("max_failure_percent", "more than 100 %"));
        }
        if self.monitor.is_some_and(|span| span > SPAN_MAX) {
            return Err(FieldError::new("monitor", "longer than a year"));
        }
        step::check(&self.steps)?;
        if let Some(rule) = &self.approve {
            rule.check().map_err(|error| error.within("approve"))?;
        }
        if self.hooks.len() > HOOKS_MAX {
            return Err(FieldError::new("hooks", format!("more than {HOOKS_MAX} hooks")));
        }
        for (i, hook) in self.hooks.iter().enumerate() {
            hook.check().map_err(|error| error.within(&format!("hooks[{i}]")))?;
        }
        Ok(())
    }

    /// A release must not fail for want of progress while a task still has its time to become ready.
    fn check_deadlines(&self) -> Result<(), FieldError> {
        let (healthy, progress) = (self.healthy_deadline, self.progress_deadline);
        if progress >= healthy {
            return Ok(());
        }
        let (healthy, progress) = (healthy.as_secs_f64(), progress.as_secs_f64());
        let problem = format!(
            "a release fails after {progress} s without progress, and a task has {healthy} s to become ready: make the \
             first at least as long (the progress deadline), or the second shorter (the healthy deadline)"
        );
        Err(FieldError::new(BOTH_DEADLINES, problem))
    }

    /// The steps of a canary that names none: 10, 25, 50 and 100 per cent, each kept for `window`.
    #[must_use]
    pub fn default_steps(window: Duration) -> Vec<Step> {
        let weights = [100, 250, 500, 1000].map(|w| Weight::from_per_mille(w).unwrap_or_default());
        weights.map(|weight| Step::weight(weight, window)).into()
    }

    /// How long each default step of a canary is kept.
    pub const CANARY_WINDOW: Duration = Duration::from_secs(300);
}
