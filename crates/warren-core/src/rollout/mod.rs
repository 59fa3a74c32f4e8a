//! Releases: how a service moves from one revision to another.
//!
//! A release is an object in the replicated state ([`Rollout`]). What it does next is decided by [`step`], a function
//! of the state and of what was heard, afresh in each round of planning; what it wants of tasks meanwhile is its
//! [`Shape`]. Nothing sleeps and nothing is remembered outside of the state, so a new leader goes on where the old one
//! stopped.
//!
//! | strategy | file | way |
//! |---|---|---|
//! | rolling | `rolling` | batch by batch within surge and unavailable, no split |
//! | recreate | `recreate` | all old tasks stop, then the new ones start |
//! | canary, blue-green | `canary`, `blue_green`, `beside` | two revisions beside each other and a list of steps |
//! | the way back of all | `rollback` | traffic first, then tasks |

mod beside;
mod blue_green;
mod canary;
mod facts;
mod forecast;
mod gate;
mod moves;
mod object;
mod phase;
mod recreate;
mod rollback;
pub(crate) mod rolling;
mod step;
mod timeline;
mod trouble;
mod wait;

pub use facts::{Facts, Track, Verdict};
pub use forecast::{Forecast, Planned, forecast};
pub use moves::Move;
pub use object::{
    Abort, Approval, Called, End, Haste, Paused, REASON_BYTES_MAX, ROLLOUTS_KEPT, Rollout, Runs,
};
pub use phase::{Back, Kind, Outcome, Pause, Phase, Trigger};
pub use step::{Next, Shape, steps_of};
pub(crate) use step::{shape, step};
pub use timeline::{Happened, MOMENTS_KEPT, Moment, Promotion};
pub(crate) use trouble::has_failed;
pub use wait::{RolloutWait, paused};
