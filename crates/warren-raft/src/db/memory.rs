//! Log records in memory, for the simulator and for tests. What is kept outlives the node that wrote it, so that a
//! simulated crash and restart finds its disk again.

use super::{Key, LogDb, Op};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk that is memory. Clones share it.
#[derive(Clone, Default, Debug)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default, Debug)]
struct Inner {
    log: BTreeMap<u64, Vec<u8>>,
    values: BTreeMap<Key, Vec<u8>>,
    snapshot: Option<Vec<u8>>,
    nearly_full: bool,
    full: bool,
    broken: bool,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on refuses to store anything, as a full disk does; or takes it again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// From now on has so little room that no new writes are to be taken, though what Raft writes by itself still fits;
    /// or has room again.
    pub fn set_nearly_full(&self, nearly_full: bool) {
        self.lock().nearly_full = nearly_full;
    }

    /// From now on fails every write, as a disk does that is coming to its end; or works again.
    pub fn set_broken(&self, broken: bool) {
        self.lock().broken = broken;
    }

    /// Whether no new writes are to be taken.
    pub(crate) fn is_full(&self) -> bool {
        let inner = self.lock();
        inner.full || inner.nearly_full
    }

    pub(crate) fn save_snapshot(&self, bytes: Vec<u8>) -> io::Result<()> {
        let mut inner = self.lock();
        inner.check_writable()?;
        inner.snapshot = Some(bytes);
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Option<Vec<u8>> {
        self.lock().snapshot.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete before anything in it can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check_writable(&self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the simulated disk is broken"));
        }
        if self.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl LogDb for MemoryDisk {
    fn commit(&self, ops: Vec<Op>) -> io::Result<()> {
        let mut inner = self.lock();
        inner.check_writable()?;
        for op in ops {
            match op {
                Op::Put(index, record) => drop(inner.log.insert(index, record)),
                Op::TruncateFrom(index) => drop(inner.log.split_off(&index)),
                Op::PurgeTo(index) => inner.log.retain(|at, _| *at > index),
                Op::Set(key, value) => drop(inner.values.insert(key, value)),
            }
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let inner = self.lock();
        let mut records = Vec::new();
        let mut bytes = 0;
        for (index, record) in inner.log.range(range) {
            bytes += record.len();
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            records.push((*index, record.clone()));
        }
        Ok(records)
    }

    fn last(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        Ok(self.lock().log.last_key_value().map(|(index, record)| (*index, record.clone())))
    }

    fn value(&self, key: Key) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().values.get(&key).cloned())
    }

    fn blocks(&self) -> bool {
        false
    }
}
