//! What a node's Raft needs to know before it starts.

use crate::db::memory::MemoryDisk;
use crate::transport::Transport;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use warren_core::id::NodeId;

/// What [`crate::start`] is given.
#[derive(Clone)]
pub struct Options {
    /// The node's data directory; Raft keeps to the folder `raft` in it. Unused with [`StoreKind::Memory`].
    pub data_dir: PathBuf,
    /// Which engine holds the log.
    pub store: StoreKind,
    /// This node's id, the same for as long as the data directory lives.
    pub node: NodeId,
    /// Where this node says that the other managers reach it: `host:port`. Empty for one that listens to nobody.
    pub address: String,
    /// How long Raft waits for what.
    pub timers: Timers,
    /// When the log is folded into a snapshot.
    pub snapshots: SnapshotPolicy,
    /// The way to the other managers.
    pub transport: Arc<dyn Transport>,
}

/// Which engine holds the log.
#[derive(Clone, Debug, Default)]
pub enum StoreKind {
    /// One redb file. The default: docs/adr/0001-stores.md says why.
    #[default]
    Redb,
    /// A sled directory, with an fdatasync of our own at each commit.
    Sled,
    /// Memory, for simulations: nothing survives the process.
    Memory(MemoryDisk),
}

impl StoreKind {
    /// The word for it on the command line and on disk.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::Sled => "sled",
            Self::Memory(_) => "memory",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a store: write redb or sled")]
pub struct UnknownStore(pub String);

impl FromStr for StoreKind {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        match text {
            "redb" => Ok(Self::Redb),
            "sled" => Ok(Self::Sled),
            other => Err(UnknownStore(other.to_owned())),
        }
    }
}

/// How long Raft waits for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// Between two signs of life of a leader.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower asks whether it may stand for election, and lets another stand;
    /// also how long a leader leads after a majority last answered it. At least ten times a slow fsync, since an fsync
    /// holds up heartbeats.
    pub election_min: Duration,
    /// The longest silence after which a follower asks. A leader that no majority answers for twice as long gives up.
    pub election_max: Duration,
    /// How long a proposal or a barrier may take before its caller is told [`crate::ProposeError::Timeout`].
    pub propose: Duration,
}

/// 200 / 600 / 1200 ms: a lost leader is replaced in about a second, and a disk or a starved processor may stall for
/// 600 ms without a needless election. With half of that, three managers on two cores with five times as much work as
/// they could do elected one leader after the other (38 terms within a minute); it saved half a second at each
/// failover.
pub const TIMERS: Timers = Timers {
    heartbeat: Duration::from_millis(200),
    election_min: Duration::from_millis(600),
    election_max: Duration::from_millis(1_200),
    propose: Duration::from_secs(10),
};

/// When the log is folded into a snapshot: whichever comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotPolicy {
    /// After so many entries since the last one.
    pub entries: u64,
    /// After so many bytes of entries since the last one.
    pub bytes: u64,
    /// So many entries stay in the log behind a snapshot, for followers that are a little late.
    pub keep: u64,
}

/// 8,192 entries are read back in well under a second at start; 64 MiB bound the file where entries are large.
pub const SNAPSHOTS: SnapshotPolicy = SnapshotPolicy { entries: 8_192, bytes: 64 << 20, keep: 512 };
