//! Where a task goes best: spread over the failure domains asked for, then over nodes by revision and by service, then
//! to the emptiest node; ties by a hash, so that services do not all begin on the same node.

use super::room::Room;
use super::{Group, Presence};
use std::cmp::Reverse;

/// A node that fits, ordered so that the best is the greatest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(Reverse<Key>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    failed_here: bool,
    domains: Vec<u32>,
    same_revision: u32,
    same_service: u32,
    used_per_mille: u32,
    tie: u64,
    index: usize,
}

impl Candidate {
    pub(super) fn new(
        group: &Group<'_>,
        room: &Room<'_>,
        index: usize,
        presence: &Presence<'_>,
    ) -> Self {
        let (same_service, same_revision) = presence.on(room.node.id);
        let spread = group.placement.spread.iter().zip(&presence.domains);
        let domains = spread.map(|(key, counts)| {
            let value = room.node.labels.get(key).map_or("", String::as_str);
            counts.get(value).copied().unwrap_or(0)
        });
        Self(Reverse(Key {
            failed_here: presence.failed.contains(&room.node.id),
            domains: domains.collect(),
            same_revision,
            same_service,
            used_per_mille: room.used_per_mille(),
            tie: mix(group.service.0 ^ mix(room.node.id.0)),
            index,
        }))
    }

    pub(super) fn index(&self) -> usize {
        self.0.0.index
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
