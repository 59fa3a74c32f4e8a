//! How many durable writes a second the store takes: the engines alone and with Raft around them, beside the bare disk.
//!
//! The engines and the disk are driven in the same way: writers hand 256-byte records to one committer, who makes
//! durable at once all that has arrived. So the ratios say what an engine costs, not what the harness does.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use warren_raft::{Key, LogDb, Op, StoreKind, open_engine};

use crate::store::{Lone, write};

/// About what one command of the API becomes in the log.
const RECORD_BYTES: usize = 256;

/// The most records that share a commit; as many writers as are ever measured.
const COMMIT_RECORDS_MAX: usize = 1_024;

/// Zero-filled beforehand, so that a write changes no metadata.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Records that stay in an engine: a log is cut behind a snapshot now and then, so that it does not grow for ever.
const KEPT: u64 = 20_000;

/// What one run has measured.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Durable writes a second.
    pub per_second: f64,
    /// The middle one of the times that a writer waited.
    pub p50: Duration,
    /// What one in a hundred waited at least.
    pub p99: Duration,
}

/// The disk alone: a preallocated file and one fdatasync a commit. No store can beat it.
///
/// # Errors
/// What the system said.
pub fn disk(dir: &Path, writers: usize, time: Duration) -> anyhow::Result<Rate> {
    through_committer(Arc::new(Segment::open(&dir.join("segment"))?), writers, time)
}

/// An engine alone.
///
/// # Errors
/// The engine fails.
pub fn engine(
    dir: &Path,
    store: &StoreKind,
    writers: usize,
    time: Duration,
) -> anyhow::Result<Rate> {
    through_committer(open_engine(store, &dir.join("log"))?, writers, time)
}

/// A manager alone: proposals, the log, the state machine.
///
/// # Errors
/// A write is refused.
pub async fn manager(
    dir: &Path,
    store: &StoreKind,
    writers: usize,
    time: Duration,
) -> anyhow::Result<Rate> {
    let lone = Lone::open(dir, store.clone(), KEPT).await?;
    let value = "x".repeat(RECORD_BYTES);
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for writer in 0..writers {
        let (raft, value) = (lone.raft.clone(), value.clone());
        running.spawn(async move {
            let mut waits = Vec::new();
            while begun.elapsed() < time {
                let asked = Instant::now();
                // Two values in turn: a label that stays as it is would change nothing.
                let value = &value[waits.len() % 2..];
                write(&raft, &format!("w{writer}"), value).await?;
                waits.push(asked.elapsed());
            }
            anyhow::Ok(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(done) = running.join_next().await {
        waits.extend(done??);
    }
    let rate = Rate::of(waits, begun.elapsed());
    lone.close().await?;
    Ok(rate)
}

impl Rate {
    fn of(mut waits: Vec<Duration>, time: Duration) -> Self {
        waits.sort_unstable();
        let at = |percent: usize| {
            let last = waits.len().saturating_sub(1);
            waits
                .get(waits.len() * percent / 100)
                .or_else(|| waits.get(last))
                .copied()
                .unwrap_or_default()
        };
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53 writes")]
        let count = waits.len() as f64;
        Self { per_second: count / time.as_secs_f64(), p50: at(50), p99: at(99) }
    }
}

type Record = (Vec<u8>, SyncSender<()>);

fn through_committer(db: Arc<dyn LogDb>, writers: usize, time: Duration) -> anyhow::Result<Rate> {
    let (sender, records) = mpsc::sync_channel::<Record>(COMMIT_RECORDS_MAX);
    let begun = Instant::now();
    let (committed, waits) = thread::scope(|scope| {
        let committer = scope.spawn(move || commit_all(&*db, &records));
        let writers: Vec<_> = (0..writers)
            .map(|_| {
                let sender = sender.clone();
                scope.spawn(move || write_until(&sender, begun, time))
            })
            .collect();
        drop(sender);
        let waits = writers.into_iter().map(thread::ScopedJoinHandle::join);
        (waits.collect::<Result<Vec<_>, _>>(), committer.join())
    });
    let failed = |_| anyhow::anyhow!("a thread of the bench failed");
    let waits_of_all = committed.map_err(failed)?;
    waits.map_err(failed)??;
    Ok(Rate::of(waits_of_all.concat(), begun.elapsed()))
}

fn write_until(sender: &SyncSender<Record>, begun: Instant, time: Duration) -> Vec<Duration> {
    let mut waits = Vec::new();
    while begun.elapsed() < time {
        let asked = Instant::now();
        let (done, durable) = mpsc::sync_channel(1);
        if sender.send((vec![7; RECORD_BYTES], done)).is_err() || durable.recv().is_err() {
            break;
        }
        waits.push(asked.elapsed());
    }
    waits
}

fn commit_all(db: &dyn LogDb, records: &Receiver<Record>) -> io::Result<()> {
    let (mut next, mut purged) = (0, 0);
    while let Ok(first) = records.recv() {
        let mut ops = Vec::new();
        let mut waiting = Vec::new();
        let more = records.try_iter().take(COMMIT_RECORDS_MAX - 1);
        for (record, done) in std::iter::once(first).chain(more) {
            ops.push(Op::Put(next, record));
            waiting.push(done);
            next += 1;
        }
        if next - purged > 2 * KEPT {
            purged = next - KEPT;
            ops.push(Op::PurgeTo(purged));
        }
        db.commit(ops)?;
        for done in waiting {
            // Its writer waits; if not, nobody misses the answer.
            let _ = done.send(());
        }
    }
    Ok(())
}

/// A file as a log that is only ever written.
struct Segment {
    file: std::fs::File,
    at: AtomicU64,
}

impl Segment {
    fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::File::create(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..SEGMENT_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: AtomicU64::new(0) })
    }
}

impl LogDb for Segment {
    fn commit(&self, ops: Vec<Op>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for op in ops {
            match op {
                Op::Put(_, record) => bytes.extend(record),
                Op::TruncateFrom(_) | Op::PurgeTo(_) | Op::Set(..) => {}
            }
        }
        let length = bytes.len() as u64;
        let at = self.at.load(Ordering::Relaxed);
        let at = if at + length > SEGMENT_BYTES { 0 } else { at };
        self.at.store(at + length, Ordering::Relaxed);
        self.file.write_all_at(&bytes, at)?;
        self.file.sync_data()
    }

    fn read(&self, _: Range<u64>, _: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn last(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn value(&self, _: Key) -> io::Result<Option<Vec<u8>>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
