//! What happened to a release, for people and for those who are told.

use super::{Back, Outcome, Pause, Phase, Trigger};
use crate::id::{RolloutId, Slot};
use crate::service::Actor;
use crate::spec::{HookPoint, RoleName};
use crate::time::{ClusterTime, WallTime};
use crate::units::{Weight, counted};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Moments of one rollout that are kept for its timeline; of more, the middle ones go.
pub const MOMENTS_KEPT: usize = 200;

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
    /// It began, or waits to, in spite of a freeze.
    FreezeOverridden {
        /// Why, in the words of who said so.
        reason: String,
    },
    /// The update that waited for its end was dropped.
    Unqueued {
        /// The release that it would have been.
        release: RolloutId,
        /// Whose it was.
        of: Actor,
        /// Why.
        why: String,
    },
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
            Self::FreezeOverridden { reason } => write!(f, "in spite of a freeze: {reason}"),
            Self::Unqueued { release, of, why } => {
                write!(f, "the update by {of} that waited (release {release}) is dropped: {why}")
            }
            Self::Entered { phase, step: 0 } => write!(f, "{phase}"),
            Self::Entered { phase, step } => write!(f, "step {step}: {phase}"),
            Self::Shifted { weight: Weight::ZERO, .. } => {
                f.write_str("all traffic to the old revision")
            }
            Self::Shifted { weight: Weight::FULL, .. } => {
                f.write_str("all traffic to the new revision")
            }
            Self::Shifted { weight, .. } => {
                write!(f, "{weight} of the traffic to the new revision")
            }
            Self::SlotFailed { slot, why } => write!(f, "slot {slot} failed: {why}"),
            Self::Paused { pause, reason } => {
                // Who made it stands beside every moment.
                f.write_str("paused")?;
                if *pause != Pause::User {
                    write!(f, " {pause}")?;
                }
                if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
            }
            Self::Resumed => f.write_str("resumed"),
            Self::Promoted { how } => write!(f, "promoted {how}"),
            Self::Approved { role, comment } => {
                f.write_str("approved")?;
                if let Some(role) = role {
                    write!(f, " as {role}")?;
                }
                if comment.is_empty() { Ok(()) } else { write!(f, ": {comment}") }
            }
            Self::HooksCalled { on, count } => {
                write!(f, "{} called at {on}", counted(*count, "hook"))
            }
            Self::HookFailed { on, why } => write!(f, "a hook at {on} failed: {why}"),
            Self::Accepted => f.write_str("accepted: the new revision is the stable one"),
            Self::Aborted { reason, back, .. } => write!(f, "goes back {back}: {reason}"),
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
