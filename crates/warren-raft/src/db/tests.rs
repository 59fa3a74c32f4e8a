//! One contract for all engines: the same as a map in memory, also after it was closed and opened again.

use super::memory::MemoryDisk;
use super::redb::RedbLog;
use super::sled::SledLog;
use super::*;
use proptest::prelude::*;
use std::path::Path;

#[derive(Clone, Debug)]
enum Step {
    Append { count: u8, bytes: usize },
    Truncate { count: u8 },
    Purge { count: u8 },
    Vote(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Up to and over the 16 KiB of a part in sled.
    let bytes = prop_oneof![0_usize..300, Just(16_384), 16_000_usize..100_000];
    let step = prop_oneof![
        6 => (1_u8..6, bytes).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        1 => (1_u8..4).prop_map(|count| Step::Truncate { count }),
        1 => (1_u8..9).prop_map(|count| Step::Purge { count }),
        1 => any::<u8>().prop_map(Step::Vote),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..24)
}

fn check_engine<D: LogDb>(steps: &[Step], open: impl Fn(&Path) -> io::Result<D>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let model = MemoryDisk::new();
    let mut db = Some(open(&path).unwrap());
    let (mut first, mut next) = (0, 0);
    for step in steps {
        let ops = match step {
            Step::Append { count, bytes } => {
                let begin = next;
                next += u64::from(*count);
                (begin..next)
                    .map(|index| Op::Put(index, vec![index.to_le_bytes()[0]; *bytes]))
                    .collect()
            }
            Step::Truncate { count } => {
                next = next.saturating_sub(u64::from(*count)).max(first);
                vec![Op::TruncateFrom(next)]
            }
            Step::Purge { count } if first < next => {
                let upto = (first + u64::from(*count)).min(next) - 1;
                first = upto + 1;
                vec![Op::PurgeTo(upto), Op::Set(Key::Purged, upto.to_le_bytes().to_vec())]
            }
            Step::Purge { .. } => Vec::new(),
            Step::Vote(vote) => vec![Op::Set(Key::Vote, vec![*vote])],
            Step::Reopen => {
                drop(db.take());
                db = Some(open(&path).unwrap());
                Vec::new()
            }
        };
        let db = db.as_ref().unwrap();
        model.commit(ops.clone()).unwrap();
        db.commit(ops).unwrap();
        assert_same(db, &model);
    }
}

fn assert_same(db: &impl LogDb, model: &MemoryDisk) {
    for bytes_max in [0, 1_000, usize::MAX] {
        let (found, expected) =
            (db.read(0..u64::MAX, bytes_max), model.read(0..u64::MAX, bytes_max));
        assert!(found.unwrap() == expected.unwrap(), "reads differ up to {bytes_max} bytes");
    }
    assert!(db.last().unwrap() == model.last().unwrap(), "last records differ");
    for key in [Key::Vote, Key::Purged] {
        assert_eq!(db.value(key).unwrap(), model.value(key).unwrap());
    }
}

proptest! {
    // Each case syncs a real disk some dozens of times.
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn redb_is_a_map_that_lasts(steps in steps()) {
        check_engine(&steps, RedbLog::open);
    }

    #[test]
    fn sled_is_a_map_that_lasts(steps in steps()) {
        check_engine(&steps, SledLog::open);
    }
}

/// What sled puts into files of their own it writes without a sync: nothing may get there.
#[test]
fn sled_keeps_the_largest_entries_in_its_synced_file() {
    let dir = tempfile::tempdir().unwrap();
    let db = SledLog::open(dir.path()).unwrap();
    for index in 0..40 {
        db.commit(vec![Op::Put(index, vec![index.to_le_bytes()[0]; 1 << 20])]).unwrap();
    }
    let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
    assert_eq!(blobs, 0, "blob files beside the log");
    assert_eq!(db.read(0..40, usize::MAX).unwrap().len(), 40);
}

#[test]
fn a_panic_of_an_engine_is_damage_with_its_words() {
    let error = contain::<()>(|| panic!("tried to read {}", "nothing")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("tried to read nothing"), "{error}");
}
