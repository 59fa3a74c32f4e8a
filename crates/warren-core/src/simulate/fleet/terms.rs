//! Who leads. Elections are decided at once, by the rule that Raft has for them: whoever has less in its log than a
//! majority has is not elected. A leader that is cut off goes on believing for a while.

use super::log::{Lead, Origin};
use super::{Event, Fleet};
use crate::command::Command;

/// How long a leader leads after a majority last answered it, and how long it may take to see that.
const LEASE: (u64, u64) = (300, 600);
/// How long the others wait before they elect another.
const ELECTION: (u64, u64) = (300, 1_000);

impl Fleet {
    pub(super) fn majority(&self) -> usize {
        self.managers.len() / 2 + 1
    }

    pub(super) fn reach(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.managers[a], &self.managers[b]);
        a.up && b.up && a.side == b.side
    }

    /// Whether a majority hears this manager.
    pub(super) fn is_heard(&self, manager: usize) -> bool {
        (0..self.managers.len()).filter(|other| self.reach(manager, *other)).count()
            >= self.majority()
    }

    /// Who leads and can have something agreed on.
    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.managers.len()).find(|m| {
            let lead = self.managers[*m].lead.as_ref();
            lead.is_some_and(|lead| lead.hub.is_some() && lead.term == self.term)
                && self.is_heard(*m)
        })
    }

    /// Elects a leader where there is none that a majority hears.
    pub(super) fn elect(&mut self) {
        let led = (0..self.managers.len()).any(|m| {
            let lead = self.managers[m].lead.as_ref();
            lead.is_some_and(|lead| lead.term == self.term) && self.is_heard(m)
        });
        if led {
            return;
        }
        let able: Vec<_> = (0..self.managers.len())
            .filter(|m| {
                let age = self.managers[*m].age();
                let votes = (0..self.managers.len())
                    .filter(|v| self.reach(*m, *v) && self.managers[*v].age() <= age);
                votes.count() >= self.majority()
            })
            .collect();
        if able.is_empty() {
            return;
        }
        let nth = self.chance.between(0, able.len() as u64 - 1);
        self.elected(able[usize::try_from(nth).unwrap_or(0)]);
    }

    fn elected(&mut self, manager: usize) {
        self.term += 1;
        for other in 0..self.managers.len() {
            if self.reach(manager, other) {
                self.managers[other].term = self.term;
                if self.managers[other].lead.is_some() {
                    self.step_down(other);
                }
            }
        }
        self.check_elected(manager);
        let first = self.managers[manager].first;
        let count = self.managers.len();
        let found = &mut self.managers[manager];
        let fence = found.last() + 1;
        let mut matched = vec![(first, first); count];
        for known in &mut matched {
            known.0 = found.agreed;
        }
        matched[manager].0 = found.synced;
        found.lead = Some(Lead { term: self.term, matched, again: false, fence, hub: None });
        let _at = self.propose(manager, Origin::Barrier, vec![Command::Checkpoint]);
    }

    /// A manager stops leading: its sessions end, and whoever waits for it is told nothing.
    pub(super) fn step_down(&mut self, manager: usize) {
        let Some(lead) = self.managers[manager].lead.take() else { return };
        if let Some(hub) = lead.hub {
            self.close_sessions(manager, &hub);
            self.unanswered(hub);
        }
    }

    /// A leader that no majority answered for a while looks whether one does by now.
    pub(super) fn look_at_lead(&mut self, manager: usize, term: u64) {
        if self.managers[manager].lead.as_ref().is_none_or(|lead| lead.term != term) {
            return;
        }
        if self.is_heard(manager) {
            self.apply(manager);
        } else {
            self.step_down(manager);
        }
    }

    /// A leader that no majority answers finds out, and the others elect another.
    pub(super) fn lose_touch(&mut self, manager: usize) {
        if let Some(lead) = &self.managers[manager].lead {
            let term = lead.term;
            let wait = self.chance.span(LEASE.0, LEASE.1);
            self.later(wait, Event::StepDown { manager, term });
        }
        self.elect_later();
    }

    pub(super) fn elect_later(&mut self) {
        let wait = self.chance.span(ELECTION.0, ELECTION.1);
        self.later(wait, Event::Elect);
    }

    /// A manager ends without warning. What is not on its disk is gone; with `torn`, more of it than usual.
    pub(super) fn crash(&mut self, manager: usize, torn: bool) {
        let (first, last) = (self.managers[manager].synced, self.managers[manager].last());
        // The kernel may have written what nobody waited for.
        let kept = if torn { first } else { self.chance.between(first, last) };
        let found = &mut self.managers[manager];
        found.cut_after(kept);
        found.synced = kept;
        found.up = false;
        found.life += 1;
        (found.applied, found.state) = found.snapshot.clone();
        found.agreed = found.applied;
        if let Some(hub) = found.lead.take().and_then(|lead| lead.hub) {
            self.reset_sessions(manager);
            self.unanswered(hub);
        }
        self.elect_later();
    }

    /// It starts again, or is reached again.
    pub(super) fn restore(&mut self, manager: usize, life: u64) {
        let found = &mut self.managers[manager];
        if found.life != life {
            return;
        }
        found.up = true;
        found.side = 0;
        for leader in 0..self.managers.len() {
            for to in 0..self.managers.len() {
                self.send_log(leader, to);
            }
        }
        self.elect_later();
    }

    /// The leader gives the lead to another, which has all of its log.
    pub(super) fn hand_over(&mut self) {
        let Some(leader) = self.leader() else { return };
        let age = self.managers[leader].age();
        let heirs: Vec<_> = (0..self.managers.len())
            .filter(|m| *m != leader && self.reach(leader, *m) && self.managers[*m].age() == age)
            .collect();
        if let Some(heir) = heirs.first() {
            self.elected(*heir);
        }
    }
}
