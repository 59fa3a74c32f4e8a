//! openraft's own suite on every engine, and what is found out when files are damaged.

use super::*;
use crate::db::memory::MemoryDisk;
use crate::db::redb::RedbLog;
use crate::db::sled::SledLog;
use crate::machine::Machine;
use crate::snapshot::SnapshotStore;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

#[derive(Clone, Copy)]
enum Engine {
    Redb,
    Sled,
    Memory,
}

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Engine {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let disk = MemoryDisk::new();
        let (db, snapshots): (Arc<dyn LogDb>, _) = match self {
            Self::Redb => (Arc::new(RedbLog::open(&path).unwrap()), None),
            Self::Sled => (Arc::new(SledLog::open(&path).unwrap()), None),
            Self::Memory => (Arc::new(disk.clone()), Some(SnapshotStore::Memory(disk))),
        };
        let mark = MarkFile::open(&dir.path().join("mark")).unwrap();
        let (open, _) = mpsc::channel(1);
        let faults = FaultCell::default();
        let log = LogStore::open(db, path, Some(mark), None, faults.clone(), None, open).unwrap();
        let snapshots = snapshots.unwrap_or_else(|| SnapshotStore::Dir(dir.path().to_owned()));
        let (machine, _) = Machine::open(snapshots, faults).unwrap();
        Ok((dir, log, machine))
    }
}

#[test]
fn redb_passes_the_suite_of_openraft() {
    Suite::test_all(Engine::Redb).unwrap();
}

#[test]
fn sled_passes_the_suite_of_openraft() {
    Suite::test_all(Engine::Sled).unwrap();
}

#[test]
fn memory_passes_the_suite_of_openraft() {
    Suite::test_all(Engine::Memory).unwrap();
}
