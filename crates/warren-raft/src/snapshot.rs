//! Snapshots of the state: each a file of its own with a checksum, whole or not there.

use crate::db::memory::MemoryDisk;
use crate::dir::{sync_dir, write_durably};
use crate::error::StorageFault;
use crate::record;
use crate::types::SnapshotMeta;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use warren_core::State;

/// Where a snapshot lies, for its checksum: it travels between nodes, so no node's file name can be part of it.
const SNAPSHOT_PLACE: u64 = 0;

/// Where snapshots are kept.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotStore {
    /// As files `<index>.snapshot` in a directory.
    Dir(PathBuf),
    /// In memory.
    Memory(MemoryDisk),
}

/// The bytes of a snapshot, on disk and between nodes.
///
/// # Errors
/// The state cannot be encoded; a fault of this program.
pub(crate) fn encode(meta: &SnapshotMeta, state: &State) -> io::Result<Vec<u8>> {
    record::seal(SNAPSHOT_PLACE, &(meta, state)).map_err(io::Error::other)
}

/// What the bytes of a snapshot hold; `path` is the file to name in errors.
///
/// # Errors
/// They are damaged or too new.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<(SnapshotMeta, State), StorageFault> {
    record::open(SNAPSHOT_PLACE, bytes)
        .map_err(|flaw| StorageFault::flawed(path, "this snapshot", &flaw))
}

impl SnapshotStore {
    /// Keeps the snapshot of the log up to `index`, durably, in place of older ones.
    ///
    /// # Errors
    /// It cannot be written; the older one is still there.
    pub(crate) fn save(&self, index: u64, bytes: Vec<u8>) -> Result<(), StorageFault> {
        let dir = match self {
            Self::Dir(dir) => dir,
            Self::Memory(disk) => {
                let saved = disk.save_snapshot(bytes);
                return saved.map_err(|error| fault("write to", Path::new("memory"), error));
            }
        };
        let path = dir.join(file_name(index));
        write_durably(&path, &bytes).map_err(|error| fault("write", &path, error))?;
        let older = list(dir)?.into_iter().filter(|(other, _)| *other < index);
        for (_, path) in older {
            fs::remove_file(&path).map_err(|error| fault("remove", &path, error))?;
        }
        sync_dir(dir).map_err(|error| fault("write to", dir, error))
    }

    /// The newest snapshot and the file it came from. Never an older one: the log behind it may be gone.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn load(&self) -> Result<Option<(PathBuf, Vec<u8>)>, StorageFault> {
        let dir = match self {
            Self::Dir(dir) => dir,
            Self::Memory(disk) => {
                return Ok(disk.snapshot().map(|bytes| (PathBuf::from("memory"), bytes)));
            }
        };
        let Some((_, path)) = list(dir)?.into_iter().max() else { return Ok(None) };
        let bytes = fs::read(&path).map_err(|error| fault("read", &path, error))?;
        Ok(Some((path, bytes)))
    }

    /// Whether calls can take long.
    pub(crate) fn blocks(&self) -> bool {
        matches!(self, Self::Dir(_))
    }

    /// What to name in errors about a snapshot that is not a file yet.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Dir(dir) => dir,
            Self::Memory(_) => Path::new("memory"),
        }
    }
}

fn file_name(index: u64) -> String {
    format!("{index}.snapshot")
}

/// Files that are no snapshot are left alone: half-written ones are written over, others are not ours.
fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StorageFault> {
    let unreadable = |error| fault("read", dir, error);
    let mut found = Vec::new();
    for item in fs::read_dir(dir).map_err(unreadable)? {
        let item = item.map_err(unreadable)?;
        let name = item.file_name();
        let index = name.to_str().and_then(|name| name.strip_suffix(".snapshot"));
        if let Some(index) = index.and_then(|index| index.parse().ok()) {
            found.push((index, item.path()));
        }
    }
    Ok(found)
}

fn fault(doing: &'static str, path: &Path, error: io::Error) -> StorageFault {
    StorageFault::from_io(doing, path, error)
}
