//! Raft's log and vote on a [`LogDb`]: records encoded and checked, the mark kept, nothing acknowledged before it is
//! durable. openraft awaits every write here before it does anything else, so writes come one at a time.

mod recent;

use crate::db::{Key, LogDb, Op};
use crate::dir::StoreDir;
use crate::error::{FaultCell, StorageFault};
use crate::mark::{Mark, MarkFile};
use crate::metrics;
use crate::record;
use crate::types::{LogId, RawEntry, StorageError, TypeConfig, Vote};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use recent::Recent;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::fmt::Debug;
use std::ops::{Bound, Range, RangeBounds};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// Where a named value lies, for its checksum; log records lie at their index.
pub(crate) const VALUE_PLACE: u64 = u64::MAX;

/// What one message to a follower carries at most, unless one entry alone is larger: below the 4 MiB that gRPC takes.
const READ_BYTES_MAX: usize = 2 << 20;

/// What is read at once when the whole log is checked at start.
const CHECK_BYTES: usize = 4 << 20;

/// The log of one node. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    faults: FaultCell,
    mark: Mutex<(Mark, Option<MarkFile>)>,
    /// Bytes of entries written since this node started.
    written_bytes: AtomicU64,
    recent: Mutex<Recent>,
    db: Arc<dyn LogDb>,
    /// Locked for as long as the engine is open; fields are dropped in order.
    _dir: Option<StoreDir>,
    /// Dropped after the engine, so that the other end knows when its files are free.
    _open: mpsc::Sender<Infallible>,
}

impl LogStore {
    /// Checks everything that is stored, and refuses what does not hold together. Blocks.
    ///
    /// `applied` is where the newest snapshot ends, and `path` the file to name in errors. `dir` is given back when the
    /// engine is closed; then `open` is dropped.
    ///
    /// # Errors
    /// The engine fails, a record is damaged or missing, or less is there than was acknowledged.
    pub(crate) fn open(
        db: Arc<dyn LogDb>,
        path: PathBuf,
        mark: Option<(MarkFile, Mark)>,
        applied: Option<LogId>,
        faults: FaultCell,
        dir: Option<StoreDir>,
        open: mpsc::Sender<Infallible>,
    ) -> Result<Self, StorageFault> {
        let (witness, file) = match mark {
            Some((file, mark)) => (mark, Some(file)),
            None => (Mark::default(), None),
        };
        let written_bytes = AtomicU64::new(0);
        let mark = Mutex::new((witness, file));
        let recent = Mutex::default();
        let shared =
            Shared { path, faults, mark, written_bytes, recent, db, _dir: dir, _open: open };
        let found = shared.check(&witness, applied)?;
        shared.db.verify().map_err(|error| shared.unreadable(error))?;
        shared.set_mark(false, |mark| *mark = found)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Bytes of entries written since this node started.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.shared.written_bytes.load(Ordering::Relaxed)
    }

    /// From memory where it is all there.
    async fn read(&self, range: Range<u64>, bytes: usize) -> Result<Vec<RawEntry>, StorageError> {
        let recent = self.shared.lock_recent().read(&range, bytes);
        match recent {
            Some(entries) => Ok(entries),
            None => self.run(move |shared| shared.entries(range, bytes)).await,
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StorageFault> + Send + 'static,
    ) -> Result<T, StorageError> {
        let shared = Arc::clone(&self.shared);
        let faults = self.shared.faults.clone();
        let done = if shared.db.blocks() {
            // The last `Arc` may go away on that thread; that is fine, closing an engine blocks too.
            match tokio::task::spawn_blocking(move || work(&shared)).await {
                Ok(done) => done,
                Err(error) => {
                    let source = Arc::new(std::io::Error::other(error));
                    let path = self.shared.path.clone();
                    Err(StorageFault::Io { doing: "use", path, source })
                }
            }
        } else {
            work(&shared)
        };
        done.map_err(|fault| faults.fatal(fault))
    }
}

impl Shared {
    fn commit(&self, ops: Vec<Op>) -> Result<(), StorageFault> {
        let begun = Instant::now();
        let done = self.db.commit(ops);
        metrics::commit(begun.elapsed(), done.is_ok());
        done.map_err(|error| StorageFault::from_io("write to", &self.path, error))
    }

    /// With `durable`, the mark is on disk before anything that follows.
    fn set_mark(&self, durable: bool, set: impl FnOnce(&mut Mark)) -> Result<(), StorageFault> {
        let mut guard = self.lock_mark();
        set(&mut guard.0);
        let (mark, Some(file)) = &*guard else { return Ok(()) };
        match file.write(mark, durable) {
            Ok(()) => Ok(()),
            Err(error) if durable => Err(StorageFault::from_io("write to", &self.path, error)),
            // An old mark asks for less than there is: a weaker witness, but never a wrong one.
            Err(error) => {
                tracing::warn!(error = %error, "mark not written");
                Ok(())
            }
        }
    }

    fn lock_mark(&self) -> MutexGuard<'_, (Mark, Option<MarkFile>)> {
        // A mark is a plain value and is replaced whole.
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_recent(&self) -> MutexGuard<'_, Recent> {
        // Nothing that holds it can panic.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value<T: DeserializeOwned>(&self, key: Key) -> Result<Option<T>, StorageFault> {
        let bytes = self.db.value(key).map_err(|error| self.unreadable(error))?;
        bytes.map(|bytes| self.decode(VALUE_PLACE, key.name(), &bytes)).transpose()
    }

    fn entries(&self, range: Range<u64>, bytes: usize) -> Result<Vec<RawEntry>, StorageFault> {
        let records = self.db.read(range, bytes).map_err(|error| self.unreadable(error))?;
        records.iter().map(|(index, record)| self.entry(*index, record)).collect()
    }

    fn last(&self) -> Result<Option<RawEntry>, StorageFault> {
        let record = self.db.last().map_err(|error| self.unreadable(error))?;
        record.map(|(index, record)| self.entry(index, &record)).transpose()
    }

    fn entry(&self, index: u64, record: &[u8]) -> Result<RawEntry, StorageFault> {
        let entry: RawEntry = self.decode(index, &format!("log entry {index}"), record)?;
        if entry.log_id.index != index {
            let what = format!("log entry {index} says that it is {}", entry.log_id.index);
            return Err(StorageFault::damaged(&self.path, what));
        }
        Ok(entry)
    }

    fn encode<T: Serialize>(&self, place: u64, value: &T) -> Result<Vec<u8>, StorageFault> {
        record::seal(place, value).map_err(|flaw| {
            StorageFault::from_io("encode for", &self.path, std::io::Error::other(flaw))
        })
    }

    fn decode<T: DeserializeOwned>(
        &self,
        place: u64,
        what: &str,
        bytes: &[u8],
    ) -> Result<T, StorageFault> {
        record::open(place, bytes).map_err(|flaw| StorageFault::flawed(&self.path, what, &flaw))
    }

    fn unreadable(&self, error: std::io::Error) -> StorageFault {
        StorageFault::from_io("read", &self.path, error)
    }

    /// Reads everything once: each record is whole, none is missing, and nothing that was acknowledged is gone.
    fn check(&self, witness: &Mark, applied: Option<LogId>) -> Result<Mark, StorageFault> {
        let damaged = |what: String| Err(StorageFault::damaged(&self.path, what));
        let purged: Option<LogId> = self.value(Key::Purged)?;
        let vote: Option<Vote> = self.value(Key::Vote)?;
        let mut last = purged;
        let mut next = purged.map_or(0, |id| id.index + 1);
        loop {
            let entries = self.entries(next..u64::MAX, CHECK_BYTES)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                if entry.log_id.index != next {
                    let found = entry.log_id.index;
                    return damaged(format!("log entry {next} is missing (the next is {found})"));
                }
                last = Some(entry.log_id);
                next += 1;
            }
        }
        if last.map(|id| id.index) < witness.last {
            let (found, known) = (last.map_or(0, |id| id.index), witness.last.unwrap_or(0));
            return damaged(format!(
                "the log ends at entry {found}, but entry {known} was acknowledged"
            ));
        }
        if vote < witness.vote || (vote.is_none() && last.max(applied).is_some()) {
            return damaged("the last vote of this node is missing".to_owned());
        }
        let committed = witness.committed.filter(|committed| Some(*committed) <= last);
        Ok(Mark { last: last.map(|id| id.index), committed, vote })
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<RawEntry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start..end, usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RawEntry>, StorageError> {
        self.read(start..end, READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        self.run(|shared| {
            let last_purged_log_id: Option<LogId> = shared.value(Key::Purged)?;
            let last_log_id = shared.last()?.map(|entry| entry.log_id).or(last_purged_log_id);
            Ok(LogState { last_purged_log_id, last_log_id })
        })
        .await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.run(move |shared| {
            shared.commit(vec![Op::Set(Key::Vote, shared.encode(VALUE_PLACE, &vote)?)])?;
            shared.set_mark(false, |mark| mark.vote = Some(vote))
        })
        .await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.run(|shared| shared.value(Key::Vote)).await
    }

    /// Kept in the mark only: it need not be durable, it shortens the wait after a restart.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let set = self.shared.set_mark(false, |mark| mark.committed = committed);
        set.map_err(|fault| self.shared.faults.fatal(fault))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.shared.lock_mark().0.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = RawEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RawEntry> = entries.into_iter().collect();
        self.run(move |shared| {
            let mut ops = Vec::with_capacity(entries.len());
            let mut sizes = Vec::with_capacity(entries.len());
            for entry in &entries {
                let record = shared.encode(entry.log_id.index, entry)?;
                sizes.push(record.len());
                ops.push(Op::Put(entry.log_id.index, record));
            }
            shared.commit(ops)?;
            let bytes: usize = sizes.iter().sum();
            shared.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            let last = entries.last().map(|entry| entry.log_id.index);
            shared.lock_recent().push(entries.into_iter().zip(sizes));
            shared.set_mark(false, |mark| mark.last = last.or(mark.last))
        })
        .await?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.run(move |shared| {
            // First, and durably: a mark that is ahead of the log would look like loss.
            shared.set_mark(true, |mark| mark.last = from.index.checked_sub(1))?;
            shared.lock_recent().truncate(from.index);
            shared.commit(vec![Op::TruncateFrom(from.index)])
        })
        .await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.run(move |shared| {
            shared.lock_recent().purge(upto.index);
            let purged = Op::Set(Key::Purged, shared.encode(VALUE_PLACE, &upto)?);
            shared.commit(vec![Op::PurgeTo(upto.index), purged])
        })
        .await
    }
}

#[cfg(test)]
mod tests;
