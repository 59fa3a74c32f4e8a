//! When a manager stands for election, and when it lets another one stand.
//!
//! openraft 0.9 begins an election as soon as its timer ends, so a manager that was cut off comes back with a higher
//! term and deposes a healthy leader. Warren keeps that timer off and asks first (Raft thesis, §9.6): a manager that
//! has not heard a leader asks the others whether they would let it stand, which changes nothing anywhere, and begins
//! an election only if a majority says yes. Who hears a leader says no.
//!
//! Silence alone proves nothing, so it has to last. But where the machine of a silent leader answers that nobody
//! listens at its address, the process has ended, and nobody has to wait any longer: who sees that asks, or says yes,
//! at once.
//!
//! This file decides; [`crate::campaign`] sends what it decides.

use crate::options::Timers;
use crate::types::LogId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// What a manager remembers between messages to know whether an election is due.
#[derive(Debug)]
pub(crate) struct Election {
    timers: Timers,
    chance: Chance,
    /// Until then it lets nobody stand: it has heard a leader, or given its vote, not long ago.
    loyal_until: Instant,
    /// When it asks the others, unless it hears a leader before.
    due: Instant,
    /// When it last began an election as the only voter.
    tried: Option<Instant>,
    /// When a leader was heard last, or a majority answered this one.
    heard: Option<Instant>,
    /// From then on it may look whether the leader's process is still there, unless it hears it before.
    look_at: Option<Instant>,
    /// The term before which nobody leads any more: the leader handed over to this manager, or its process has ended.
    vacant: Option<u64>,
    /// How often it has let its turn pass since it last heard a leader or asked, because its disk is full.
    passed: u32,
}

/// How often a manager whose disk is full lets its turn pass: a leader there could write nothing, so others come first.
/// After that it asks all the same: it may be the only one who has everything, and reads need a leader too.
const PASSES_MAX: u32 = 2;

/// So many signs of life of a leader are missed before its process is looked for: one may be late.
const MISSED: u32 = 2;

/// What a manager that would like to stand asks the others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Its current term, for the log of those it asks.
    pub(crate) term: u64,
    /// The last entry of its log.
    pub(crate) last: Option<LogId>,
}

/// What they answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Opinion {
    /// Whether it may stand.
    pub(crate) yes: bool,
    /// Whether the disk of the one that answers has room, so that it could lead itself.
    pub(crate) room: bool,
}

/// Where a manager stands at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) term: u64,
    /// Whether it votes.
    pub(crate) votes: bool,
    /// Whether nobody else does.
    pub(crate) alone: bool,
    /// Whether it leads.
    pub(crate) leads: bool,
    /// Whether its disk is too full for new writes.
    pub(crate) full: bool,
}

/// What a manager believed of its leader when it began to look for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Doubt {
    loyal_until: Instant,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Nothing before then, unless something changes.
    Wait(Instant),
    /// Look whether the leader's process is still there.
    Look,
    /// Ask the others, and begin an election if a majority says yes.
    Ask,
    /// Begin an election: nobody else votes.
    Elect,
}

impl Election {
    /// A manager that starts keeps quiet for the time of an election, since a leader may be there.
    pub(crate) fn new(timers: Timers, chance: Chance, now: Instant) -> Self {
        let loyal_until = now + timers.election_min;
        let mut election = Self {
            timers,
            chance,
            loyal_until,
            due: now,
            tried: None,
            heard: None,
            look_at: None,
            vacant: None,
            passed: 0,
        };
        election.due = now + election.patience();
        election
    }

    /// A leader was heard, or, on the leader, a majority answered it, at `at`.
    pub(crate) fn heard(&mut self, at: Instant) {
        self.heard = self.heard.max(Some(at));
        self.look_at = self.look_at.max(Some(at + self.timers.heartbeat * MISSED));
        self.loyal_until = self.loyal_until.max(at + self.timers.election_min);
        self.due = self.due.max(at + self.patience());
        self.passed = 0;
    }

    /// For how long no leader has been heard; absent where none has since this manager started.
    pub(crate) fn silence(&self, now: Instant) -> Option<Duration> {
        self.heard.map(|at| now.saturating_duration_since(at))
    }

    /// This manager gave its vote, to itself or to another: that one gets the time to show itself.
    pub(crate) fn voted(&mut self, now: Instant) {
        self.loyal_until = self.loyal_until.max(now + self.timers.heartbeat);
        self.due = self.due.max(now + self.patience());
    }

    /// Whether another manager may stand, whose log ends at `theirs`.
    pub(crate) fn allows(
        &mut self,
        now: Instant,
        theirs: Option<&LogId>,
        mine: Option<&LogId>,
    ) -> bool {
        let yes = now >= self.loyal_until && theirs >= mine;
        if yes {
            // Two that stand at once cost a round. It is little, so one that asks in vain again and again does not
            // keep this manager from standing.
            self.due = self.due.max(now + self.timers.heartbeat);
        }
        yes
    }

    /// What to do at `now`.
    pub(crate) fn next(&mut self, now: Instant, standing: &Standing) -> Step {
        if !standing.votes || standing.leads {
            return Step::Wait(now + self.timers.election_max);
        }
        if standing.alone {
            let again = self.tried.map(|tried| tried + self.timers.election_min);
            if let Some(again) = again.filter(|again| now < *again) {
                return Step::Wait(again);
            }
            self.tried = Some(now);
            return Step::Elect;
        }
        if now < self.due {
            return match self.look_at {
                Some(at) if at <= now => {
                    self.look_at = Some(now + self.timers.heartbeat);
                    Step::Look
                }
                Some(at) => Step::Wait(at.min(self.due)),
                None => Step::Wait(self.due),
            };
        }
        // The silence has lasted: what the leader's machine says matters no more.
        self.look_at = None;
        self.due = now + self.patience();
        if standing.full && self.passed < PASSES_MAX {
            self.passed += 1;
            return Step::Wait(self.due);
        }
        self.passed = 0;
        Step::Ask
    }

    /// Whether this manager may stand after all, once a majority has said yes: it may have heard a leader meanwhile.
    pub(crate) fn still_silent(&self, now: Instant) -> bool {
        now >= self.loyal_until
    }

    /// The leader hands over: an election in `term` is its wish.
    pub(crate) fn hand(&mut self, now: Instant, term: u64) {
        self.vacant = Some(term);
        self.voted(now);
    }

    /// To whom this manager keeps at the moment, for [`Self::gone`]; none where the leader was heard too lately to be
    /// in doubt.
    pub(crate) fn doubts(&self, now: Instant) -> Option<Doubt> {
        let silent = self.silence(now).is_some_and(|silence| silence >= self.timers.heartbeat);
        silent.then_some(Doubt { loyal_until: self.loyal_until })
    }

    /// The process of the leader that was in `doubt` has ended, so nobody leads before `term`: nobody has to wait for
    /// it. Returns whether that is news, and not overtaken by a new leader or a vote.
    pub(crate) fn gone(&mut self, now: Instant, doubt: Doubt, term: u64) -> bool {
        if doubt.loyal_until != self.loyal_until {
            return false;
        }
        self.vacant = Some(term);
        self.look_at = None;
        self.loyal_until = self.loyal_until.min(now);
        // All see it at the same time: a short wait keeps two from standing at once.
        self.due = now + self.chance.below(self.timers.heartbeat / 2);
        true
    }

    /// Whether in an election in `term` nobody has to wait for the leader before it.
    pub(crate) fn is_vacant(&self, term: u64) -> bool {
        self.vacant == Some(term)
    }

    /// How long to wait for a leader this time.
    fn patience(&mut self) -> Duration {
        let (min, max) = (self.timers.election_min, self.timers.election_max);
        min + self.chance.below(max.saturating_sub(min))
    }
}

/// Whether `granted` is a majority of each of `configs`: of two while the voters are being changed.
pub(crate) fn majority(configs: &[BTreeSet<u64>], granted: &BTreeSet<u64>) -> bool {
    configs.iter().all(|voters| voters.intersection(granted).count() * 2 > voters.len())
}

/// Chance, from a seed: the same seed, the same draws. It need not be hard to guess, only different on each node.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time from zero to `limit`.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next() % micros.saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
