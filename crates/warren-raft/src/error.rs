//! What can go wrong with durable state, and what to do then.

use crate::record::{self, Flaw};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use warren_core::id::NodeId;

/// Durable state cannot be read or written. Raft stops at the first one, but for a disk that is merely low on space.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageFault {
    /// The disk is full, or so nearly that nothing new is taken.
    #[error(
        "no space left for {}: {free_mib} MiB free, {need_mib} MiB needed; nothing acknowledged is lost; make space \
         there and try again", path.display()
    )]
    DiskFull {
        /// Where the state lies.
        path: PathBuf,
        /// What is free there, in MiB.
        free_mib: u64,
        /// What must be free for new writes, in MiB.
        need_mib: u64,
    },
    /// A file does not hold what was written to it.
    #[error(
        "{} is damaged: {what}; keep a copy of the directory {}, then restore a backup of it, or, where other \
         managers hold the same state, move it away and join this node again", path.display(), dir.display()
    )]
    Damaged {
        /// The file, or the directory of an engine's files.
        path: PathBuf,
        /// The directory that goes with it.
        dir: PathBuf,
        /// What is wrong in it, with the log index where there is one.
        what: String,
    },
    /// A newer build has written it.
    #[error(
        "{} holds format {found} and this build reads up to {supported}: start the newer build again",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u8,
        /// The newest format this build reads.
        supported: u8,
    },
    /// The system refused.
    #[error("cannot {doing} {}: check the disk and its permissions, then start again", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
}

impl StorageFault {
    /// What an engine's error at `doing` means for the store in `path`.
    pub(crate) fn from_io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.to_owned(),
                free_mib: crate::dir::free_bytes(path).map_or(0, |free| free >> 20),
                need_mib: crate::dir::RESERVE_BYTES >> 20,
            },
            io::ErrorKind::InvalidData => Self::damaged(path, error.to_string()),
            _ => Self::Io { doing, path: path.to_owned(), source: Arc::new(error) },
        }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        let dir = path.parent().unwrap_or(path).to_owned();
        Self::Damaged { path: path.to_owned(), dir, what: what.into() }
    }

    /// What a flaw in `what` means, which lies in `path`.
    pub(crate) fn flawed(path: &Path, what: &str, flaw: &Flaw) -> Self {
        match flaw {
            Flaw::TooNew { found } => {
                Self::TooNew { path: path.to_owned(), found: *found, supported: record::VERSION }
            }
            Flaw::Short(_) | Flaw::Checksum | Flaw::Meaning(_) => {
                Self::damaged(path, format!("{what}: {flaw}"))
            }
        }
    }
}

/// A node's Raft does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process uses the directory.
    #[error(
        "{} is in use by {}: stop that one first, or choose another data directory", path.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that has it, where it said so.
        holder: Option<u32>,
    },
    /// The directory cannot be made or written.
    #[error(
        "cannot write to {}: run as a user who may, or choose another data directory", path.display()
    )]
    NotWritable {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory was made with another engine.
    #[error(
        "{} was made with --store {found}, not {asked}: start with --store {found}, or with an empty data directory",
        path.display()
    )]
    OtherStore {
        /// The directory.
        path: PathBuf,
        /// The engine it was made with.
        found: String,
        /// The engine asked for.
        asked: &'static str,
    },
    /// The directory is another node's.
    #[error(
        "{} belongs to node {found}, not to {asked}: two nodes never share a data directory or a copy of one",
        path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        asked: NodeId,
    },
    /// The stored state cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageFault),
    /// The timers contradict each other.
    #[error(
        "the Raft timers do not fit together: {0}; keep heartbeat < election min < election max"
    )]
    Timers(String),
    /// The consensus engine refused to start.
    #[error("consensus did not start: {0}")]
    Engine(String),
}

/// A proposal or a barrier did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// This manager does not lead. Nothing was done; ask the leader.
    #[error("this manager does not lead; {}", match leader {
        Some(leader) => format!("{} does", leader.node),
        None => "there is no leader at the moment, try again shortly".to_owned(),
    })]
    NotLeader {
        /// Who leads, as far as known.
        leader: Option<Leader>,
    },
    /// More is waiting than the queue holds. Nothing was done; try again shortly.
    #[error("too many changes are waiting to be written: try again shortly")]
    Overloaded,
    /// The commands do not fit into one entry. Nothing was done.
    #[error(
        "the change is {bytes} bytes in {commands} commands; at most {bytes_max} in {commands_max} can be written at once"
    )]
    TooLarge {
        /// Their encoded size.
        bytes: usize,
        /// Their number.
        commands: usize,
        /// The largest size of one entry.
        bytes_max: usize,
        /// The largest number of commands of one entry.
        commands_max: usize,
    },
    /// Durable state cannot be written. With [`StorageFault::DiskFull`] nothing was done and the node goes on; with
    /// any other the node stops, and a change in flight may or may not have been made.
    #[error(transparent)]
    Storage(StorageFault),
    /// No majority answered in time. The change may still be made, or may not.
    #[error(
        "no majority of the managers agreed in time: the change may or may not be made; look before you repeat it"
    )]
    Timeout,
    /// This node is stopping. A change in flight may or may not have been made.
    #[error("this manager is stopping")]
    Stopped,
}

/// Who leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    /// The node.
    pub node: NodeId,
    /// Where it listens for other nodes.
    pub address: String,
}

/// Who may vote was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MembershipError {
    /// The cluster has voters already; [`crate::Raft::init_single`] is for an empty data directory.
    #[error("this data directory holds a cluster already")]
    AlreadyInitialised,
    /// The change needs a leader, or could not be agreed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Another change is under way, or a voter is not known.
    #[error("the managers cannot be changed so: {0}")]
    Refused(String),
}

/// The lead was not handed over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandOverError {
    /// This manager does not lead, or has stopped to meanwhile.
    #[error("this manager does not lead, so it has nothing to hand over")]
    NotLeader,
    /// Nobody else votes.
    #[error("no other manager votes, so there is nobody to hand over to")]
    Alone,
    /// What was being written was not settled in time, or another hand-over is under way. This manager leads on.
    #[error("what is being written was not settled in time: try again shortly")]
    Busy,
    /// No other manager took over in time. This manager leads on, unless an election says otherwise.
    #[error("no other manager took over in time: {why}")]
    NotTaken {
        /// Who was tried, and what came of it.
        why: String,
    },
}

/// The first fault of a node's storage, told to everyone who asks later.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultCell(Arc<OnceLock<StorageFault>>);

impl FaultCell {
    /// Keeps `fault` if it is the first, and wraps it for openraft, which then stops.
    pub(crate) fn fatal(&self, fault: StorageFault) -> crate::types::StorageError {
        let wrapped = openraft::StorageIOError::new(
            openraft::ErrorSubject::Store,
            openraft::ErrorVerb::Read,
            openraft::AnyError::error(&fault),
        );
        if self.0.set(fault.clone()).is_ok() {
            tracing::error!(error = %fault, "durable state failed");
        }
        wrapped.into()
    }

    pub(crate) fn fault(&self) -> Option<StorageFault> {
        self.0.get().cloned()
    }
}
