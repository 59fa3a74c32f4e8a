//! Logs of managers that do not run: the state that one holds, a new one that begins with a state, and the state alone
//! as bytes, as a backup has it.

use crate::dir::{self, StoreDir, sync_dir};
use crate::error::{FaultCell, StartError, StorageFault};
use crate::log_store::VALUE_PLACE;
use crate::options::StoreKind;
use crate::record;
use crate::snapshot::{self, SnapshotStore};
use crate::start::{open_dir, open_engine};
use crate::types::{LogId, Membership, Peer, SnapshotMeta, Vote};
use crate::{Key, Op};
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use warren_core::State;
use warren_core::id::{LogIndex, NodeId};

/// Where a state lies that is no part of a log, for its checksum.
const STATE_PLACE: u64 = 1;

/// Entries that are applied at once while a log is read.
const READ_ENTRIES: u64 = 1_024;

/// The folder in which a log is made that is to take another's place.
const DRAFT: &str = "recovering";

/// The bytes of a state, with a version and a checksum.
///
/// # Errors
/// The state cannot be encoded; a fault of this program.
pub fn encode_state(state: &State) -> Result<Vec<u8>, String> {
    record::seal(STATE_PLACE, state).map_err(|flaw| flaw.to_string())
}

/// The state in what [`encode_state`] made.
///
/// # Errors
/// The bytes are damaged, or of a newer build.
pub fn decode_state(bytes: &[u8]) -> Result<State, String> {
    record::open(STATE_PLACE, bytes).map_err(|flaw| flaw.to_string())
}

/// What a manager that does not run has on its disk.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The state with every entry that this manager has, agreed on or not: an acknowledged one may be any of them.
    pub state: State,
    /// The last of these entries.
    pub last: LogIndex,
    /// Up to where this manager knew that they are agreed on.
    pub committed: LogIndex,
    /// The newest term that it took part in.
    pub term: u64,
    /// Who voted, as it knew them last, and where each was reached.
    pub voters: BTreeMap<NodeId, String>,
}

/// The engine that the log in `data_dir` was made with; absent where there is no log.
#[must_use]
pub fn store_in(data_dir: &Path) -> Option<StoreKind> {
    let text = fs::read_to_string(data_dir.join("raft/FORMAT")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("store "))?.trim().parse().ok()
}

/// Reads the log of manager `node` in `data_dir`, which no process may use meanwhile.
///
/// # Errors
/// It is in use, damaged, of another node, or holds no cluster.
pub async fn survey(data_dir: &Path, kind: &StoreKind, node: NodeId) -> Result<Survey, StartError> {
    let (path, owned) = (data_dir.to_owned(), kind.clone());
    let opened =
        tokio::task::spawn_blocking(move || open_dir(&path, node, &owned, FaultCell::default()));
    let opened = opened.await.map_err(|error| StartError::Engine(error.to_string()))??;
    let unreadable = |error: crate::types::StorageError| StartError::Engine(error.to_string());
    let (mut log, mut machine) = (opened.log, opened.machine);
    let ends = log.get_log_state().await.map_err(unreadable)?;
    let vote = log.read_vote().await.map_err(unreadable)?;
    let committed = log.read_committed().await.map_err(unreadable)?;
    let last = ends.last_log_id.map_or(0, |id| id.index);
    let committed = committed.max(machine.applied()).map_or(0, |id| id.index);
    let mut next = machine.applied().map_or(0, |id| id.index + 1);
    while next <= last {
        let entries = log.try_get_log_entries(next..next + READ_ENTRIES).await;
        let entries = entries.map_err(unreadable)?;
        let Some(end) = entries.last().map(|entry| entry.log_id.index) else {
            let path = data_dir.join("raft");
            return Err(StorageFault::damaged(&path, format!("log entry {next} is missing")).into());
        };
        machine.apply(entries).await.map_err(unreadable)?;
        next = end + 1;
    }
    let (_, members) = machine.applied_state().await.map_err(unreadable)?;
    let votes: BTreeSet<u64> = members.membership().voter_ids().collect();
    let voters = members.membership().nodes().filter(|(id, _)| votes.contains(id));
    let term = vote.map_or(0, |vote| vote.leader_id().term);
    let state = opened.state.borrow().as_ref().clone();
    Ok(Survey {
        state,
        last: LogIndex(last),
        committed: LogIndex(committed),
        term: term.max(ends.last_log_id.map_or(0, |id| id.leader_id.term)),
        voters: voters.map(|(id, peer)| (NodeId(*id), peer.address.clone())).collect(),
    })
}

/// A log that begins with a state.
#[derive(Debug)]
pub struct Founding {
    /// The state. The log goes on after the entry that it was applied to.
    pub state: State,
    /// The only voter.
    pub node: NodeId,
    /// Where other nodes reach it; a wrong one is set right once the node says where it is.
    pub address: String,
    /// A term that is newer than any that the cluster had.
    pub term: u64,
}

/// Makes a log in `data_dir`, which has none.
///
/// # Errors
/// There is a log already, or it cannot be written.
pub fn plant(data_dir: &Path, kind: &StoreKind, founding: &Founding) -> Result<(), StartError> {
    let raft = data_dir.join("raft");
    if raft.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(StartError::NotWritable { path: raft, source });
    }
    let claimed = StoreDir::claim(data_dir, founding.node, kind)?;
    let path = claimed.log(kind);
    dir::check_space(&path)?;
    let unusable = |error| StorageFault::from_io("write to", &path, error);
    claimed.make_log(kind, |new| open_engine(kind, new).map(drop)).map_err(unusable)?;
    let db = open_engine(kind, &path).map_err(unusable)?;
    let (node, index) = (founding.node.0, founding.state.applied().0);
    let leader = openraft::CommittedLeaderId::new(founding.term, node);
    let last = LogId::new(leader, index);
    let peer = Peer { address: founding.address.clone() };
    let members =
        openraft::Membership::new(vec![BTreeSet::from([node])], BTreeMap::from([(node, peer)]));
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: Membership::new(Some(last), members),
        snapshot_id: last.to_string(),
    };
    let bytes = snapshot::encode(&meta, &founding.state).map_err(unusable)?;
    SnapshotStore::Dir(claimed.snapshots()).save(index, bytes)?;
    let sealed = |value: Result<Vec<u8>, record::Flaw>| {
        value
            .map_err(|flaw| StorageFault::from_io("encode for", &path, std::io::Error::other(flaw)))
    };
    let vote = Vote::new(founding.term, node);
    let values = vec![
        Op::Set(Key::Vote, sealed(record::seal(VALUE_PLACE, &vote))?),
        Op::Set(Key::Purged, sealed(record::seal(VALUE_PLACE, &last))?),
    ];
    db.commit(values).map_err(unusable)?;
    Ok(())
}

/// Puts a new log in the place of the one in `data_dir`, at once or not at all, and returns where the old one is kept.
///
/// # Errors
/// It cannot be written; the old log is where it was then.
pub fn replant(
    data_dir: &Path,
    kind: &StoreKind,
    founding: &Founding,
) -> Result<PathBuf, StartError> {
    let (raft, draft) = (data_dir.join("raft"), data_dir.join(DRAFT));
    let failed = |error| StartError::Storage(StorageFault::from_io("replace", &raft, error));
    // What an interrupted attempt has left may be the log that it took the place of.
    if draft.join("raft").exists() {
        fs::rename(draft.join("raft"), free_name(data_dir)).map_err(failed)?;
    }
    fs::create_dir_all(&draft).map_err(failed)?;
    plant(&draft, kind, founding)?;
    let both = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
    let (here, new) = (nix::fcntl::AT_FDCWD, draft.join("raft"));
    nix::fcntl::renameat2(here, &new, here, &raft, both).map_err(|e| failed(e.into()))?;
    let kept = free_name(data_dir);
    fs::rename(&new, &kept).map_err(failed)?;
    fs::remove_dir(&draft).map_err(failed)?;
    sync_dir(data_dir).map_err(failed)?;
    Ok(kept)
}

/// `raft.before-1`, or the next number that is free.
fn free_name(data_dir: &Path) -> PathBuf {
    let names = (1_u64..).map(|number| data_dir.join(format!("raft.before-{number}")));
    names.into_iter().find(|path| !path.exists()).unwrap_or_else(|| data_dir.join("raft.before"))
}

#[cfg(test)]
mod tests;
