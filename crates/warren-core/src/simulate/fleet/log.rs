//! The log of the managers: entries that go from the leader to the others, are agreed on once a majority has them on
//! disk, and are then applied by each.

use super::hub::Hub;
use super::{Event, Fleet};
use crate::command::{Applied, Command, Entry, Rejection};
use crate::id::LogIndex;
use crate::observed::Observed;
use crate::simulate::machine::ms;
use crate::state::State;
use crate::time::{ClusterTime, WallTime};
use std::sync::Arc;
use std::time::Duration;

/// When entries are sent again that were not answered.
const AGAIN: Duration = Duration::from_millis(150);
/// A manager that is so many entries behind is sent a snapshot.
const FAR_BEHIND: u64 = 40;

/// What made an entry.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// A new leader, so that everything before it is agreed on.
    Barrier,
    /// A round of planning, from the state at `base` and what had been heard.
    Plan { base: u64, observed: Observed },
    /// What agents said.
    Report,
    /// The answers of hooks.
    Hooks,
    /// What somebody asked for.
    Word,
}

/// One entry of the log.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) author: usize,
    pub(super) at: ClusterTime,
    pub(super) wall: WallTime,
    pub(super) commands: Vec<Command>,
    pub(super) origin: Origin,
}

/// What a manager is while it believes that it leads.
#[derive(Clone, Debug)]
pub(super) struct Lead {
    pub(super) term: u64,
    /// Up to where each manager has the log on disk, and up to where it was told that it is agreed on.
    pub(super) matched: Vec<(u64, u64)>,
    pub(super) again: bool,
    /// The entry after which it has everything that was ever agreed on.
    pub(super) fence: u64,
    pub(super) hub: Option<Hub>,
}

/// One manager.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    pub(super) up: bool,
    /// Who is cut off from the others has a number of its own.
    pub(super) side: usize,
    /// Counts its starts: what was under way before one is void.
    pub(super) life: u64,
    pub(super) state: State,
    pub(super) applied: u64,
    pub(super) agreed: u64,
    pub(super) first: u64,
    pub(super) log: Vec<Arc<Slot>>,
    /// Up to where the log is on its disk.
    pub(super) synced: u64,
    /// Up to where the log is known to be that of the leader of this term.
    pub(super) verified: (u64, u64),
    pub(super) leader: usize,
    pub(super) term: u64,
    pub(super) snapshot: (u64, State),
    /// Until when its disk stands still.
    pub(super) stalled_until: u64,
    pub(super) lead: Option<Lead>,
}

/// Entries on their way.
#[derive(Clone, Debug)]
pub(super) struct Append {
    from: usize,
    to: usize,
    life: u64,
    term: u64,
    before: (u64, u64),
    entries: Vec<Arc<Slot>>,
    agreed: u64,
    snapshot: Option<Box<State>>,
}

/// What a manager says of its log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched {
    from: usize,
    to: usize,
    term: u64,
    upto: u64,
    agreed: u64,
    /// Whether it fits to what was sent.
    fits: bool,
}

impl Manager {
    pub(super) fn new(state: State) -> Self {
        let first = state.applied().0;
        Self {
            up: true,
            side: 0,
            life: 0,
            snapshot: (first, state.clone()),
            state,
            applied: first,
            agreed: first,
            first,
            log: Vec::new(),
            synced: first,
            verified: (0, first),
            leader: 0,
            term: 0,
            stalled_until: 0,
            lead: None,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    fn entry(&self, index: u64) -> Option<&Arc<Slot>> {
        let nth = index.checked_sub(self.first + 1)?;
        self.log.get(usize::try_from(nth).ok()?)
    }

    fn term_at(&self, index: u64) -> u64 {
        self.entry(index).map_or(0, |slot| slot.term)
    }

    fn after(&self, index: u64) -> Vec<Arc<Slot>> {
        let nth = usize::try_from(index - self.first).unwrap_or(usize::MAX);
        self.log.get(nth..).unwrap_or_default().to_vec()
    }

    pub(super) fn cut_after(&mut self, index: u64) {
        self.log.truncate(usize::try_from(index - self.first).unwrap_or(usize::MAX));
        self.synced = self.synced.min(index);
    }

    /// How new its log is: who has less is not elected.
    pub(super) fn age(&self) -> (u64, u64) {
        (self.term_at(self.last()), self.last())
    }

    /// Whether it has this very entry.
    pub(super) fn has(&self, slot: &Arc<Slot>) -> bool {
        self.entry(slot.index).is_some_and(|have| Arc::ptr_eq(have, slot))
    }

    /// Takes a snapshot, which `copy` writes and reads.
    pub(super) fn snapshot(&mut self, copy: impl Fn(&State) -> State) {
        self.snapshot = (self.applied, copy(&self.state));
    }

    pub(super) fn hub(&self) -> Option<&Hub> {
        self.lead.as_ref().and_then(|lead| lead.hub.as_ref())
    }

    pub(super) fn hub_mut(&mut self) -> Option<&mut Hub> {
        self.lead.as_mut().and_then(|lead| lead.hub.as_mut())
    }
}

impl Fleet {
    /// Puts commands into the leader's own log and sends them on. Returns where they are; nothing if it does not lead.
    pub(super) fn propose(
        &mut self,
        manager: usize,
        origin: Origin,
        commands: Vec<Command>,
    ) -> Option<u64> {
        if self.silences > 0 {
            self.hold_up();
        }
        let (at, wall) = (self.time_of(manager), self.world.wall());
        let author = manager;
        let found = &mut self.managers[manager];
        let term = found.lead.as_ref()?.term;
        let index = found.last() + 1;
        found.log.push(Arc::new(Slot { index, term, author, at, wall, commands, origin }));
        self.write(manager);
        for to in 0..self.managers.len() {
            self.send_log(manager, to);
        }
        Some(index)
    }

    /// No disk goes on for a while: longer than an author waits who is told nothing.
    fn hold_up(&mut self) {
        let until = self.world.now + ms(self.chance.span(20, 800));
        for manager in &mut self.managers {
            manager.stalled_until = manager.stalled_until.max(until);
        }
    }

    /// What is in the manager's log will be on its disk.
    fn write(&mut self, manager: usize) {
        let found = &self.managers[manager];
        let stall = found.stalled_until.saturating_sub(self.world.now);
        let (life, upto, term) = (found.life, found.last(), found.term_at(found.last()));
        let wait = Duration::from_millis(stall) + self.chance.span(1, 8);
        self.later(wait, Event::Synced { manager, life, upto, term });
    }

    pub(super) fn send_log(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        if let Some(lead) = self.managers[from].lead.as_mut()
            && !lead.again
        {
            lead.again = true;
            let term = lead.term;
            self.later(AGAIN, Event::Again { manager: from, term });
        }
        let wait = self.chance.span(1, 12);
        let lost = self.chance.one_in(40);
        let leader = &self.managers[from];
        let Some(lead) = leader.lead.as_ref() else { return };
        let (matched, _) = lead.matched[to];
        let far = leader.applied > matched + FAR_BEHIND;
        let before = if far { leader.applied } else { matched.min(leader.last()) };
        let append = Append {
            from,
            to,
            life: self.managers[to].life,
            term: lead.term,
            before: (before, leader.term_at(before)),
            entries: leader.after(before),
            agreed: leader.agreed,
            snapshot: far.then(|| Box::new(leader.state.clone())),
        };
        if !lost && self.reach(from, to) {
            self.later(wait, Event::Append(Box::new(append)));
        }
    }

    /// Sends again to those who are behind.
    pub(super) fn send_again(&mut self, manager: usize, term: u64) {
        let all = self.managers.len();
        let found = &mut self.managers[manager];
        let (last, agreed) = (found.last(), found.agreed);
        let Some(lead) = found.lead.as_mut().filter(|lead| lead.term == term) else { return };
        lead.again = false;
        let matched = lead.matched.clone();
        for to in (0..all).filter(|to| *to != manager) {
            if matched[to] != (last, agreed) && self.reach(manager, to) {
                self.send_log(manager, to);
            }
        }
    }

    pub(super) fn append(&mut self, append: Append) {
        let Append { from, to, term, before, .. } = append;
        if !self.reach(from, to) || self.managers[to].life != append.life {
            return;
        }
        if term < self.managers[to].term {
            return;
        }
        if self.managers[to].lead.as_ref().is_some_and(|lead| lead.term < term) {
            self.step_down(to);
        }
        let found = &mut self.managers[to];
        found.term = term;
        found.leader = from;
        if found.verified.0 != term {
            found.verified = (term, found.first);
        }
        if let Some(state) = append.snapshot
            && before.0 > found.agreed
        {
            let log = self.committed.clone();
            let found = &mut self.managers[to];
            found.log = log;
            found.cut_after(before.0);
            (found.state, found.applied, found.agreed) = (*state, before.0, before.0);
            found.synced = before.0;
            found.snapshot = (before.0, found.state.clone());
        }
        let found = &mut self.managers[to];
        if found.last() < before.0 || found.term_at(before.0) != before.1 {
            let upto = found.agreed;
            return self.answer_leader(to, upto, false);
        }
        for slot in append.entries {
            let index = slot.index;
            found.verified.1 = found.verified.1.max(index);
            if found.entry(index).is_some_and(|have| have.term == slot.term) {
                continue;
            }
            if found.last() >= index {
                found.cut_after(index - 1);
            }
            found.log.push(slot);
        }
        found.verified.1 = found.verified.1.max(before.0);
        found.agreed = found.agreed.max(append.agreed.min(found.verified.1));
        self.apply(to);
        self.write(to);
    }

    fn answer_leader(&mut self, manager: usize, upto: u64, fits: bool) {
        let found = &self.managers[manager];
        let (from, to, term, agreed) = (manager, found.leader, found.term, found.agreed);
        let wait = self.chance.span(1, 12);
        if !self.chance.one_in(40) && self.reach(from, to) {
            self.later(wait, Event::Matched(Matched { from, to, term, upto, agreed, fits }));
        }
    }

    pub(super) fn synced(&mut self, manager: usize, life: u64, upto: u64, term: u64) {
        let found = &mut self.managers[manager];
        if found.life != life || found.last() < upto || found.term_at(upto) != term {
            return;
        }
        found.synced = found.synced.max(upto);
        let (synced, agreed) = (found.synced, found.agreed);
        if let Some(lead) = found.lead.as_mut() {
            lead.matched[manager] = (synced, agreed);
            self.agree(manager);
        } else {
            let upto = synced.min(found.verified.1);
            self.answer_leader(manager, upto, true);
        }
    }

    pub(super) fn matched(&mut self, answer: Matched) {
        let Matched { from, to, term, upto, agreed, fits } = answer;
        let found = self.managers[to].lead.as_mut();
        let Some(lead) = found.filter(|lead| lead.term == term) else { return };
        if !fits {
            lead.matched[from] = (upto, agreed);
            return self.send_log(to, from);
        }
        let known = lead.matched[from];
        lead.matched[from] = (known.0.max(upto), known.1.max(agreed));
        self.agree(to);
    }

    /// The leader sees up to where a majority has its log.
    fn agree(&mut self, manager: usize) {
        let majority = self.majority();
        let found = &mut self.managers[manager];
        let Some(lead) = found.lead.as_ref() else { return };
        let mut on_disk: Vec<_> = lead.matched.iter().map(|(upto, _)| *upto).collect();
        on_disk.sort_unstable_by(|a, b| b.cmp(a));
        let upto = on_disk[majority - 1];
        if upto <= found.agreed || found.term_at(upto) != lead.term {
            return;
        }
        found.agreed = upto;
        while self.world.index < upto {
            let slot = self.managers[manager].entry(self.world.index + 1).cloned();
            let Some(slot) = slot else { break };
            self.commit(slot);
        }
        self.apply(manager);
        for to in 0..self.managers.len() {
            self.send_log(manager, to);
        }
    }

    /// A manager applies what is agreed on.
    pub(super) fn apply(&mut self, manager: usize) {
        loop {
            let found = &mut self.managers[manager];
            if found.applied >= found.agreed {
                break;
            }
            let Some(slot) = found.entry(found.applied + 1).cloned() else { break };
            found.applied = slot.index;
            let mut answers: Vec<Result<Applied, Rejection>> = Vec::new();
            for command in &slot.commands {
                let command = command.clone();
                let entry =
                    Entry { index: LogIndex(slot.index), at: slot.at, wall: slot.wall, command };
                answers.push(found.state.apply(entry));
            }
            self.check_applied(manager, &slot);
            self.answered(manager, &slot, &answers);
        }
        self.follow(manager);
        let found = &self.managers[manager];
        let ripe = found.lead.as_ref().is_some_and(|lead| {
            lead.hub.is_none() && found.applied >= lead.fence && lead.term == found.term
        });
        if ripe && self.is_heard(manager) {
            self.take_over(manager);
        }
    }

    /// Cluster time as a manager has it.
    pub(super) fn time_of(&self, manager: usize) -> ClusterTime {
        let found = &self.managers[manager];
        let led = found.hub().map(|hub| {
            let (since, time) = hub.led_from;
            time.after(Duration::from_millis(self.world.now - since))
        });
        led.unwrap_or_default().max(found.state.time())
    }

    /// When `at` is, on the clock of the simulation, as this leader counts.
    pub(super) fn moment(&self, manager: usize, at: ClusterTime) -> u64 {
        self.world.now + ms(at.since(self.time_of(manager)))
    }

    /// Whether an entry other than a plan came between the state that a plan was made from and the plan.
    pub(super) fn is_overtaken(&self, slot: &Slot, base: u64) -> bool {
        let between = self.committed.iter().rev().take_while(|other| other.index > base);
        let mut between = between.filter(|other| other.index < slot.index);
        between.any(|other| !matches!(other.origin, Origin::Plan { .. }))
    }
}
