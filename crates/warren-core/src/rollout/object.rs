//! The object that a release is, as the managers agree on it.

use crate::id::{NoticeId, RevisionNumber, RolloutId, Slot};
use crate::service::Actor;
use crate::spec::{HookPoint, RoleName, Step, Strategy, UpdateSettings};
use crate::time::{ClusterTime, WallTime};
use crate::units::Weight;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Moments of one rollout that are kept for its timeline; of more, the middle ones go.
pub const MOMENTS_KEPT: usize = 200;
/// Ended rollouts kept with their service.
pub const ROLLOUTS_KEPT: usize = 20;
/// The longest reason or comment of a person.
pub const REASON_BYTES_MAX: usize = 1024;

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
            Self::Inconclusive => "the analysis was inconclusive",
            Self::Provider => "the source of the metrics does not answer",
        })
    }
}

/// A pause, with who made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Paused {
    /// Who.
    pub by: Actor,
    /// Since when.
    pub since: ClusterTime,
    /// Why, in words.
    pub reason: String,
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
            Self::Immediate => "immediate",
            Self::Gradual => "gradual",
        })
    }
}

/// A decision to go back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Abort {
    /// What set it off.
    pub trigger: Trigger,
    /// The same in words.
    pub reason: String,
    /// How.
    pub back: Back,
    /// Who.
    pub by: Actor,
    /// When.
    pub at: ClusterTime,
}

/// One person's word for one step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: Actor,
    /// In which role; absent where any would do.
    pub role: Option<RoleName>,
    /// What they said.
    pub comment: String,
    /// For which step; 0 for the start of the rollout.
    pub step: u32,
    /// When.
    pub at: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub wall: WallTime,
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

/// Hooks that were called at a gate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Called {
    /// Which gate.
    pub on: HookPoint,
    /// The calls without an answer.
    pub pending: BTreeSet<NoticeId>,
    /// Why the first one that failed did.
    pub failed: Option<String>,
}

/// What a person asked of the next moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Haste {
    /// Nothing: every step takes its time.
    #[default]
    None,
    /// This step's hold and its verdict are skipped.
    Step,
    /// All that remain are.
    Full,
}

/// One entry of the timeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at: ClusterTime,
    /// When, on the leader's wall clock.
    pub wall: WallTime,
    /// Who: a user, or a part of Warren.
    pub by: Actor,
    /// What happened.
    pub what: Happened,
}

/// What happened to a rollout.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Happened {
    /// It began.
    Started,
    /// It came to a phase.
    Entered {
        /// Which.
        phase: Phase,
        /// In which step, from 1; 0 before the first.
        step: u32,
    },
    /// Traffic was given another split.
    Shifted {
        /// The new revision's share.
        weight: Weight,
        /// The traffic epoch that holds it.
        epoch: u64,
    },
    /// A slot of the new revision failed.
    SlotFailed {
        /// Which.
        slot: Slot,
        /// How.
        why: String,
    },
    /// It was paused.
    Paused {
        /// Why.
        pause: Pause,
        /// In words.
        reason: String,
    },
    /// It goes on.
    Resumed,
    /// A person made it go faster.
    Promoted {
        /// To this share, or to the next step, or to the end.
        how: Promotion,
    },
    /// A person agreed.
    Approved {
        /// In which role.
        role: Option<RoleName>,
        /// With which words.
        comment: String,
    },
    /// The hooks of a gate were called.
    HooksCalled {
        /// Which gate.
        on: HookPoint,
        /// How many.
        count: u32,
    },
    /// A hook of a gate failed.
    HookFailed {
        /// Which gate.
        on: HookPoint,
        /// How.
        why: String,
    },
    /// The new revision is the stable one.
    Accepted,
    /// It goes back.
    Aborted {
        /// What set it off.
        trigger: Trigger,
        /// In words.
        reason: String,
        /// How.
        back: Back,
    },
    /// Another attempt at the same revision.
    Retried {
        /// Its number, from 1.
        attempt: u32,
    },
    /// It ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// Why, where it did not complete.
        reason: String,
    },
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Entered { phase, step: 0 } => write!(f, "{phase}"),
            Self::Entered { phase, step } => write!(f, "step {step}: {phase}"),
            Self::Shifted { weight, epoch } => {
                write!(f, "{weight} of the traffic to the new revision (epoch {epoch})")
            }
            Self::SlotFailed { slot, why } => write!(f, "slot {slot} failed: {why}"),
            Self::Paused { pause, reason } if reason.is_empty() => write!(f, "paused: {pause}"),
            Self::Paused { pause, reason } => write!(f, "paused {pause}: {reason}"),
            Self::Resumed => f.write_str("resumed"),
            Self::Promoted { how } => write!(f, "promoted {how}"),
            Self::Approved { role, comment } => {
                f.write_str("approved")?;
                if let Some(role) = role {
                    write!(f, " as {role}")?;
                }
                if comment.is_empty() { Ok(()) } else { write!(f, ": {comment}") }
            }
            Self::HooksCalled { on, count } => write!(f, "{count} hooks called at {on}"),
            Self::HookFailed { on, why } => write!(f, "a hook at {on} failed: {why}"),
            Self::Accepted => f.write_str("accepted: the new revision is the stable one"),
            Self::Aborted { trigger, reason, back } => {
                write!(f, "goes back ({back}, {trigger}): {reason}")
            }
            Self::Retried { attempt } => write!(f, "attempt {attempt}"),
            Self::Ended { outcome, reason } if reason.is_empty() => write!(f, "{outcome}"),
            Self::Ended { outcome, reason } => write!(f, "{outcome}: {reason}"),
        }
    }
}

/// How far a person wants a rollout to go at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Promotion {
    /// Over the hold of this step.
    Next,
    /// To this share.
    To(Weight),
    /// To all traffic.
    Full,
}

impl fmt::Display for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next => f.write_str("to the next step"),
            Self::To(weight) => write!(f, "to {weight}"),
            Self::Full => f.write_str("to the end"),
        }
    }
}

/// A move of a service from one revision to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// What it is for.
    pub kind: Kind,
    /// Counts `retry`, from 1.
    pub attempt: u32,
    /// When this attempt began.
    pub attempt_at: ClusterTime,
    /// The stable revision when it started; absent in a first deployment.
    pub from: Option<RevisionNumber>,
    /// The revision that comes in.
    pub to: RevisionNumber,
    /// The settings as they were when it started.
    pub settings: UpdateSettings,
    /// The shape that it has, which is `settings.strategy` but for a straight rollback.
    pub strategy: Strategy,
    /// Its steps, ramps written out. Empty for rolling and recreate.
    pub steps: Vec<Step>,
    /// How far it is; how far it came, once it has ended.
    pub phase: Phase,
    /// When it came there.
    pub since: ClusterTime,
    /// The step it is in, as an index into `steps`.
    pub step: u32,
    /// The share that the new revision is to have in this step.
    pub weight: Weight,
    /// Counts what happened to it: the guard of the moves.
    pub seq: u64,
    /// Eligible time of this hold that is past, in milliseconds.
    pub eligible_ms: u64,
    /// Since when the hold counts; absent while it does not.
    pub eligible_since: Option<ClusterTime>,
    /// The most tasks of the new revision that were available at once in this step.
    pub available: u32,
    /// When something moved last: what the progress deadline counts from.
    pub progress_at: ClusterTime,
    /// Why it stands still.
    pub pauses: BTreeMap<Pause, Paused>,
    /// The slots of the new revision that failed in this attempt, each with how it did first.
    pub failed_slots: BTreeMap<Slot, String>,
    /// Failed slots that a person has resumed after.
    pub tolerated: u32,
    /// Who agreed to what.
    pub approvals: Vec<Approval>,
    /// The hooks of the gate that it is at.
    pub called: Option<Called>,
    /// What a person asked of the next moves.
    pub haste: Haste,
    /// Whether a freeze does not hold it, and why a person said so.
    pub freeze_override: Option<String>,
    /// Why it goes back, once it does.
    pub abort: Option<Abort>,
    /// Who started it.
    pub by: Actor,
    /// Why, in their words.
    pub cause: String,
    /// When it started.
    pub started: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub started_wall: WallTime,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// What happened to it, oldest first, [`MOMENTS_KEPT`] at most.
    pub timeline: Vec<Moment>,
}

/// The end of a rollout.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// Why, where it did not complete.
    pub reason: String,
    /// When.
    pub at: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub wall: WallTime,
}

impl Rollout {
    /// The step it is in; absent for a strategy without steps.
    #[must_use]
    pub fn current_step(&self) -> Option<&Step> {
        self.steps.get(self.step as usize)
    }

    /// Whether this is its last step, or it has none.
    #[must_use]
    pub fn is_last_step(&self) -> bool {
        self.step as usize + 1 >= self.steps.len()
    }

    /// Whether both revisions are kept beside each other, with shares of the traffic.
    #[must_use]
    pub fn is_beside(&self) -> bool {
        match self.strategy {
            Strategy::Canary | Strategy::BlueGreen => self.from.is_some(),
            Strategy::Rolling | Strategy::Recreate => false,
        }
    }

    /// The eligible time of this hold at `now`, in milliseconds.
    #[must_use]
    pub fn eligible_at(&self, now: ClusterTime) -> u64 {
        let running =
            self.eligible_since.map_or(0, |since| now.as_ms().saturating_sub(since.as_ms()));
        self.eligible_ms + running
    }

    /// How far it is, 0 to 100: the share of the new revision for a strategy with steps, else the share of its tasks.
    #[must_use]
    pub fn progress(&self, replicas: u32) -> u32 {
        let share = |part: u32| (part * 100).checked_div(replicas.max(1)).unwrap_or(100).min(100);
        match (&self.end, self.phase) {
            (Some(end), _) if end.outcome == Outcome::Completed => 100,
            (Some(_), _) => 0,
            (None, Phase::Standby | Phase::Finalizing) => 100,
            (None, _) if self.is_beside() => u32::from(self.weight.per_mille()) / 10,
            (None, _) => share(self.available),
        }
    }
}
