//! Tasks: the placed runs of revisions.

use crate::id::{NodeId, RevisionNumber, ServiceId, Slot, TaskId};
use crate::rollout::Kind;
use crate::service::Service;
use crate::spec::Strategy;
use crate::time::ClusterTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// How far a task has come. It only grows; everything from [`Phase::Completed`] on is final.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Given to a node.
    Assigned,
    /// The node fetches what it needs.
    Preparing,
    /// The container is being started.
    Starting,
    /// The container runs. Restarts in place leave a task here.
    Running,
    /// Ended well, and is not wanted again.
    Completed,
    /// Ended badly, and the node gave up.
    Failed,
    /// Could never be started on its node.
    Rejected,
    /// Stopped because that was asked.
    Stopped,
    /// Its node is gone.
    Lost,
}

impl Phase {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_final(self) -> bool {
        self >= Self::Completed
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assigned => "assigned",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
        })
    }
}

/// Why a task is taken away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum StopReason {
    /// The service has fewer replicas now.
    ScaledIn,
    /// Another task took its slot.
    Replaced,
    /// Its service is being deleted.
    Deleted,
    /// Its node is being drained, or no longer fits.
    Moved,
    /// The drain of its node has a deadline, which has passed.
    Overdue,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ScaledIn => "scaled in",
            Self::Replaced => "replaced",
            Self::Deleted => "service deleted",
            Self::Moved => "moved to another node",
            Self::Overdue => "the drain of its node has come to its deadline",
        })
    }
}

/// What the cluster wants of a task. It only goes down the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Desired {
    /// Run and get traffic.
    Run,
    /// Run without new traffic, until no resolver answers with it and caches have expired.
    Drain {
        /// When it was taken out of traffic.
        since: ClusterTime,
        /// The first traffic epoch without it.
        epoch: u64,
        /// Why.
        reason: StopReason,
    },
    /// Stop.
    Stop {
        /// Why.
        reason: StopReason,
    },
}

/// How a task ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct End {
    /// The exit code; 128 + n after signal n; absent where the container never ran or cannot be asked.
    pub code: Option<i32>,
    /// Whether the kernel killed it for memory.
    pub out_of_memory: bool,
    /// A sentence for people, [`END_MESSAGE_BYTES_MAX`] at most.
    pub message: String,
}

/// The longest message of an end: it is kept in the replicated state.
pub const END_MESSAGE_BYTES_MAX: usize = 512;

/// What a revision was to its service when a task of it was placed. It is written on the container, which cannot be
/// told later what has become of its revision since.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DeploymentState {
    /// It had all traffic.
    Active,
    /// It waited for a switch.
    Standby,
    /// It had a growing share of traffic.
    Canary,
    /// It replaced its predecessor batch by batch.
    Rolling,
    /// Its rollout had failed.
    Failed,
    /// It was brought back.
    RolledBack,
}

impl DeploymentState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Active, Self::Standby, Self::Canary, Self::Rolling, Self::Failed, Self::RolledBack];
}

impl fmt::Display for DeploymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Canary => "canary",
            Self::Rolling => "rolling",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
        })
    }
}

/// How a task's revision came in, as its container says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Track {
    /// The shape of the release.
    pub strategy: Strategy,
    /// What the revision was to the service then.
    pub state: DeploymentState,
}

impl Track {
    /// The track of a task of `revision` that is placed now.
    #[must_use]
    pub fn of(service: &Service, revision: RevisionNumber) -> Self {
        let at_rest = (service.spec.update.strategy, DeploymentState::Active);
        let (strategy, state) = service.rollout.as_ref().map_or(at_rest, |live| {
            let coming = revision == live.to && !live.phase.is_back();
            let state = match (coming, live.kind) {
                (true, Kind::Rollback) => DeploymentState::RolledBack,
                (true, Kind::Deploy) => DeploymentState::Active,
                (true, Kind::Update) => match live.strategy {
                    Strategy::Canary => DeploymentState::Canary,
                    Strategy::BlueGreen => DeploymentState::Standby,
                    Strategy::Rolling | Strategy::Recreate => DeploymentState::Rolling,
                },
                (false, _) if live.phase.is_back() => DeploymentState::RolledBack,
                (false, _) => DeploymentState::Active,
            };
            (live.strategy, state)
        });
        Self { strategy, state }
    }
}

/// One placed run of a revision in a slot of a service. Its service, revision, slot, node and address never change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Whose task.
    pub service: ServiceId,
    /// What it runs.
    pub revision: RevisionNumber,
    /// The slot it fills.
    pub slot: Slot,
    /// Where.
    pub node: NodeId,
    /// Its own address, from the node's subnet.
    pub address: Ipv4Addr,
    /// The service's restart round when it was placed.
    pub round: u32,
    /// How its revision came in.
    pub track: Track,
    /// How far it has come.
    pub phase: Phase,
    /// What is wanted of it.
    pub desired: Desired,
    /// When it was placed.
    pub created: ClusterTime,
    /// When `phase` changed last.
    pub changed: ClusterTime,
    /// How it ended, once it has.
    pub end: Option<End>,
}

impl Task {
    /// Whether it has not ended.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.phase.is_final()
    }

    /// Whether it has not ended and is wanted.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_live() && self.desired == Desired::Run
    }

    /// Whether it ended badly of itself.
    #[must_use]
    pub fn end_was_failure(&self) -> bool {
        matches!(self.phase, Phase::Failed | Phase::Rejected)
    }

    /// Whether it may get traffic when it is ready.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.phase == Phase::Running && self.desired == Desired::Run
    }
}
