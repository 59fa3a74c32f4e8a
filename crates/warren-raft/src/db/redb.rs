//! Log records in redb: one file, copy-on-write B-trees, one fdatasync a commit. The default.

use super::{Key, LogDb, Op, contain, damaged};
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
const VALUES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("values");

/// Page cache. The live log is a few MiB; more would only be memory that the manager does not have.
const CACHE_BYTES: usize = 8 << 20;

/// A redb file.
pub(crate) struct RedbLog {
    /// Written to only to check the whole file, which redb wants for itself.
    db: RwLock<Database>,
}

impl RedbLog {
    /// Opens or makes the file.
    ///
    /// A commit that a crash has cut short was never acknowledged; redb goes back to the one before.
    ///
    /// # Errors
    /// As [`LogDb`] says.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        contain(|| {
            let db = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(error)?;
            let tx = db.begin_write().map_err(error)?;
            tx.open_table(LOG).map_err(error)?;
            tx.open_table(VALUES).map_err(error)?;
            tx.commit().map_err(error)?;
            Ok(Self { db: RwLock::new(db) })
        })
    }

    fn db(&self) -> RwLockReadGuard<'_, Database> {
        // redb keeps itself consistent, also when a caller of it panics.
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogDb for RedbLog {
    fn commit(&self, ops: Vec<Op>) -> io::Result<()> {
        contain(|| {
            let mut tx = self.db().begin_write().map_err(error)?;
            tx.set_durability(Durability::Immediate).map_err(error)?;
            {
                let mut log = tx.open_table(LOG).map_err(error)?;
                let mut values = tx.open_table(VALUES).map_err(error)?;
                for op in ops {
                    apply(op, &mut log, &mut values).map_err(error)?;
                }
            }
            tx.commit().map_err(error)
        })
    }

    /// Every page against its checksum, and which pages are free against which are used.
    fn verify(&self) -> io::Result<()> {
        contain(|| {
            let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
            // False means that bookkeeping was wrong and has been made anew; no record is involved.
            db.check_integrity().map(drop).map_err(error)
        })
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        contain(|| {
            let tx = self.db().begin_read().map_err(error)?;
            let log = tx.open_table(LOG).map_err(error)?;
            let mut records = Vec::new();
            let mut bytes = 0;
            for item in log.range(range).map_err(error)? {
                let (index, record) = item.map_err(error)?;
                bytes += record.value().len();
                if bytes > bytes_max && !records.is_empty() {
                    break;
                }
                records.push((index.value(), record.value().to_vec()));
            }
            Ok(records)
        })
    }

    fn last(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        contain(|| {
            let tx = self.db().begin_read().map_err(error)?;
            let log = tx.open_table(LOG).map_err(error)?;
            let last = log.last().map_err(error)?;
            Ok(last.map(|(index, record)| (index.value(), record.value().to_vec())))
        })
    }

    fn value(&self, key: Key) -> io::Result<Option<Vec<u8>>> {
        contain(|| {
            let tx = self.db().begin_read().map_err(error)?;
            let values = tx.open_table(VALUES).map_err(error)?;
            let value = values.get(key.name()).map_err(error)?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }
}

fn apply(
    op: Op,
    log: &mut Table<'_, u64, &'static [u8]>,
    values: &mut Table<'_, &'static str, &'static [u8]>,
) -> Result<(), StorageError> {
    match op {
        Op::Put(index, record) => log.insert(index, record.as_slice()).map(drop),
        Op::TruncateFrom(index) => log.retain_in(index.., |_, _| false),
        Op::PurgeTo(index) => log.retain_in(..=index, |_, _| false),
        Op::Set(key, value) => values.insert(key.name(), value.as_slice()).map(drop),
    }
}

fn error(error: impl Into<redb::Error>) -> io::Error {
    let error = error.into();
    match error {
        redb::Error::Io(error) => error,
        redb::Error::Corrupted(what) => damaged(what),
        error => io::Error::other(error),
    }
}
