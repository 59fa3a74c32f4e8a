//! Who did what, when and from where: a bounded list whose entries are chained by hashes, so that none can be changed,
//! added or left out unseen.

mod deed;

pub use deed::Deed;

use crate::id::LogIndex;
use crate::service::Actor;
use crate::time::WallTime;
use imbl::Vector;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Entries kept in the replicated state, some hundred bytes each: months of a busy team, and two megabytes. Whoever
/// keeps them longer reads them off; the chain shows that nothing is missing between.
pub const AUDIT_KEPT: usize = 10_000;

/// The longest text of one field: a reason has a limit of its own below this, so only lists are cut.
const TEXT_BYTES_MAX: usize = 1_024;

/// One deed and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// 1 for the first of the cluster, and one more for each after it.
    pub number: u64,
    /// The entry of the log that did it.
    pub index: LogIndex,
    /// When, on the leader's wall clock.
    pub wall: WallTime,
    /// Who, and from where.
    pub by: Actor,
    /// What, as in `service update`.
    pub action: String,
    /// To what, as in `web`.
    pub target: String,
    /// More of it, as in a reason.
    pub detail: String,
    /// Why it was refused; empty where it was done.
    pub refused: String,
    /// SHA-256 over the hash before this one and all that is above.
    pub hash: [u8; 32],
}

impl AuditEntry {
    /// The hash that this entry must have after an entry with the hash `before`: SHA-256 over `before` and then each
    /// field, numbers as 8 bytes, the highest first, texts as their length in bytes and their bytes.
    #[must_use]
    pub fn chained(&self, before: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(before);
        for number in [self.number, self.index.0, self.wall.0] {
            hash.update(number.to_be_bytes());
        }
        let by = [&self.by.name, &self.by.from];
        for text in by.into_iter().chain([&self.action, &self.target, &self.detail, &self.refused])
        {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

/// The kept entries and the end of the chain.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct AuditLog {
    entries: Vector<Arc<AuditEntry>>,
    /// How many there have ever been.
    count: u64,
    /// The hash of the entry before the oldest that is kept; zeros before the first.
    before: [u8; 32],
}

impl AuditLog {
    /// The kept entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<AuditEntry>> + ExactSizeIterator {
        self.entries.iter()
    }

    /// The kept entries from `number` on.
    pub fn from(&self, number: u64) -> impl Iterator<Item = &Arc<AuditEntry>> {
        let first = self.entries.front().map_or(0, |entry| entry.number);
        let skipped = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped)
    }

    /// How many there have ever been.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The hash of the entry before the oldest that is kept; zeros before the first.
    #[must_use]
    pub fn before(&self) -> &[u8; 32] {
        &self.before
    }

    pub(crate) fn add(&mut self, deed: Deed, index: LogIndex, wall: WallTime, refused: String) {
        self.count += 1;
        let before = self.entries.back().map_or(self.before, |last| last.hash);
        let Deed { by, action, target, detail, .. } = deed;
        let mut entry = AuditEntry {
            number: self.count,
            index,
            wall,
            by,
            action,
            target: cut(target),
            detail: cut(detail),
            refused: cut(refused),
            hash: [0; 32],
        };
        entry.hash = entry.chained(&before);
        self.entries.push_back(Arc::new(entry));
        if self.entries.len() > AUDIT_KEPT
            && let Some(oldest) = self.entries.pop_front()
        {
            self.before = oldest.hash;
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

/// The first entry that does not follow from the one before it, where `before` is the hash before all; absent where the
/// chain is whole.
#[must_use]
pub fn broken<'a>(
    before: [u8; 32],
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Option<u64> {
    let mut last: Option<u64> = None;
    let mut before = before;
    for entry in entries {
        let follows = last.is_none_or(|last| entry.number == last + 1);
        if !follows || entry.chained(&before) != entry.hash {
            return Some(entry.number);
        }
        (last, before) = (Some(entry.number), entry.hash);
    }
    None
}

#[cfg(test)]
mod tests;
