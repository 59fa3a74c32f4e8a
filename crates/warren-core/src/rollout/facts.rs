//! What a release looks at: counts of tasks per revision, what resolvers have acknowledged, and who holds it.

use crate::id::{NodeId, Slot};
use crate::service::Freeze;
use crate::time::ClusterTime;
use crate::units::Weight;

/// What measurements say of the new revision. Without an analysis it is always [`Verdict::Pass`]: readiness, restarts
/// and deadlines are judged by the release itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// Good enough.
    #[default]
    Pass,
    /// Not enough was measured.
    NoData,
    /// The source of the metrics does not answer.
    Error,
    /// Neither good nor bad.
    Inconclusive,
    /// Not good enough.
    Fail,
}

/// The tasks of one revision of a service, or of all others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Track {
    /// Tasks that have not ended.
    pub live: u32,
    /// Tasks that have not ended and are wanted.
    pub wanted: u32,
    /// Tasks that get traffic when their revision does.
    pub ready: u32,
    /// Tasks that have been ready for `min_ready`.
    pub available: u32,
    /// Wanted slots with an available task, or whose task ended and is not wanted again.
    pub done: u32,
    /// When the next task will have been ready long enough.
    pub next: Option<ClusterTime>,
}

/// Everything that a step of a release is decided from, besides the release itself.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Now.
    pub now: ClusterTime,
    /// Tasks wanted of the service.
    pub replicas: u32,
    /// The revision that the release started from.
    pub from: Track,
    /// The revision that comes in.
    pub to: Track,
    /// All other revisions: what superseded releases left behind.
    pub others: Track,
    /// The new revision's share in force; absent where shares are equal.
    pub share: Option<Weight>,
    /// Whether a revision other than the two has a share.
    pub strangers: bool,
    /// When the split was changed last.
    pub split_since: ClusterTime,
    /// When every resolver answers by it: acknowledged, or cut off for the traffic lease.
    pub settled_at: ClusterTime,
    /// Resolvers that have not acknowledged it.
    pub unacked: Vec<NodeId>,
    /// What holds releases now.
    pub frozen: Option<&'a Freeze>,
    /// What measurements say.
    pub verdict: Verdict,
    /// Slots of the new revision that fail now, each with how.
    pub failing: Vec<(Slot, String)>,
    /// When the next task of the new revision will have taken too long to become ready.
    pub unready_until: Option<ClusterTime>,
}

impl Facts<'_> {
    /// Whether every resolver answers by the split.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled_at <= self.now
    }
}
