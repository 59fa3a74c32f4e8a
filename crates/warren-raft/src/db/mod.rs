//! Where log records lie: bytes by index, and a few named values. One small trait, so that an engine is one file.

pub(crate) mod memory;
pub(crate) mod redb;
pub(crate) mod sled;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One change. The changes of one commit become visible and durable together, or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Stores a record at an index, over what may be there.
    Put(u64, Vec<u8>),
    /// Takes away every record from this index on.
    TruncateFrom(u64),
    /// Takes away every record up to and with this index.
    PurgeTo(u64),
    /// Sets a named value.
    Set(Key, Vec<u8>),
}

/// The named values beside the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// Whom this node has voted for, and in which term.
    Vote,
    /// The last log id that was purged.
    Purged,
}

impl Key {
    /// The name it is stored under. Part of the disk format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Purged => "purged",
        }
    }
}

/// A durable, ordered store of log records. Bytes only: it knows nothing of Raft.
///
/// All calls block. Commits come one at a time; reads may come from several threads beside a commit.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] for a full disk and [`io::ErrorKind::InvalidData`] for a damaged file, else what the
/// system said. After a failed commit the store is not used again before it has been opened anew.
pub trait LogDb: Send + Sync + 'static {
    /// Makes the changes, in order: atomic, and durable on return.
    ///
    /// # Errors
    /// See the trait. Then none of the changes counts.
    fn commit(&self, ops: Vec<Op>) -> io::Result<()>;

    /// The records in `range`, in order: as many as fit in `bytes_max`, but at least one where there is one.
    ///
    /// # Errors
    /// See the trait.
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>>;

    /// The record with the highest index.
    ///
    /// # Errors
    /// See the trait.
    fn last(&self) -> io::Result<Option<(u64, Vec<u8>)>>;

    /// A named value.
    ///
    /// # Errors
    /// See the trait.
    fn value(&self, key: Key) -> io::Result<Option<Vec<u8>>>;

    /// Looks for damage in what reading all records and values does not touch. Called once, after that, at start.
    ///
    /// # Errors
    /// See the trait.
    fn verify(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether calls can take long, so that they must not run on an async worker thread.
    fn blocks(&self) -> bool {
        true
    }
}

/// Runs engine code that may panic on a file it did not expect, and makes of that a damaged file.
pub(crate) fn contain<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(damaged(format!("the storage engine gave up on it: {said}")))
    })
}

pub(crate) fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
