//! What a plan may ask of a rollout. Each is one entry; its guard is the rollout's `seq`.

use super::{Pause, Phase, Trigger};
use crate::id::Slot;
use crate::spec::HookPoint;
use crate::units::Weight;
use serde::{Deserialize, Serialize};

/// One move of a rollout.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Move {
    /// To another phase of the same step.
    Enter(Phase),
    /// To the step with this index.
    Step(u32),
    /// A new split: the new revision gets `weight`, the old one the rest; and to `next`.
    Shift {
        /// The new revision's share.
        weight: Weight,
        /// The phase that follows.
        next: Phase,
    },
    /// No split: every ready task has an equal share; and to `next`.
    Unsplit {
        /// The phase that follows.
        next: Phase,
    },
    /// The hold counts from now on, or not any more.
    Clock {
        /// Whether it counts.
        running: bool,
    },
    /// So many tasks of the new revision have been available at once, more than ever in this step.
    Available(u32),
    /// A slot of the new revision failed.
    FailSlot {
        /// Which.
        slot: Slot,
        /// How.
        why: String,
    },
    /// Stands still until a person says otherwise.
    Pause {
        /// Why.
        pause: Pause,
        /// In words.
        reason: String,
    },
    /// The hooks of a gate are to be called.
    CallHooks(HookPoint),
    /// The new revision is the stable one.
    Accept,
    /// Goes back.
    Abort {
        /// What set it off.
        trigger: Trigger,
        /// In words.
        reason: String,
    },
    /// The new revision is in place and nothing of the old one is left, or the other way round.
    Finish,
}
