//! The outbox: calls of hooks that are to be made. They are part of the replicated state, so that a new leader makes
//! those that the old one did not; each is made at least once.

use crate::id::{NoticeId, RevisionNumber, RolloutId, ServiceId};
use crate::rollout::{Happened, Moment, Phase};
use crate::spec::{Hash, Hook, Image, PinnedImage, ServiceName, Strategy};
use crate::units::Weight;
use serde::{Deserialize, Serialize};

/// Calls that wait. Of more, the oldest that only tell are dropped: a receiver that is down for so many changes of
/// releases is told of the newest.
pub const NOTICES_MAX: usize = 1_000;

/// One call to make, with every fact that it carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// Its id, which the receiver may use to see a repetition.
    pub id: NoticeId,
    /// Where to and how.
    pub hook: Hook,
    /// Whose release.
    pub service: ServiceId,
    /// The service's name.
    pub name: ServiceName,
    /// Which release.
    pub rollout: RolloutId,
    /// Its attempt.
    pub attempt: u32,
    /// Its shape.
    pub strategy: Strategy,
    /// How far it is.
    pub phase: Phase,
    /// In which step, from 1; 0 where it has none.
    pub step: u32,
    /// The new revision's share.
    pub weight: Weight,
    /// From where; absent in a first deployment.
    pub from: Option<RevisionNumber>,
    /// To where.
    pub to: RevisionNumber,
    /// The hash of the new revision.
    pub checksum: Hash,
    /// The new revision's image.
    pub image: Image,
    /// What that name meant.
    pub pinned: Option<PinnedImage>,
    /// What happened.
    pub moment: Moment,
}

impl Happened {
    /// What happened in one word, for programs that take events apart: the name of the phase or the outcome where it
    /// came to one.
    #[must_use]
    pub fn word(&self) -> String {
        let word = match self {
            Self::Entered { phase, .. } => return phase.to_string(),
            Self::Ended { outcome, .. } => return outcome.to_string(),
            Self::Started => "started",
            Self::FreezeOverridden { .. } => "freeze-overridden",
            Self::Unqueued { .. } => "unqueued",
            Self::Shifted { .. } => "shifted",
            Self::SlotFailed { .. } => "slot-failed",
            Self::Paused { .. } => "paused",
            Self::Resumed => "resumed",
            Self::Promoted { .. } => "promoted",
            Self::Approved { .. } => "approved",
            Self::HooksCalled { .. } => "hooks-called",
            Self::HookFailed { .. } => "hook-failed",
            Self::Accepted => "accepted",
            Self::Aborted { .. } => "aborted",
            Self::Retried { .. } => "retried",
        };
        word.to_owned()
    }
}
