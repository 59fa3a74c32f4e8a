//! Drawing endpoints so that every client gets the shares of the split.
//!
//! An answer of `n` endpoints can hold a share of `w` only on average: of ten per cent there is
//! sometimes one endpoint among eight and mostly none. So the number of each track's endpoints is
//! drawn, with the share as its mean, and the order is shuffled. Then a client that takes the first
//! record and one that takes any see the same, exact share.

use crate::id::TaskId;
use crate::units::Weight;
use std::net::Ipv4Addr;

/// The most endpoints in one answer: with them and an SRV record for each it still fits in one
/// packet of 512 bytes, the least that every client takes (eight addresses are 128 bytes).
pub const ANSWER_SIZE_MAX: usize = 8;

/// One ready endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The task.
    pub task: TaskId,
    /// Its address.
    pub address: Ipv4Addr,
}

/// The ready endpoints that one name leads to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pool {
    /// Track after track.
    targets: Vec<Target>,
    /// Those with a share and at least one ready endpoint.
    tracks: Vec<Track>,
    /// The sum of the weights of `tracks`.
    total: usize,
    /// How many endpoints one answer has.
    size: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Track {
    ready: usize,
    weight: usize,
}

impl Pool {
    /// Every target has an equal share.
    #[must_use]
    pub fn even(targets: Vec<Target>) -> Self {
        if targets.is_empty() {
            return Self::default();
        }
        let track = Track { ready: targets.len(), weight: 1 };
        let size = targets.len().min(ANSWER_SIZE_MAX);
        Self { targets, tracks: vec![track], total: 1, size }
    }

    /// Each track has its weight; one that has no ready target leaves its share to the others.
    #[must_use]
    pub fn weighted<'a>(tracks: impl Iterator<Item = (Weight, &'a [Target])>) -> Self {
        let mut pool = Self::default();
        for (weight, targets) in tracks {
            if weight > Weight::ZERO && !targets.is_empty() {
                let weight = usize::from(weight.per_mille());
                pool.tracks.push(Track { ready: targets.len(), weight });
                pool.targets.extend_from_slice(targets);
                pool.total += weight;
            }
        }
        // No track may be asked for more endpoints than it has, which is what bounds the answer.
        let affordable = pool.tracks.iter().map(|track| track.ready * pool.total / track.weight);
        pool.size = affordable.min().map_or(0, |least| least.clamp(1, ANSWER_SIZE_MAX));
        pool
    }

    /// How many targets there are.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.targets.len()
    }

    /// The targets of one answer, all different, in the order in which to give them: none where
    /// none is ready.
    #[must_use]
    pub fn draw(&self, draw: u64) -> Drawn<'_> {
        let mut random = SplitMix(draw);
        let mut drawn = Drawn { pool: self, picked: [0; ANSWER_SIZE_MAX], len: 0 };
        if self.tracks.is_empty() {
            return drawn;
        }
        // Points at distance `total`, from a random start, over a line on which each track covers
        // `size · weight`: each track is hit ⌊size · share⌋ times or once more, with exactly its
        // share as the mean, and all of them together `size` times.
        let mut point = random.below(self.total);
        let (mut end, mut first) = (0, 0);
        for track in &self.tracks {
            end += self.size * track.weight;
            let hits = if point < end { (end - point).div_ceil(self.total) } else { 0 };
            point += hits * self.total;
            drawn.sample(&mut random, first, track.ready, hits);
            first += track.ready;
        }
        drawn.shuffle(&mut random);
        drawn
    }
}

/// The targets of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'a> {
    pool: &'a Pool,
    picked: [usize; ANSWER_SIZE_MAX],
    len: usize,
}

impl<'a> Drawn<'a> {
    /// The targets in the order in which to give them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a Target> + '_ {
        self.picked[..self.len].iter().map(|at| &self.pool.targets[*at])
    }

    /// Adds `count` different ones of the `ready` targets from `first` on, each set being as likely
    /// (Floyd).
    fn sample(&mut self, random: &mut SplitMix, first: usize, ready: usize, count: usize) {
        debug_assert!(count <= ready, "a track is not asked for more than it has");
        let start = self.len;
        for last in ready - count..ready {
            let candidate = first + random.below(last + 1);
            let taken = self.picked[start..self.len].contains(&candidate);
            self.picked[self.len] = if taken { first + last } else { candidate };
            self.len += 1;
        }
    }

    fn shuffle(&mut self, random: &mut SplitMix) {
        for at in (1..self.len).rev() {
            self.picked.swap(at, random.below(at + 1));
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and a mix, good enough to spread clients,
/// worthless as a secret.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is above 0. The bias is `limit` · 2⁻⁶⁴.
    fn below(&mut self, limit: usize) -> usize {
        let wide = u128::from(self.next()) * limit as u128;
        usize::try_from(wide >> 64).unwrap_or_default()
    }
}
