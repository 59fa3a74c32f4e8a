//! What several managers promise, beside what one does.

use super::Fleet;
use super::log::{Origin, Slot};
use crate::assignment::{Want, want};
use crate::command::Entry;
use crate::id::LogIndex;
use crate::lease::LEASES;
use crate::round::{Round, decide};
use crate::state::State;
use crate::traffic;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Every so many entries the states of managers are compared as a whole.
const COMPARE: u64 = 8;

impl Fleet {
    fn breaks(&mut self, holds: bool, what: &'static str, about: impl FnOnce() -> String) {
        if !holds && self.world.broken.is_none() {
            let about = about();
            self.world.breaks(what, about);
        }
    }

    /// An entry is agreed on: it takes effect, and the checks of one manager look at it with the eyes of its author.
    pub(super) fn commit(&mut self, slot: Arc<Slot>) {
        let (term, author, index) = (slot.term, slot.author, slot.index);
        let known = *self.authors.entry(term).or_insert(author);
        let about = || format!("{author} and {known} in term {term}");
        self.breaks(known == author, "one leader in each term", about);
        let last = self.committed.last().map_or(0, |last| last.term);
        self.breaks(last <= term, "terms grow along the log", || format!("{term} after {last}"));
        let follows = index == self.world.index + 1;
        self.look_around();
        let late = match &slot.origin {
            Origin::Plan { base, observed } => {
                self.world.observed = observed.clone();
                let began = self.began.get(&term).copied().unwrap_or_default();
                let (since, about) = (observed.since, || format!("term {term} began at {began}"));
                self.breaks(since >= began, "what was heard ends with its leader", about);
                self.is_overtaken(&slot, *base)
            }
            Origin::Barrier => {
                self.began.insert(term, slot.at);
                false
            }
            Origin::Report | Origin::Hooks | Origin::Word => false,
        };
        self.world.replaying = late;
        let mut refusals = Vec::new();
        for command in &slot.commands {
            let command = command.clone();
            let told = format!("{command:?}");
            let entry = Entry { index: LogIndex(index), at: slot.at, wall: slot.wall, command };
            if let Err(refusal) = self.world.commit(entry) {
                refusals.push(format!("{told}: {refusal}"));
            }
        }
        self.world.replaying = false;
        let fresh = matches!(&slot.origin, Origin::Plan { base, .. } if base + 1 == index);
        let in_vain = fresh && refusals.len() == slot.commands.len();
        self.ambush(&slot.commands);
        self.committed.push(slot);
        self.breaks(follows, "entries follow each other", || index.to_string());
        self.breaks(!in_vain, "a plan is not refused as a whole", || refusals.join("; "));
    }

    /// I15: what a manager applies is what was agreed on, and makes the same state everywhere.
    pub(super) fn check_applied(&mut self, manager: usize, slot: &Arc<Slot>) {
        let nth = usize::try_from(slot.index - self.committed[0].index).unwrap_or(usize::MAX);
        let same = self.committed.get(nth).is_some_and(|agreed| Arc::ptr_eq(agreed, slot));
        let about = || format!("{manager} at {}", slot.index);
        self.breaks(same, "managers apply what was agreed on", about);
        if slot.index == self.world.index && slot.index.is_multiple_of(COMPARE) {
            self.compare(manager);
        }
    }

    fn compare(&mut self, manager: usize) {
        let found = &self.managers[manager];
        let (applied, same) = (found.applied, found.state == self.world.state);
        let agrees = applied < self.world.index || same;
        let about = || format!("{manager} differs at {applied}");
        self.breaks(agrees, "I15: managers come to the same state", about);
    }

    /// Nothing acknowledged is lost: who is elected has every entry that was agreed on.
    pub(super) fn check_elected(&mut self, manager: usize) {
        let found = &self.managers[manager];
        let missing = self.committed.iter().find(|slot| !found.has(slot)).map(|slot| slot.index);
        let about = || format!("{manager} leads without entry {}", missing.unwrap_or_default());
        self.breaks(missing.is_none(), "no acknowledged command is lost", about);
        self.compare(manager);
    }

    /// A leader planned. Where it had applied all there is, the checks look at it.
    pub(super) fn planned(
        &mut self,
        manager: usize,
        state: &State,
        round: &Round,
        late_since: Option<u64>,
    ) {
        if self.leader() != Some(manager) {
            return;
        }
        let late = late_since.map_or(0, |since| self.world.now.saturating_sub(since));
        self.world.lost += Duration::from_millis(late);
        self.world.report = round.plan.report.clone();
        if state.applied().0 == self.world.index
            && let Err(broken) = self.world.check_plan(&round.plan)
        {
            self.world.broken.get_or_insert(broken);
        }
    }

    /// What must be so when all is mended and quiet: one leader, equal managers, nothing to plan, every node runs what
    /// is assigned to it, and every resolver answers with the tasks that are ready.
    ///
    /// # Errors
    /// What is not so.
    pub fn converged(&self) -> Result<(), String> {
        let ensure = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        let leader = self.leader().ok_or("nobody leads in the end")?;
        for (manager, found) in self.managers.iter().enumerate() {
            let level = found.applied == self.world.index;
            let about = format!("{manager} applied {} of {}", found.applied, self.world.index);
            ensure(level, format!("a manager stays behind: {about}"))?;
            let same = found.state == self.world.state;
            ensure(same, format!("I15: managers come to the same state: {manager} does not"))?;
        }
        let state = &self.world.state;
        let hub = self.managers[leader].hub().ok_or("the leader does not lead")?;
        let round = decide(state, hub.observed(), self.time_of(leader), LEASES);
        let rest = round.plan.commands.len() + round.verdict.commands.len();
        ensure(rest == 0, format!("I17: something is left to plan: {:?}", round.plan.commands))?;
        let runs = |c: &&super::super::machine::Container| !c.phase.is_final() && !c.stopping;
        let running: BTreeSet<_> =
            self.world.containers.values().filter(runs).map(|c| c.task).collect();
        let wanted = state.tasks().filter(|task| want(task) == Want::Run);
        let wanted: BTreeSet<_> = wanted.map(|task| task.id).collect();
        let about = format!("{running:?} run and {wanted:?} are wanted");
        ensure(running == wanted, format!("what runs is what is assigned: {about}"))?;
        let mut slots = BTreeMap::new();
        for task in state.tasks().filter(|task| wanted.contains(&task.id)) {
            *slots.entry((task.service, task.slot, task.revision)).or_insert(0) += 1;
        }
        let twice = slots.iter().find(|(_, count)| **count > 1);
        ensure(twice.is_none(), format!("a slot is filled once: {twice:?}"))?;
        self.same_traffic(&traffic::view(state, hub.observed()))
    }

    fn same_traffic(&self, view: &traffic::TrafficView) -> Result<(), String> {
        for machine in self.world.machines.values() {
            let answers = &machine.resolver.view;
            if answers.services != view.services {
                let (name, at, told) = (&machine.name, answers.epoch, machine.resolver.told.epoch);
                let about = format!("{name} answers {at}, was told {told} of {}", view.epoch);
                return Err(format!("every resolver answers the same in the end: {about}"));
            }
            for endpoint in view.services.values().flat_map(|service| &service.endpoints) {
                let container = self.world.containers.get(&endpoint.task);
                if container.is_none_or(|found| found.ready != endpoint.ready) {
                    let task = endpoint.task;
                    return Err(format!("ready endpoints are ready tasks: {task} is not"));
                }
            }
        }
        Ok(())
    }
}
