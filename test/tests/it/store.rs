//! The manager's durable state on real disks: killed processes and full disks.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;
use warren_raft::{Op, ProposeError, StorageFault, StoreKind, open_engine};
use warren_test::store::Lone;
use warren_test::{skip, torture};

/// As often as this in every run; `make torture` is for the long one.
const CYCLES: u32 = 20;

fn tortured(store: &StoreKind) {
    let cycles = std::env::var("WARREN_TORTURE_CYCLES");
    let cycles = cycles.map_or(CYCLES, |text| text.parse().expect("a number of cycles"));
    let seed = std::env::var("WARREN_TORTURE_SEED");
    let seed = seed.map_or(1, |text| text.parse().expect("a seed"));
    let report = torture::run(Path::new(env!("CARGO_BIN_EXE_torture")), store, cycles, seed);
    let report = report.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(report.cycles, cycles);
    assert!(report.acknowledged > u64::from(cycles), "there was load: {report:?}");
}

#[test]
fn redb_keeps_every_acknowledged_write_when_it_is_killed() {
    tortured(&StoreKind::Redb);
}

#[test]
fn sled_keeps_every_acknowledged_write_when_it_is_killed() {
    tortured(&StoreKind::Sled);
}

/// A small file system of its own, gone with this value.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(mib: u64) -> nix::Result<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={mib}m");
        let none = None::<&str>;
        mount(none, dir.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))?;
        Ok(Self(dir))
    }

    fn resize(&self, mib: u64) -> nix::Result<()> {
        let size = format!("size={mib}m");
        let none = None::<&str>;
        mount(none, self.0.path(), none, MsFlags::MS_REMOUNT, Some(size.as_str()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

fn small_disk(test: &str, mib: u64) -> Option<SmallDisk> {
    match SmallDisk::mount(mib) {
        Ok(disk) => Some(disk),
        Err(error) => {
            skip(test, &format!("a tmpfs cannot be mounted here: {error}"));
            None
        }
    }
}

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    let block = vec![1; 1 << 16];
    loop {
        match file.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn fills_up(store: StoreKind) {
    let Some(disk) = small_disk("a full disk", 64) else { return };
    let dir = disk.0.path();
    let lone = Lone::open(dir, store.clone(), 1_000).await.expect("starts");
    lone.write("before", "kept").await.expect("there is space");
    let ballast = dir.join("ballast");
    fill(&ballast);
    let error = lone.write("during", "refused").await.expect_err("there is no space");
    let error = error.downcast::<ProposeError>().expect("refused by the store");
    assert!(matches!(error, ProposeError::Storage(StorageFault::DiskFull { .. })), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("no space left for ") && text.contains("make space"), "{text}");
    assert_eq!(lone.find("before").as_deref(), Some("kept"), "reads go on");
    lone.close().await.expect("stops in order on a full disk");

    let error = Lone::open(dir, store.clone(), 1_000).await.err().expect("does not start");
    assert!(error.to_string().starts_with("no space left for "), "{error}");
    fs::remove_file(&ballast).expect("makes space");
    let lone = Lone::open(dir, store, 1_000).await.expect("starts again");
    assert_eq!(lone.find("before").as_deref(), Some("kept"));
    assert_eq!(lone.find("during"), None);
    lone.write("after", "kept").await.expect("there is space again");
    lone.close().await.expect("stops in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_loses_nothing_in_redb() {
    fills_up(StoreKind::Redb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_loses_nothing_in_sled() {
    fills_up(StoreKind::Sled).await;
}

/// Another process may take the last space in the middle of a commit, past the reserve that is kept.
fn runs_out_within_a_commit(kind: &StoreKind) {
    let Some(disk) = small_disk("a disk that fills up within a commit", 16) else { return };
    let path = disk.0.path().join("log");
    let db = open_engine(kind, &path).expect("opens");
    let record = vec![7; 100_000];
    let mut durable = 0;
    let error = loop {
        match db.commit(vec![Op::Put(durable, record.clone())]) {
            Ok(()) => durable += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(durable > 10);
    drop(db);
    disk.resize(64).expect("grows");
    let db = open_engine(kind, &path).expect("opens again");
    let found = db.read(0..u64::MAX, usize::MAX).expect("reads");
    let expected: Vec<_> = (0..durable).map(|index| (index, record.clone())).collect();
    assert!(found == expected, "{} of {durable} records", found.len());
    db.commit(vec![Op::Put(durable, record)]).expect("there is space again");
}

#[test]
fn redb_keeps_what_was_durable_when_the_disk_fills_up_within_a_commit() {
    runs_out_within_a_commit(&StoreKind::Redb);
}

#[test]
fn sled_keeps_what_was_durable_when_the_disk_fills_up_within_a_commit() {
    runs_out_within_a_commit(&StoreKind::Sled);
}
