//! From a data directory to a running manager.

use crate::campaign::Elections;
use crate::db::redb::RedbLog;
use crate::db::sled::SledLog;
use crate::db::{LogDb, memory::MemoryDisk};
use crate::dir::{self, StoreDir};
use crate::election::{Chance, Election};
use crate::error::{FaultCell, StartError, StorageFault};
use crate::handover::GATE_PASSES;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::mark::MarkFile;
use crate::network::Links;
use crate::options::{Options, SnapshotPolicy, StoreKind, Timers};
use crate::post::Post;
use crate::raft::{Leadership, QUEUE_BYTES_MAX, QUEUE_PROPOSALS_MAX, Raft, Shared};
use crate::runner::Runner;
use crate::snapshot::SnapshotStore;
use crate::types::Core;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use warren_core::State;
use warren_core::id::NodeId;
use warren_core::time::millis;

/// A piece of a snapshot: small beside the 4 MiB that gRPC takes.
const SNAPSHOT_CHUNK_BYTES: u64 = 1 << 20;

/// How long a follower may take for a piece of a snapshot; at the last one it writes the whole to its disk.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Entries in one message to a follower. Their bytes are limited as well, where they are read.
const APPEND_ENTRIES_MAX: u64 = 256;

/// What a data directory holds, opened and checked.
pub(crate) struct Opened {
    pub(crate) log: LogStore,
    pub(crate) machine: Machine,
    pub(crate) state: watch::Receiver<Arc<State>>,
    path: PathBuf,
    released: mpsc::Receiver<Infallible>,
}

/// Opens a data directory, checks all of it, and starts to take part in consensus. Nothing is written for callers
/// before the [`Runner`] runs.
///
/// # Errors
/// See [`StartError`]: each says what to do.
pub async fn start(options: Options) -> Result<(Raft, Runner), StartError> {
    // Keyed anew in each process, so two nodes never draw the same times. Elections need no better chance than that.
    let seed = RandomState::new().hash_one(options.node);
    start_seeded(options, seed).await
}

/// As [`start`], with the seed of what this node leaves to chance.
pub(crate) async fn start_seeded(
    options: Options,
    seed: u64,
) -> Result<(Raft, Runner), StartError> {
    let config = config(&options.timers, &options.snapshots)?;
    let faults = FaultCell::default();
    let opened = open(&options, faults.clone()).await?;
    let election = Election::new(options.timers, Chance::seeded(seed), Instant::now());
    let elections = Elections::new(election);
    let Options { node, address, timers, transport, .. } = options.clone();
    let post = Post::new(node, address, &timers, transport);
    let (heartbeat, told) = (timers.heartbeat, elections.clone());
    let links = Links { me: node, heartbeat, post: post.clone(), elections: told };
    let log = opened.log.clone();
    let core = Core::new(options.node.0, Arc::new(config), links, log, opened.machine).await;
    let core = core.map_err(|fatal| match faults.fault() {
        Some(fault) => StartError::Storage(fault),
        None => StartError::Engine(fatal.to_string()),
    })?;
    let (proposals, queue) = mpsc::channel(QUEUE_PROPOSALS_MAX);
    let (leadership, seen) = watch::channel(Leadership::None);
    let (handing, handed) = watch::channel(false);
    let shared = Arc::new(Shared {
        node: options.node,
        store: options.store.name(),
        timers: options.timers,
        core,
        post,
        elections,
        gate: Arc::new(Semaphore::new(GATE_PASSES as usize)),
        handing,
        proposals,
        room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        state: opened.state,
        leadership: seen,
        clock: Mutex::default(),
        faults,
        full: AtomicBool::new(false),
    });
    let runner = Runner {
        shared: Arc::clone(&shared),
        queue,
        handing: handed,
        leadership,
        log: opened.log,
        released: opened.released,
        store: options.store,
        path: opened.path,
        snapshots: options.snapshots,
    };
    Ok((Raft { shared }, runner))
}

fn config(timers: &Timers, snapshots: &SnapshotPolicy) -> Result<openraft::Config, StartError> {
    let (heartbeat, lease) = (millis(timers.heartbeat), millis(timers.election_min));
    if timers.election_min >= timers.election_max || heartbeat + 2 > lease {
        return Err(StartError::Timers(format!(
            "heartbeat {heartbeat} ms, election min {lease} ms, election max {} ms",
            millis(timers.election_max)
        )));
    }
    let config = openraft::Config {
        cluster_name: "warren".to_owned(),
        // Warren sends them itself, and leaves an answer the time after which a leader is in doubt.
        enable_heartbeat: false,
        heartbeat_interval: lease - 2,
        // Warren begins elections itself. Of openraft's two times the longer one is now only how long a manager gives
        // nobody its vote after it heard a leader, and the shorter one how long a candidate waits for an answer.
        enable_elect: false,
        election_timeout_min: lease - 1,
        election_timeout_max: lease,
        install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
        max_payload_entries: APPEND_ENTRIES_MAX,
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
        // The runner asks for them, by bytes too, and only where the disk has room.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: snapshots.keep,
        replication_lag_threshold: snapshots.entries.max(snapshots.keep) + snapshots.keep,
        ..openraft::Config::default()
    };
    config.validate().map_err(|error| StartError::Timers(error.to_string()))
}

async fn open(options: &Options, faults: FaultCell) -> Result<Opened, StartError> {
    let (node, kind) = (options.node, options.store.clone());
    if let StoreKind::Memory(disk) = &kind {
        return open_memory(disk, faults);
    }
    let data_dir = options.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || open_dir(&data_dir, node, &kind, faults));
    opened.await.map_err(|error| StartError::Engine(error.to_string()))?
}

fn open_memory(disk: &MemoryDisk, faults: FaultCell) -> Result<Opened, StartError> {
    let (alive, released) = mpsc::channel(1);
    let path = PathBuf::from("memory");
    let snapshots = SnapshotStore::Memory(disk.clone());
    let (machine, state) = Machine::open(snapshots, faults.clone())?;
    let (db, applied) = (Arc::new(disk.clone()), machine.applied());
    let log = LogStore::open(db, path.clone(), None, applied, faults, None, alive)?;
    Ok(Opened { log, machine, state, path, released })
}

pub(crate) fn open_dir(
    data_dir: &Path,
    node: NodeId,
    kind: &StoreKind,
    faults: FaultCell,
) -> Result<Opened, StartError> {
    let claimed = StoreDir::claim(data_dir, node, kind)?;
    let path = claimed.log(kind);
    dir::check_space_to_open(&path)?;
    let unusable = |error| StorageFault::from_io("open", &path, error);
    if !path.exists() {
        claimed.make_log(kind, |new| open_engine(kind, new).map(drop)).map_err(unusable)?;
    }
    let db = open_engine(kind, &path).map_err(unusable)?;
    let mark_path = claimed.mark();
    let mark = MarkFile::open(&mark_path)
        .map_err(|error| StorageFault::from_io("open", &mark_path, error))?;
    let (machine, state) = Machine::open(SnapshotStore::Dir(claimed.snapshots()), faults.clone())?;
    let (alive, released) = mpsc::channel(1);
    let applied = machine.applied();
    let log = LogStore::open(db, path.clone(), Some(mark), applied, faults, Some(claimed), alive)?;
    Ok(Opened { log, machine, state, path, released })
}

/// Opens or makes the engine of a log at `path`, without anything around it: no lock, no checksums. For benches.
///
/// # Errors
/// As [`LogDb`] says.
pub fn open_engine(kind: &StoreKind, path: &Path) -> io::Result<Arc<dyn LogDb>> {
    Ok(match kind {
        StoreKind::Redb => Arc::new(RedbLog::open(path)?),
        StoreKind::Sled => Arc::new(SledLog::open(path)?),
        StoreKind::Memory(disk) => Arc::new(disk.clone()),
    })
}
