//! Log records in sled. Its `flush` waits for `sync_file_range` only, which writes neither the file's metadata nor the
//! drive's cache: every commit here is batch, flush and then our own fdatasync of sled's file.

use super::{Key, LogDb, Op, contain, damaged};
use sled::{Batch, Db, Tree};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

/// sled moves pages over a quarter of a segment to files of their own, which it writes without any sync. A leaf holds
/// up to 16 values before it splits, and some more that are not folded in yet: 32 parts of 16 KiB fit.
const SEGMENT_BYTES: usize = 2 << 20;
const PART_BYTES: usize = 16 << 10;

/// Page cache. The live log is a few MiB; more would only be memory that the manager does not have.
const CACHE_BYTES: u64 = 8 << 20;

/// The first byte of a key. One tree holds both kinds, so that one batch is one atomic change.
const LOG: u8 = b'l';
const VALUE: u8 = b'v';

/// A sled directory.
pub(crate) struct SledLog {
    db: Db,
    tree: Tree,
    file: File,
}

impl SledLog {
    /// Opens or makes the directory.
    ///
    /// A batch that a crash has cut short was never acknowledged; sled leaves it out as a whole.
    ///
    /// # Errors
    /// As [`LogDb`] says.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        contain(|| {
            wait_for_lock(&path.join("db"))?;
            let config = sled::Config::new()
                .path(path)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None);
            let db = config.open().map_err(error)?;
            let tree = db.open_tree("log").map_err(error)?;
            db.flush().map_err(error)?;
            let file = File::open(path.join("db"))?;
            file.sync_all()?;
            File::open(path)?.sync_all()?;
            Ok(Self { db, tree, file })
        })
    }

    fn keys(&self, range: impl std::ops::RangeBounds<[u8; 9]>) -> io::Result<Vec<sled::IVec>> {
        self.tree.range(range).keys().collect::<Result<_, _>>().map_err(error)
    }

    fn batch(&self, ops: Vec<Op>) -> io::Result<Batch> {
        let mut batch = Batch::default();
        for op in ops {
            match op {
                Op::Put(index, record) => {
                    for key in self.keys(log_key(index)..log_key(index.saturating_add(1)))? {
                        batch.remove(key);
                    }
                    // The first part is there for an empty record too.
                    for part in 0..record.len().div_ceil(PART_BYTES).max(1) {
                        let end = record.len().min((part + 1) * PART_BYTES);
                        let bytes = &record[part * PART_BYTES..end];
                        batch.insert(part_key(index, part)?.as_slice(), bytes);
                    }
                }
                Op::TruncateFrom(index) => {
                    for key in self.keys(log_key(index)..log_key(u64::MAX))? {
                        batch.remove(key);
                    }
                }
                Op::PurgeTo(index) => {
                    for key in self.keys(log_key(0)..log_key(index.saturating_add(1)))? {
                        batch.remove(key);
                    }
                }
                Op::Set(key, value) => batch.insert(value_key(key), value),
            }
        }
        Ok(batch)
    }
}

impl LogDb for SledLog {
    fn commit(&self, ops: Vec<Op>) -> io::Result<()> {
        contain(|| {
            self.tree.apply_batch(self.batch(ops)?).map_err(error)?;
            self.db.flush().map_err(error)?;
            self.file.sync_data()
        })
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        contain(|| {
            let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
            let mut bytes = 0;
            for item in self.tree.range(log_key(range.start)..log_key(range.end)) {
                let (key, value) = item.map_err(error)?;
                let index = index_of(&key)?;
                bytes += value.len();
                match records.last_mut() {
                    Some((last, record)) if *last == index => record.extend_from_slice(&value),
                    Some(_) if bytes > bytes_max => break,
                    Some(_) | None => records.push((index, value.to_vec())),
                }
            }
            Ok(records)
        })
    }

    fn last(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        contain(|| {
            let Some(last) = self.tree.range(log_key(0)..log_key(u64::MAX)).next_back() else {
                return Ok(None);
            };
            let index = index_of(&last.map_err(error)?.0)?;
            Ok(self.read(index..index + 1, usize::MAX)?.pop())
        })
    }

    fn value(&self, key: Key) -> io::Result<Option<Vec<u8>>> {
        contain(|| Ok(self.tree.get(value_key(key)).map_err(error)?.map(|value| value.to_vec())))
    }
}

/// sled gives its file back some time after it was closed, on a thread of its own. The directory around it is locked
/// by us, so it can only be an earlier sled of this process that has it.
fn wait_for_lock(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => file.lock(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where the parts of the record at `index` begin.
fn log_key(index: u64) -> [u8; 9] {
    let mut key = [LOG; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn part_key(index: u64, part: usize) -> io::Result<[u8; 11]> {
    let part = u16::try_from(part).map_err(|_| io::Error::other("a log record over 1 GiB"))?;
    let mut key = [LOG; 11];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    Ok(key)
}

fn value_key(key: Key) -> Vec<u8> {
    [&[VALUE], key.name().as_bytes()].concat()
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    key.get(1..9)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_be_bytes)
        .ok_or_else(|| damaged(format!("a key of {} bytes where an index should be", key.len())))
}

fn error(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { at, .. } => damaged(format!("sled found damage at {at:?}")),
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_) => damaged(error.to_string()),
    }
}
