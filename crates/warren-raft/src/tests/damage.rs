//! Data directories that a crash, a disk or a person has damaged: repaired where nothing acknowledged is involved, and
//! else refused with the file, what is wrong in it and the way out. Never a state that is not what was acknowledged.

use super::support::{ME, Manager, copied, found, options, set_label};
use crate::error::FaultCell;
use crate::start::open_dir;
use crate::types::RawEntry;
use crate::{StartError, StorageFault, StoreKind, start};
use openraft::RaftLogReader;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use warren_core::id::NodeId;

const PAGE_BYTES: usize = 4096;

/// A data directory at some moment of its life, with the log that it must give.
struct Image {
    dir: TempDir,
    log: Vec<RawEntry>,
}

/// Three moments: a killed process with one commit less, a killed process, a process that has stopped in order.
struct Images {
    kind: StoreKind,
    before: Image,
    killed: Image,
    stopped: Image,
    runtime: Runtime,
}

impl Images {
    fn make(kind: StoreKind) -> Self {
        let runtime = Runtime::new().unwrap();
        let (before, killed, stopped) = runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let manager = Manager::alone(options(dir.path(), kind.clone())).await;
            manager.raft.propose(found()).await.unwrap();
            let mut before = None;
            for count in 0..=120 {
                // All commits are durable while nothing is in flight, so a copy now is what a kill now would leave.
                before = Some(copied(dir.path()));
                let needle = format!("needle-{count:03}");
                manager.raft.propose(vec![set_label("count", &needle)]).await.unwrap();
            }
            let killed = copied(dir.path());
            manager.stop().await.unwrap();
            (before.unwrap(), killed, dir)
        });
        let image = |dir: TempDir| {
            let log = read(&runtime, copied(dir.path()).path(), &kind).unwrap();
            Image { dir, log }
        };
        let (before, killed, stopped) = (image(before), image(killed), image(stopped));
        assert_eq!(before.log.len() + 1, killed.log.len());
        assert_eq!(stopped.log, killed.log);
        Self { kind, before, killed, stopped, runtime }
    }

    fn read(&self, dir: &TempDir) -> Result<Vec<RawEntry>, StartError> {
        read(&self.runtime, dir.path(), &self.kind)
    }

    /// The file that holds the log, in a data directory.
    fn file(&self, dir: &TempDir) -> PathBuf {
        dir.path().join(match &self.kind {
            StoreKind::Redb => "raft/log.redb",
            StoreKind::Sled => "raft/log.sled/db",
            StoreKind::Memory(_) => unreachable!(),
        })
    }
}

fn read(runtime: &Runtime, dir: &Path, kind: &StoreKind) -> Result<Vec<RawEntry>, StartError> {
    let mut opened = open_dir(dir, ME, kind, FaultCell::default())?;
    Ok(runtime.block_on(opened.log.try_get_log_entries(0..)).unwrap())
}

fn damaged(error: &StartError) -> bool {
    matches!(error, StartError::Storage(StorageFault::Damaged { .. }))
}

/// Runs `case` with many choices. Plain loops over proptest's values: the images are made once.
fn cases<S: Strategy>(count: u32, strategy: &S, mut case: impl FnMut(S::Value)) {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..count {
        case(strategy.new_tree(&mut runner).unwrap().current());
    }
}

fn a_flipped_bit_is_found_or_meaningless(kind: StoreKind) {
    let images = Images::make(kind);
    let mut refused = 0;
    cases(40, &(any::<bool>(), any::<Index>(), 0_u8..8), |(stopped, at, bit)| {
        let image = if stopped { &images.stopped } else { &images.killed };
        let dir = copied(image.dir.path());
        let mut bytes = fs::read(images.file(&dir)).unwrap();
        // Most of the file is empty; damage there is no damage.
        let used = bytes.iter().filter(|byte| **byte != 0).count();
        *bytes.iter_mut().filter(|byte| **byte != 0).nth(at.index(used)).unwrap() ^= 1 << bit;
        fs::write(images.file(&dir), bytes).unwrap();
        match images.read(&dir) {
            Ok(log) => assert_eq!(log, image.log, "changed, and nobody said so"),
            Err(error) => {
                refused += 1;
                assert!(damaged(&error), "{error:?}");
            }
        }
    });
    assert!(refused > 0, "the flips hit something");
}

#[test]
fn a_flipped_bit_in_redb_is_found_or_meaningless() {
    a_flipped_bit_is_found_or_meaningless(StoreKind::Redb);
}

#[test]
fn a_flipped_bit_in_sled_is_found_or_meaningless() {
    a_flipped_bit_is_found_or_meaningless(StoreKind::Sled);
}

/// What power loss leaves of the last commit: any part of what it wrote, page by page, in any order.
fn a_torn_last_commit_counts_whole_or_not_at_all(kind: StoreKind) {
    let images = Images::make(kind);
    let before = fs::read(images.file(&images.before.dir)).unwrap();
    let after = fs::read(images.file(&images.killed.dir)).unwrap();
    let changed: Vec<usize> = (0..after.len().div_ceil(PAGE_BYTES))
        .filter(|page| page_of(&before, *page) != page_of(&after, *page))
        .collect();
    let mut seen = [false; 2];
    let strategy = (proptest::collection::vec(any::<bool>(), changed.len()), any::<Index>());
    cases(40, &strategy, |(written, cut)| {
        let mut torn = before.clone();
        torn.resize(before.len().max(after.len()), 0);
        let cut = cut.index(PAGE_BYTES + 1);
        for (page, _) in changed.iter().zip(written).filter(|(_, written)| *written) {
            // The last of them may be cut anywhere: disks write sectors, not pages.
            let last = Some(page) == changed.last();
            let bytes = page_of(&after, *page);
            let bytes = if last { &bytes[..cut.min(bytes.len())] } else { bytes };
            torn[page * PAGE_BYTES..][..bytes.len()].copy_from_slice(bytes);
        }
        // It was not acknowledged, so its mark was not written either.
        let dir = copied(images.before.dir.path());
        fs::write(images.file(&dir), torn).unwrap();
        let log = images.read(&dir).expect("repairs itself");
        assert!(log == images.before.log || log == images.killed.log);
        seen[usize::from(log == images.killed.log)] = true;
    });
    assert!(seen[0], "some were torn");
}

fn page_of(file: &[u8], page: usize) -> &[u8] {
    let start = (page * PAGE_BYTES).min(file.len());
    &file[start..(start + PAGE_BYTES).min(file.len())]
}

#[test]
fn a_torn_last_commit_of_redb_counts_whole_or_not_at_all() {
    a_torn_last_commit_counts_whole_or_not_at_all(StoreKind::Redb);
}

#[test]
fn a_torn_last_commit_of_sled_counts_whole_or_not_at_all() {
    a_torn_last_commit_counts_whole_or_not_at_all(StoreKind::Sled);
}

/// A file cut short: what was cut was acknowledged, or it does not matter.
fn a_file_cut_short_never_passes_for_whole(kind: StoreKind) {
    let images = Images::make(kind);
    cases(20, &(any::<bool>(), any::<Index>()), |(stopped, keep)| {
        let image = if stopped { &images.stopped } else { &images.killed };
        let dir = copied(image.dir.path());
        let file = fs::OpenOptions::new().write(true).open(images.file(&dir)).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(keep.index(usize::try_from(length).unwrap()) as u64).unwrap();
        match images.read(&dir) {
            Ok(log) => assert_eq!(log, image.log, "less, and nobody said so"),
            Err(error) => assert!(damaged(&error), "{error:?}"),
        }
    });
}

#[test]
fn a_redb_file_cut_short_never_passes_for_whole() {
    a_file_cut_short_never_passes_for_whole(StoreKind::Redb);
}

#[test]
fn a_sled_file_cut_short_never_passes_for_whole() {
    a_file_cut_short_never_passes_for_whole(StoreKind::Sled);
}

#[test]
fn damage_in_an_entry_names_the_file_the_entry_and_the_way_out() {
    let images = Images::make(StoreKind::Redb);
    let dir = copied(images.stopped.dir.path());
    let mut bytes = fs::read(images.file(&dir)).unwrap();
    let needle = b"needle-077";
    let places: Vec<usize> =
        (0..bytes.len() - 10).filter(|at| bytes[*at..].starts_with(needle)).collect();
    for at in places {
        bytes[at] ^= 1;
    }
    fs::write(images.file(&dir), bytes).unwrap();
    // Entries 0 to 2 made the cluster; the first needle is in entry 3.
    let expected = format!(
        "{} is damaged: log entry 80: its checksum does not match; keep a copy of the directory {}, then restore a \
         backup of it, or, where other managers hold the same state, move it away and join this node again",
        images.file(&dir).display(),
        dir.path().join("raft").display(),
    );
    assert_eq!(images.read(&dir).unwrap_err().to_string(), expected);
}

#[test]
fn a_log_that_is_gone_is_not_an_empty_log() {
    let images = Images::make(StoreKind::Redb);
    let dir = copied(images.stopped.dir.path());
    fs::remove_file(images.file(&dir)).unwrap();
    let error = images.read(&dir).unwrap_err();
    assert!(
        error.to_string().contains("the log ends at entry 0, but entry 123 was acknowledged"),
        "{error}"
    );
}

#[test]
fn a_lost_or_damaged_mark_costs_nothing() {
    let images = Images::make(StoreKind::Redb);
    for content in [&b""[..], b"short", &[255; 256], &[0; 256]] {
        let dir = copied(images.killed.dir.path());
        fs::write(dir.path().join("raft/mark"), content).unwrap();
        assert_eq!(images.read(&dir).unwrap(), images.killed.log);
    }
    let dir = copied(images.killed.dir.path());
    fs::remove_file(dir.path().join("raft/mark")).unwrap();
    assert_eq!(images.read(&dir).unwrap(), images.killed.log);
}

#[test]
fn an_interrupted_first_start_begins_anew() {
    for (kind, other) in [(StoreKind::Redb, false), (StoreKind::Sled, true)] {
        let runtime = Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("raft")).unwrap();
        let new = dir.path().join("raft/log.new");
        if other {
            fs::create_dir(&new).unwrap();
            fs::write(new.join("db"), b"half").unwrap();
        } else {
            fs::write(new, b"half").unwrap();
        }
        assert_eq!(read(&runtime, dir.path(), &kind).unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_named_and_an_unfinished_one_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), StoreKind::Redb);
    options.snapshots.entries = 5;
    let manager = Manager::alone(options.clone()).await;
    manager.raft.propose(found()).await.unwrap();
    while manager.raft.status().snapshot.0 == 0 {
        manager.raft.propose(vec![set_label("a", "b")]).await.unwrap();
    }
    manager.stop().await.unwrap();
    let snapshots = dir.path().join("raft/snapshots");
    fs::write(snapshots.join("999999.tmp"), b"unfinished").unwrap();
    fs::write(snapshots.join("notes.txt"), b"someone's").unwrap();
    Manager::alone(options.clone()).await.stop().await.unwrap();

    let newest = fs::read_dir(&snapshots).unwrap().map(|item| item.unwrap().path());
    let newest = newest.filter(|path| path.extension().unwrap() == "snapshot").max().unwrap();
    let whole = fs::read(&newest).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for bytes in [&flipped[..], &whole[..whole.len() - 1], &[]] {
        fs::write(&newest, bytes).unwrap();
        let Err(error) = start(options.clone()).await else { panic!("started with it") };
        let text = error.to_string();
        let named = format!("{} is damaged: this snapshot: ", newest.display());
        assert!(text.starts_with(&named) && text.contains("restore a backup"), "{text}");
    }
    fs::write(&newest, whole).unwrap();
    Manager::alone(options).await.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_ours_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), StoreKind::Redb);
    let refusal = async |change: &dyn Fn(&mut crate::Options)| {
        let mut changed = options.clone();
        change(&mut changed);
        match start(changed).await {
            Ok(_) => panic!("started"),
            Err(error) => error.to_string(),
        }
    };
    let raft = dir.path().join("raft").display().to_string();

    let manager = Manager::alone(options.clone()).await;
    let text = refusal(&|_| ()).await;
    let pid = std::process::id();
    assert_eq!(
        text,
        format!(
            "{raft} is in use by process {pid}: stop that one first, or choose another data directory"
        )
    );
    manager.stop().await.unwrap();

    let text = refusal(&|options| options.node = NodeId(2)).await;
    assert!(text.starts_with(&format!("{raft} belongs to node n1, not to n2: ")), "{text}");
    let text = refusal(&|options| options.store = StoreKind::Sled).await;
    assert!(text.starts_with(&format!("{raft} was made with --store redb, not sled: ")), "{text}");
    let text = refusal(&|options| options.timers.heartbeat = options.timers.election_max).await;
    assert!(text.contains("keep heartbeat < election min < election max"), "{text}");

    let format = dir.path().join("raft/FORMAT");
    let written = fs::read_to_string(&format).unwrap();
    fs::write(&format, written.replace("format 1", "format 2")).unwrap();
    let text = refusal(&|_| ()).await;
    assert_eq!(
        text,
        format!("{raft} holds format 2 and this build reads up to 1: start the newer build again")
    );
    fs::write(&format, "").unwrap();
    let text = refusal(&|_| ()).await;
    assert!(text.starts_with(&format!("{raft}/FORMAT is damaged: ")), "{text}");
    fs::write(&format, written).unwrap();

    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    let text = refusal(&|options| options.data_dir = file.clone()).await;
    assert!(text.starts_with(&format!("cannot write to {}/raft: ", file.display())), "{text}");
}
