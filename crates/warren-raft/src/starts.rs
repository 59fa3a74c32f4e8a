//! Which start of each manager is spoken with.
//!
//! A data directory that was copied and started a second time is one voter twice: in one term it votes for two, and it
//! acknowledges entries that its other half has not got. Therefore each start draws a number, which its messages and
//! answers carry. Whoever hears a manager keeps to the start it heard last while that one is heard; another start is
//! refused meanwhile. One that was merely restarted is let in as soon as the process before it is silent. One that
//! goes on to be refused runs twice, and stops.
//!
//! A copy is dangerous as well when the process it was copied from has ended: it has forgotten what was acknowledged
//! after the copy was made. The leader remembers, for as long as it leads.
//!
//! This file decides; [`crate::post`] says it to others.

use crate::options::Timers;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use warren_core::id::{LogIndex, NodeId};

/// How long one manager must refuse another start, without a break, until that one stops for it. A process that has
/// ended is heard no more after milliseconds, or after what a busy machine takes to look at what it had received; this
/// is long beside both.
const CERTAIN_AFTER: Duration = Duration::from_secs(5);

/// A start that nobody has: what is meant for it nobody takes.
pub(crate) const NOBODY: u64 = u64::MAX;

/// Who says something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) node: u64,
    /// The number of this start of it: neither 0, which stands for any, nor [`NOBODY`].
    pub(crate) start: u64,
    /// Where it says that it is reached.
    pub(crate) address: String,
}

/// Why a manager does not listen to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Unwelcome {
    /// What was said is meant for another start of the manager that got it.
    NotMeant,
    /// Another start of the same manager is heard, which says that it is reached there.
    Twin { address: String },
    /// Its log ends before an entry that it has acknowledged.
    Older { acknowledged: u64 },
}

/// Why this manager must not go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Displaced {
    /// The same manager runs somewhere else too.
    #[error(
        "the data directory of manager {node} is in use twice: {by} hears it from {address} as well, and keeps to that one"
    )]
    Twin {
        /// Which manager this is.
        node: NodeId,
        /// Where the other one says that it is reached.
        address: String,
        /// The manager that hears both.
        by: NodeId,
    },
    /// The log here lacks entries that this manager had.
    #[error(
        "the log of manager {node} ends before entry {acknowledged}, which it has acknowledged to {by}: the data \
         directory is an old copy, or its disk has lost what was written"
    )]
    Older {
        /// Which manager this is.
        node: NodeId,
        /// The last entry that it is known to have had.
        acknowledged: LogIndex,
        /// The manager that knows it.
        by: NodeId,
    },
}

/// What a manager remembers of the others' starts, and of what they say of its own.
#[derive(Debug)]
pub(crate) struct Starts {
    /// For so long after a start was heard it is there.
    lease: Duration,
    /// Two refusals that are further apart have nothing to do with each other.
    break_min: Duration,
    known: BTreeMap<u64, Known>,
    refused: BTreeMap<u64, Refused>,
}

/// Another manager.
#[derive(Debug)]
struct Known {
    sender: Sender,
    heard: Instant,
    /// The term in which this manager leads it, and the last entry that it acknowledged in that term.
    acknowledged: Option<(u64, u64)>,
    /// The start that had lost that entry.
    older: Option<(u64, u64)>,
}

/// Since when another manager refuses this start, and when it did last.
#[derive(Clone, Copy, Debug)]
struct Refused {
    since: Instant,
    last: Instant,
}

impl Starts {
    pub(crate) fn new(timers: &Timers) -> Self {
        Self {
            lease: timers.election_min,
            // Who hears no leader asks at least once in this time; three times it, since an answer may be lost.
            break_min: timers.election_max * 3,
            known: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Somebody was heard, who is to be reached at `agreed` as far as the managers have agreed.
    ///
    /// # Errors
    /// Why it is not to be listened to.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        sender: &Sender,
        agreed: Option<&str>,
    ) -> Result<(), Unwelcome> {
        let Some(known) = self.known.get_mut(&sender.node) else {
            let (sender, heard) = (sender.clone(), now);
            let known = Known { sender, heard, acknowledged: None, older: None };
            self.known.insert(known.sender.node, known);
            return Ok(());
        };
        if let Some((start, acknowledged)) = known.older
            && start == sender.start
        {
            return Err(Unwelcome::Older { acknowledged });
        }
        if known.sender.start != sender.start {
            let is_there = now.saturating_duration_since(known.heard) < self.lease;
            // The others find the one at the agreed address, so a copy somewhere else gives way to it.
            let comes_home = agreed == Some(sender.address.as_str())
                && agreed != Some(known.sender.address.as_str());
            if is_there && !comes_home {
                return Err(Unwelcome::Twin { address: known.sender.address.clone() });
            }
        }
        known.sender.clone_from(sender);
        known.heard = known.heard.max(now);
        Ok(())
    }

    /// The start of `node` for which a message to it is meant; 0 for any.
    pub(crate) fn meant(&self, now: Instant, node: u64) -> u64 {
        match self.known.get(&node) {
            Some(known) if known.older.is_some_and(|(start, _)| start == known.sender.start) => {
                NOBODY
            }
            Some(known) if now.saturating_duration_since(known.heard) < self.lease => {
                known.sender.start
            }
            Some(_) | None => 0,
        }
    }

    /// The last entry that `node` has acknowledged to this manager, which leads in `term`.
    pub(crate) fn acknowledged(&self, node: u64, term: u64) -> Option<u64> {
        let (of, entry) = self.known.get(&node)?.acknowledged?;
        (of == term).then_some(entry)
    }

    /// `node` has everything up to `entry` of the log of this manager, which leads in `term`.
    pub(crate) fn acknowledges(&mut self, node: u64, term: u64, entry: u64) {
        let Some(known) = self.known.get_mut(&node) else { return };
        known.acknowledged = match known.acknowledged {
            Some((of, before)) if of == term => Some((term, before.max(entry))),
            Some(_) | None => Some((term, entry)),
        };
    }

    /// The start of `node` that is heard lacks `entry`, which `node` had acknowledged.
    pub(crate) fn has_lost(&mut self, node: u64, entry: u64) {
        if let Some(known) = self.known.get_mut(&node) {
            known.older = Some((known.sender.start, entry));
        }
    }

    /// Forgets whoever is no member: one that becomes a manager again does so with an empty log.
    pub(crate) fn retain(&mut self, is_member: impl Fn(u64) -> bool) {
        self.known.retain(|node, _| is_member(*node));
        self.refused.retain(|node, _| is_member(*node));
    }

    /// Another manager refuses this start of `me`. Returns why this manager must not go on, once that is certain.
    pub(crate) fn refused(
        &mut self,
        now: Instant,
        me: NodeId,
        by: u64,
        why: &Unwelcome,
    ) -> Option<Displaced> {
        let (node, other) = (me, NodeId(by));
        match why {
            Unwelcome::NotMeant => None,
            Unwelcome::Older { acknowledged } => {
                let acknowledged = LogIndex(*acknowledged);
                Some(Displaced::Older { node, acknowledged, by: other })
            }
            Unwelcome::Twin { address } => {
                let refused = self.refused.entry(by).or_insert(Refused { since: now, last: now });
                if now.saturating_duration_since(refused.last) > self.break_min {
                    refused.since = now;
                }
                refused.last = now;
                let certain = now.saturating_duration_since(refused.since) >= CERTAIN_AFTER;
                let address = address.clone();
                certain.then_some(Displaced::Twin { node, address, by: other })
            }
        }
    }
}

#[cfg(test)]
mod tests;
