//! The format on disk does not change by accident, and damage does not pass for data.

use super::*;
use crate::types::{Batch, LogId, RawEntry};
use openraft::{CommittedLeaderId, EntryPayload, Membership};
use proptest::prelude::*;
use std::collections::BTreeMap;
use warren_core::command::Command;
use warren_core::time::{ClusterTime, WallTime};

/// One of each payload, as format 1 wrote them. They must be read for as long as format 1 is read; a change of these
/// bytes is a new format.
const GOLDEN: [&str; 3] = [
    "013831d60c03010002010101010106613a37343030",
    "012f42eee503010100",
    "017e7048d303010201dc0b8081e7e39f340200ef9bafcdf8acd191010677617272656e0ad200001001",
];

fn entries() -> [RawEntry; 3] {
    let id = |index| LogId::new(CommittedLeaderId::new(3, 1), index);
    let node = crate::types::Peer { address: "a:7400".to_owned() };
    let members = Membership::new(vec![[1].into()], BTreeMap::from([(1, node)]));
    let init = Command::InitCluster {
        id: warren_core::ClusterId(0x0123_4567_89ab_cdef),
        zone: "warren".to_owned(),
        pool: "10.210.0.0/16".parse().unwrap(),
    };
    let batch = Batch {
        at: ClusterTime::from_ms(1_500),
        wall: WallTime(1_795_237_200_000),
        commands: vec![init, Command::Checkpoint],
    };
    [
        RawEntry { log_id: id(0), payload: EntryPayload::Membership(members) },
        RawEntry { log_id: id(1), payload: EntryPayload::Blank },
        RawEntry { log_id: id(2), payload: EntryPayload::Normal(batch) },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

#[test]
fn format_1_is_what_it_was() {
    for (entry, golden) in entries().iter().zip(GOLDEN) {
        let index = entry.log_id.index;
        assert_eq!(hex(&seal(index, entry).unwrap()), golden, "entry {index} is written as before");
        let read: RawEntry = open(index, &unhex(golden)).unwrap();
        assert_eq!(&read, entry, "entry {index} is read as before");
    }
}

#[test]
fn a_newer_format_is_told_apart_from_damage() {
    let mut bytes = vec![VERSION + 1, 0, 0, 0, 0, 42];
    assert_eq!(open::<u8>(9, &bytes), Err(Flaw::Checksum));
    let checksum = checksum(9, &bytes);
    bytes[1..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(open::<u8>(9, &bytes), Err(Flaw::TooNew { found: VERSION + 1 }));
}

proptest! {
    #[test]
    fn what_was_sealed_opens_only_unchanged_and_in_its_place(
        place: u64, value: Vec<u8>, byte: proptest::sample::Index, bit in 0_u8..8, other: u64,
    ) {
        let bytes = seal(place, &value).unwrap();
        prop_assert_eq!(open::<Vec<u8>>(place, &bytes), Ok(value));
        prop_assert_eq!(open::<Vec<u8>>(other, &bytes).is_ok(), other == place);
        let mut flipped = bytes.clone();
        flipped[byte.index(bytes.len())] ^= 1 << bit;
        prop_assert!(open::<Vec<u8>>(place, &flipped).is_err());
        prop_assert!(open::<Vec<u8>>(place, &bytes[..byte.index(bytes.len())]).is_err());
    }
}
