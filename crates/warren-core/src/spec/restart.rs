//! What happens when a task ends by itself.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// After which ends a task is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RestartCondition {
    /// After every end. The default.
    Any,
    /// After an exit code other than 0, a signal or an unhealthy verdict.
    OnFailure,
    /// Never: the task is then Completed or Failed for good.
    Never,
}

/// What becomes of a task whose node hears no leader any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum OnDisconnect {
    /// It runs on. Once its node is given up another one takes its place, so that for a while both may run. The
    /// default.
    #[default]
    Keep,
    /// Its node stops it by itself after so long without an answer of a leader, and no other takes its place before
    /// that must have happened: it never runs twice, and not at all for a while.
    StopAfter(Duration),
}

impl OnDisconnect {
    /// For how long without a leader the task runs on; for ever where absent.
    #[must_use]
    pub fn stop_after(self) -> Option<Duration> {
        match self {
            Self::Keep => None,
            Self::StopAfter(span) => Some(span),
        }
    }
}

/// Restarts on the node: the agent starts the container again in place, waiting twice as long each time, until the
/// attempts within the window are used up. Then the task has Failed, and the leader places another, with back-off.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// After which ends.
    pub condition: RestartCondition,
    /// The first wait. Default 1 s.
    pub delay: Duration,
    /// The longest wait. Default 60 s.
    pub delay_max: Duration,
    /// So many restarts within the window stay on the node. Default 5; 0 hands every end to the leader.
    pub attempts: u32,
    /// Restarts older than this are forgotten, and so is the back-off. Default 5 min.
    pub window: Duration,
    /// What becomes of the task where its node hears no leader.
    pub on_disconnect: OnDisconnect,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            condition: RestartCondition::Any,
            delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(60),
            attempts: 5,
            window: Duration::from_secs(300),
            on_disconnect: OnDisconnect::Keep,
        }
    }
}

impl RestartPolicy {
    /// The wait before restart number `attempt` (from 0) of the window: doubled each time, capped.
    #[must_use]
    pub fn backoff(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.min(30)).unwrap_or(u32::MAX);
        self.delay.checked_mul(factor).unwrap_or(self.delay_max).min(self.delay_max)
    }
}
