//! The words in which openraft speaks of Warren's log. Nothing of this leaves the crate.

use serde::{Deserialize, Serialize};
use std::io::Cursor;
use warren_core::command::{Applied, Command, Rejection};
use warren_core::time::{ClusterTime, WallTime};

openraft::declare_raft_types!(
    /// Warren's choice of types.
    pub(crate) TypeConfig: D = Batch, R = Outcomes, Node = Peer
);

pub(crate) type Core = openraft::Raft<TypeConfig>;
pub(crate) type RawEntry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::StoredMembership<u64, Peer>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Peer>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, Peer>;

/// What one log entry holds: commands that were asked for at about the same time and share an fsync.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// The leader's stamp.
    pub(crate) at: ClusterTime,
    /// The leader's wall clock, for display.
    pub(crate) wall: WallTime,
    /// In the order in which they are applied.
    pub(crate) commands: Vec<Command>,
}

/// What became of each command of a batch, in its order.
pub(crate) type Outcomes = Vec<Result<Applied, Rejection>>;

/// A manager as the others know it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Where its port for other nodes is: `host:port`. Empty for a cluster of one that listens to nobody yet.
    pub(crate) address: String,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address)
    }
}
