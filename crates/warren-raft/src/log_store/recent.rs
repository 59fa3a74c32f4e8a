//! The end of the log in memory. What was just written is read again at once: by a task for each follower, and to be
//! applied. From here it costs no trip to the engine, and no decoding.

use crate::types::RawEntry;
use std::collections::VecDeque;
use std::ops::Range;

/// What is kept: as much as one message to a follower carries, so that followers that keep up never reach the disk.
pub(super) const BYTES_MAX: usize = super::READ_BYTES_MAX;

/// The last entries of the log, without a gap. It may hold fewer than the log, never others.
#[derive(Default)]
pub(super) struct Recent {
    /// With the size of each one's record.
    entries: VecDeque<(RawEntry, usize)>,
    bytes: usize,
}

impl Recent {
    /// Takes entries that are durable, with the sizes of their records.
    pub(super) fn push(&mut self, entries: impl IntoIterator<Item = (RawEntry, usize)>) {
        for (entry, bytes) in entries {
            if self.end().is_some_and(|end| end != entry.log_id.index) {
                self.clear();
            }
            self.bytes += bytes;
            self.entries.push_back((entry, bytes));
        }
        while self.bytes > BYTES_MAX {
            self.bytes -= self.entries.pop_front().map_or(self.bytes, |(_, bytes)| bytes);
        }
    }

    /// Forgets the entries from `index` on.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.end().is_some_and(|end| end > index) {
            self.bytes -= self.entries.pop_back().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// Forgets the entries up to `index`.
    pub(super) fn purge(&mut self, index: u64) {
        while self.entries.front().is_some_and(|(entry, _)| entry.log_id.index <= index) {
            self.bytes -= self.entries.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// The entries of `range`: as many as fit in `bytes_max`, but at least one. `None` where not all of the range is
    /// here, so that it is to be read from the engine.
    pub(super) fn read(&self, range: &Range<u64>, bytes_max: usize) -> Option<Vec<RawEntry>> {
        let first = self.entries.front()?.0.log_id.index;
        if range.is_empty() || range.start < first || range.end > self.end()? {
            return None;
        }
        let skipped = usize::try_from(range.start - first).ok()?;
        let wanted = usize::try_from(range.end - range.start).ok()?;
        let mut left = bytes_max;
        let fits = |(at, (_, bytes)): &(usize, &(RawEntry, usize))| {
            let fits = *at == 0 || *bytes <= left;
            left = left.saturating_sub(*bytes);
            fits
        };
        let entries = self.entries.iter().skip(skipped).take(wanted).enumerate().take_while(fits);
        Some(entries.map(|(_, (entry, _))| entry.clone()).collect())
    }

    fn end(&self) -> Option<u64> {
        self.entries.back().map(|(entry, _)| entry.log_id.index + 1)
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::{CommittedLeaderId, EntryPayload};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(index: u64, term: u64) -> RawEntry {
        let log_id = openraft::LogId::new(CommittedLeaderId::new(term, 1), index);
        RawEntry { log_id, payload: EntryPayload::Blank }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// So many entries, each of that size.
        Push(u64, usize),
        /// From so many before the end.
        Truncate(u64),
        /// Up to so many after the first.
        Purge(u64),
        /// From so many before the end, so many, of at most these bytes.
        Read(u64, u64, usize),
        /// The log goes on after a gap, as after a snapshot from the leader.
        Jump(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = prop_oneof![1_usize..100, (BYTES_MAX / 4)..(BYTES_MAX * 2)];
        prop_oneof![
            4 => (1_u64..6, size).prop_map(|(count, bytes)| Step::Push(count, bytes)),
            1 => (1_u64..8).prop_map(Step::Truncate),
            1 => (0_u64..4).prop_map(Step::Purge),
            4 => (1_u64..10, 0_u64..10, prop_oneof![1_usize..500, Just(usize::MAX)])
                .prop_map(|(back, count, bytes)| Step::Read(back, count, bytes)),
            1 => (1_u64..5).prop_map(Step::Jump),
        ]
    }

    proptest! {
        /// What it gives is what a log of which nothing is forgotten would give, and the newest entry is always there.
        #[test]
        fn it_gives_what_the_log_gives_or_nothing(steps in proptest::collection::vec(step(), 1..60)) {
            let mut recent = Recent::default();
            let mut log: BTreeMap<u64, (RawEntry, usize)> = BTreeMap::new();
            let mut next = 1;
            for (term, step) in (1..).zip(steps) {
                match step {
                    Step::Push(count, bytes) => {
                        let new: Vec<_> = (next..next + count).map(|i| (entry(i, term), bytes)).collect();
                        log.extend(new.iter().map(|new| (new.0.log_id.index, new.clone())));
                        recent.push(new);
                        next += count;
                        let newest = recent.read(&(next - 1..next), 1);
                        let expected = (bytes <= BYTES_MAX).then(|| vec![entry(next - 1, term)]);
                        prop_assert_eq!(newest, expected);
                    }
                    Step::Truncate(back) => {
                        let from = next.saturating_sub(back).max(1);
                        log.split_off(&from);
                        recent.truncate(from);
                        next = from;
                    }
                    Step::Purge(count) => {
                        let Some(first) = log.keys().next().copied() else { continue };
                        let upto = (first + count).min(next - 1);
                        log = log.split_off(&(upto + 1));
                        recent.purge(upto);
                    }
                    Step::Jump(gap) => {
                        next += gap;
                        log.clear();
                        recent.purge(next - 1);
                    }
                    Step::Read(back, count, bytes_max) => {
                        let start = next.saturating_sub(back);
                        let range = start..(start + count);
                        let Some(read) = recent.read(&range, bytes_max) else { continue };
                        let mut left = bytes_max;
                        let mut expected = Vec::new();
                        for (entry, bytes) in log.range(range).map(|(_, known)| known) {
                            if !expected.is_empty() && *bytes > left {
                                break;
                            }
                            left = left.saturating_sub(*bytes);
                            expected.push(entry.clone());
                        }
                        prop_assert!(!read.is_empty());
                        prop_assert_eq!(read, expected);
                    }
                }
                prop_assert!(recent.bytes <= BYTES_MAX);
                prop_assert_eq!(recent.bytes, recent.entries.iter().map(|(_, bytes)| bytes).sum::<usize>());
            }
        }
    }
}
