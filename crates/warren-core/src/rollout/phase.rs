//! The words of a release: how far it is, how it ended, why it stands or goes back.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a rollout is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Waits for the end of a freeze. Nothing has changed.
    Queued,
    /// Asks hooks and people, and brings the stable revision to where the strategy starts from.
    Preparing,
    /// Rolling and recreate: tasks are being replaced.
    Updating,
    /// Tasks of the new revision come up, without more traffic than before.
    Scaling,
    /// The same for the last step: the new revision comes to full size.
    Promoting,
    /// A new split is in force on some resolvers, not yet on all.
    Shifting,
    /// The share is kept.
    Holding,
    /// The share was kept long enough; hooks and people are asked.
    Gating,
    /// The new revision has all traffic, the old one is still there.
    Monitoring,
    /// The new revision is stable; the old one is kept at full size for a way back in an instant.
    Standby,
    /// The old revision's tasks go.
    Finalizing,
    /// Traffic goes back to where it came from, then the new tasks go.
    RollingBack,
    /// The same, and it takes longer than a task may take to become ready. A person is needed.
    RollbackStalled,
}

impl Phase {
    /// All of them, in the order of a rollout.
    pub const ALL: [Self; 13] = [
        Self::Queued,
        Self::Preparing,
        Self::Updating,
        Self::Scaling,
        Self::Promoting,
        Self::Shifting,
        Self::Holding,
        Self::Gating,
        Self::Monitoring,
        Self::Standby,
        Self::Finalizing,
        Self::RollingBack,
        Self::RollbackStalled,
    ];

    /// Whether the way leads back.
    #[must_use]
    pub const fn is_back(self) -> bool {
        matches!(self, Self::RollingBack | Self::RollbackStalled)
    }

    /// Whether the new revision has been accepted as stable.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Standby | Self::Finalizing)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Updating => "updating",
            Self::Scaling => "scaling",
            Self::Promoting => "promoting",
            Self::Shifting => "shifting",
            Self::Holding => "holding",
            Self::Gating => "gating",
            Self::Monitoring => "monitoring",
            Self::Standby => "standby",
            Self::Finalizing => "finalizing",
            Self::RollingBack => "rolling-back",
            Self::RollbackStalled => "rollback-stalled",
        })
    }
}

/// How a rollout ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The new revision is the stable one.
    Completed,
    /// The old revision has everything again.
    RolledBack,
    /// Another update took its place.
    Superseded,
    /// It was called off before anything changed.
    Cancelled,
    /// It failed, and there was nothing to go back to or nothing had changed.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::RolledBack => "rolled-back",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        })
    }
}

/// Why a rollout stands still. Pauses hold back what goes forward; gates and rollbacks stay armed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Pause {
    /// A person said so.
    User,
    /// It failed, and its settings say to wait for a person then.
    FailureAction,
    /// The analysis could not tell.
    Inconclusive,
    /// The source of the metrics does not answer.
    Provider,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "by a person",
            Self::FailureAction => "after a failure",
            Self::Inconclusive => "since the analysis was inconclusive",
            Self::Provider => "since the source of the metrics does not answer",
        })
    }
}

/// Why a rollout goes back. The words are the label values of `warren_rollbacks_total`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Trigger {
    /// Tasks of the new revision ended, or did not become ready in time.
    HealthCheck,
    /// Nothing moved for too long.
    Deadline,
    /// A hook said no, or nothing.
    Hook,
    /// The error rate.
    ErrorRate,
    /// The latency.
    Latency,
    /// Another metric.
    Analysis,
    /// A person.
    Manual,
    /// An update asked for the stable revision again.
    Reverted,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::HealthCheck,
        Self::Deadline,
        Self::Hook,
        Self::ErrorRate,
        Self::Latency,
        Self::Analysis,
        Self::Manual,
        Self::Reverted,
    ];
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HealthCheck => "health_check",
            Self::Deadline => "deadline",
            Self::Hook => "hook",
            Self::ErrorRate => "error_rate",
            Self::Latency => "latency",
            Self::Analysis => "analysis",
            Self::Manual => "manual",
            Self::Reverted => "reverted",
        })
    }
}

/// How traffic goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Back {
    /// At once. The default.
    #[default]
    Immediate,
    /// By 20 points a minute; at once where the new revision has no ready task left.
    Gradual,
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Immediate => "at once",
            Self::Gradual => "by and by",
        })
    }
}

/// What a rollout is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// The first revision of a service.
    Deploy,
    /// A new revision.
    Update,
    /// Back to an earlier revision after the rollout that brought its successor had been accepted.
    Rollback,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::Update => "update",
            Self::Rollback => "rollback",
        })
    }
}
