//! The replicated state machine: core's [`State`], fed with committed entries, shown to everyone through a watch.

use crate::error::{FaultCell, StorageFault};
use crate::metrics;
use crate::snapshot::{self, SnapshotStore};
use crate::types::{
    Batch, LogId, Membership, Outcomes, RawEntry, SnapshotMeta, StorageError, TypeConfig,
};
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use std::io::Cursor;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use warren_core::State;
use warren_core::command::Entry;
use warren_core::id::LogIndex;

/// The state at one point of the log.
#[derive(Clone)]
struct Point {
    state: Arc<State>,
    applied: Option<LogId>,
    membership: Membership,
}

/// The state machine of one node.
pub(crate) struct Machine {
    now: Point,
    publish: watch::Sender<Arc<State>>,
    shelf: Shelf,
}

/// Builds a snapshot of the state as it was when this was made.
pub(crate) struct Builder {
    point: Point,
    shelf: Shelf,
}

/// Where snapshots go, and who hears when they do not.
#[derive(Clone)]
struct Shelf {
    snapshots: SnapshotStore,
    faults: FaultCell,
}

impl Machine {
    /// The state as of the newest snapshot; the log brings it up to date. Blocks.
    ///
    /// # Errors
    /// The snapshot cannot be read or is damaged.
    pub(crate) fn open(
        snapshots: SnapshotStore,
        faults: FaultCell,
    ) -> Result<(Self, watch::Receiver<Arc<State>>), StorageFault> {
        let point = match snapshots.load()? {
            Some((path, bytes)) => {
                let (meta, state) = snapshot::decode(&path, &bytes)?;
                Point::new(&meta, state)
            }
            None => Point::new(&SnapshotMeta::default(), State::default()),
        };
        let (publish, state) = watch::channel(Arc::clone(&point.state));
        Ok((Self { now: point, publish, shelf: Shelf { snapshots, faults } }, state))
    }

    /// Up to where the snapshot reached that this was opened from.
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.now.applied
    }

    fn apply_batch(&mut self, id: &LogId, batch: Batch) -> Outcomes {
        // Readers hold the old state; a clone of it shares nearly everything.
        let state = Arc::make_mut(&mut self.now.state);
        let (index, at, wall) = (LogIndex(id.index), batch.at, batch.wall);
        let entries = batch.commands.into_iter();
        entries.map(|command| state.apply(Entry { index, at, wall, command })).collect()
    }
}

impl Point {
    fn new(meta: &SnapshotMeta, state: State) -> Self {
        let membership = meta.last_membership.clone();
        Self { state: Arc::new(state), applied: meta.last_log_id, membership }
    }
}

impl Shelf {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SnapshotStore) -> Result<T, StorageFault> + Send + 'static,
    ) -> Result<T, StorageError> {
        let done = if self.snapshots.blocks() {
            let snapshots = self.snapshots.clone();
            match tokio::task::spawn_blocking(move || work(&snapshots)).await {
                Ok(done) => done,
                Err(error) => {
                    let error = std::io::Error::other(error);
                    Err(StorageFault::from_io("use", self.snapshots.path(), error))
                }
            }
        } else {
            work(&self.snapshots)
        };
        done.map_err(|fault| self.faults.fatal(fault))
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok((self.now.applied, self.now.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcomes>, StorageError>
    where
        I: IntoIterator<Item = RawEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        let mut changed = false;
        for entry in entries {
            self.now.applied = Some(entry.log_id);
            outcomes.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(batch) => {
                    changed = true;
                    self.apply_batch(&entry.log_id, batch)
                }
                EntryPayload::Membership(membership) => {
                    self.now.membership = Membership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
            });
        }
        if changed {
            self.publish.send_replace(Arc::clone(&self.now.state));
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { point: self.now.clone(), shelf: self.shelf.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let state = self
            .shelf
            .run(move |snapshots| {
                let (_, state) = snapshot::decode(snapshots.path(), &bytes)?;
                snapshots.save(index, bytes)?;
                Ok(state)
            })
            .await?;
        self.now = Point::new(meta, state);
        self.publish.send_replace(Arc::clone(&self.now.state));
        metrics::snapshot_installed();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        self.shelf
            .run(|snapshots| {
                let Some((path, bytes)) = snapshots.load()? else { return Ok(None) };
                let (meta, _) = snapshot::decode(&path, &bytes)?;
                Ok(Some(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
            })
            .await
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let point = self.point.clone();
        let id = point.applied.map_or_else(|| "empty".to_owned(), |id| id.to_string());
        let meta = SnapshotMeta {
            last_log_id: point.applied,
            last_membership: point.membership,
            snapshot_id: id,
        };
        self.shelf
            .run(move |snapshots| {
                let begun = Instant::now();
                let path = snapshots.path();
                let bytes = snapshot::encode(&meta, &point.state)
                    .map_err(|error| StorageFault::from_io("encode for", path, error))?;
                snapshots.save(meta.last_log_id.map_or(0, |id| id.index), bytes.clone())?;
                metrics::snapshot_built(begun.elapsed(), bytes.len());
                Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
            })
            .await
    }
}
