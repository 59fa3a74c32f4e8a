//! The leader: it hears, plans and applies. Another one starts with what is agreed and nothing else.

use super::cluster::{Cluster, Event, REPLAYED};
use super::machine::ms;
use crate::command::Command;
use crate::id::{NodeId, NoticeId};
use crate::invariant::Violation;
use crate::lease::{self, LEASES};
use crate::observed::Observed;
use crate::plan::plan;
use crate::round::CHECKPOINT;
use crate::state::State;
use crate::time::ClusterTime;
use std::collections::BTreeSet;
use std::time::Duration;

/// When a leader plans again whose commands were lost.
const LOST: Duration = Duration::from_millis(100);
/// Rounds of planning at one moment: a release of 100 steps that are skipped takes fewer.
const ROUNDS_MAX: u32 = 300;

impl Cluster {
    /// Plans and applies until there is nothing more to do at this moment.
    pub(super) fn rounds(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let due = self.wake_at.is_some_and(|at| at <= self.time());
            if !self.leads || self.broken.is_some() || !(self.dirty || due) {
                return;
            }
            self.round();
        }
        let about = format!("{:?}", self.planned.iter().rev().take(4).collect::<Vec<_>>());
        self.breaks("L4: plans come to an end", about);
    }

    fn round(&mut self) {
        let now = self.time();
        let plan = plan(&self.state, &self.observed, now);
        self.dirty = false;
        self.wake_at = plan.wake_at;
        if let Err(broken) = self.check_plan(&plan) {
            self.broken.get_or_insert(broken);
        }
        self.report = plan.report;
        if plan.commands.is_empty() {
            return;
        }
        if self.lose_rounds > 0 {
            self.lose_rounds -= 1;
            self.lost += LOST;
            self.wake_at = Some(now.after(LOST));
            return;
        }
        let mut refusals = Vec::new();
        let count = plan.commands.len();
        for command in plan.commands {
            self.remember(command.clone());
            if let Err(refusal) = self.apply(command.clone()) {
                refusals.push(format!("{command:?}: {refusal}"));
            }
        }
        // The guards of the commands behind it may not hold any more after the first; the first must.
        if refusals.len() == count {
            self.breaks("a plan is not refused as a whole", refusals.join("; "));
        }
        self.dirty = true;
        self.forget_the_gone();
    }

    fn remember(&mut self, command: Command) {
        if self.planned.len() == REPLAYED {
            self.planned.remove(0);
        }
        self.planned.push(command);
    }

    fn forget_the_gone(&mut self) {
        let gone = |id: &&crate::id::TaskId| self.state.task(**id).is_none();
        let gone: Vec<_> = self.observed.tasks.keys().filter(gone).copied().collect();
        for task in gone {
            self.observed.tasks.remove(&task);
        }
    }

    pub(super) fn breaks(&mut self, what: &'static str, about: String) {
        self.broken.get_or_insert(Violation { what, about });
    }

    /// When the leader has to look again by itself.
    pub(super) fn leader_at(&self) -> Option<u64> {
        if !self.leads {
            return None;
        }
        let wake = self.wake_at.map(|at| self.moment(at));
        let checkpoint = self.wake_at.map(|_| self.moment(self.state.time().after(CHECKPOINT)));
        let lease = self.lease_at();
        wake.into_iter().chain(checkpoint).chain(lease).min()
    }

    /// A point of cluster time on the clock of the simulation.
    fn moment(&self, at: ClusterTime) -> u64 {
        let (since, time) = self.led_from;
        since + ms(at.since(time))
    }

    fn lease_at(&self) -> Option<u64> {
        let silent = self.machines.values().any(|machine| !machine.session);
        let down = |node: NodeId| self.state.node(node).is_some_and(|node| !node.up);
        let odd = silent || self.machines.keys().any(|node| down(*node));
        let verdict = odd.then(|| lease::judge(&self.state, &self.heard(), self.time(), LEASES));
        verdict
            .and_then(|verdict| verdict.wake_at)
            .map(|at| self.moment(at))
            .filter(|at| *at > self.now)
    }

    /// What was heard, with the signs of life of those that have a session.
    fn heard(&self) -> Observed {
        let mut observed = self.observed.clone();
        let now = self.time();
        for node in self.sessions() {
            observed.nodes.entry(node).or_default().heard = now;
        }
        observed
    }

    /// Takes down the nodes that are silent for too long, and up again those that are back.
    pub(super) fn judge_leases(&mut self) {
        if !self.leads {
            return;
        }
        let now = self.time();
        if self.wake_at.is_some() && now.since(self.state.time()) >= CHECKPOINT {
            let _recorded = self.apply(Command::Checkpoint);
        }
        let silent = self.machines.values().any(|machine| !machine.session);
        let down = self.state.nodes().any(|node| !node.up);
        if !silent && !down {
            return;
        }
        let verdict = lease::judge(&self.state, &self.heard(), now, LEASES);
        for command in verdict.commands {
            let _judged = self.apply(command);
        }
    }

    /// An agent finds the leader: it tells of every task it has, and hears of everything.
    pub(super) fn greet(&mut self, node: NodeId) {
        let reaches = self.machines.get(&node).is_some_and(|m| m.up && m.reaches && !m.session);
        if !reaches {
            self.tell_resolvers();
        }
        if !self.leads || !reaches {
            return;
        }
        let now = self.time();
        let of_node = self.containers.values().filter(|container| container.node == node);
        let tasks: BTreeSet<_> = of_node.map(|container| container.task).collect();
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.session = true;
        machine.session_since = self.now;
        machine.unsaid = tasks;
        let heard = self.observed.nodes.entry(node).or_default();
        heard.connected = true;
        heard.heard = now;
        self.dirty = true;
        for event in [Event::Report(node), Event::Assign(node)] {
            let wait = self.chance.span(5, 40);
            self.later(wait, event);
        }
        self.tell_resolvers();
        if !self.warm {
            self.later(Duration::from_millis(2_000), Event::Hello(node));
        }
    }

    /// A machine loses its power, or its network.
    pub(super) fn lose(&mut self, node: NodeId, power: bool) {
        let now = self.time();
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let had_session = machine.session;
        machine.reaches = false;
        machine.up &= !power;
        if power {
            self.containers.retain(|_, container| container.node != node);
        }
        self.silence(node);
        if let Some(heard) = self.observed.nodes.get_mut(&node).filter(|_| had_session) {
            heard.connected = false;
            heard.heard = now;
            self.dirty = true;
        }
    }

    pub(super) fn come_back(&mut self, node: NodeId) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.up = true;
        machine.reaches = true;
        self.later(Duration::from_millis(50), Event::Hello(node));
    }

    /// Nobody leads for so long. What was only heard is lost.
    pub(super) fn lose_leader(&mut self, length: Duration) {
        if !self.leads {
            return;
        }
        self.led_from = (self.now, self.state.time());
        self.leads = false;
        self.warm = false;
        self.observed = Observed::default();
        self.wake_at = None;
        let nodes: Vec<_> = self.machines.keys().copied().collect();
        for node in nodes {
            self.silence(node);
        }
        self.later(length, Event::Lead);
    }

    /// A manager takes over.
    pub(super) fn lead(&mut self) {
        if self.leads {
            return;
        }
        self.leads = true;
        self.readiness += 1;
        self.led_from = (self.now, self.state.time());
        self.observed = Observed { since: self.time(), ..Observed::default() };
        self.dirty = true;
        let nodes: Vec<_> = self.machines.keys().copied().collect();
        for node in nodes {
            let wait = self.chance.span(10, 1_000);
            self.later(wait, Event::Hello(node));
        }
        if self.state.notices().len() > 0 {
            self.later(Duration::from_millis(200), Event::Hooks);
        }
    }

    pub(super) fn call_hooks(&mut self) {
        if !self.leads {
            return;
        }
        let results = self.hooks_called(&self.state);
        if !results.is_empty() {
            let _settled = self.apply(Command::SettleNotices { results });
        }
    }

    /// How the calls went that wait in `state`.
    pub(super) fn hooks_called(&self, state: &State) -> Vec<(NoticeId, Option<String>)> {
        let fails = &self.hooks_that_fail;
        let result = |url: &str| {
            let refused = fails.iter().any(|part| url.contains(part));
            refused.then(|| "answered 500".to_owned())
        };
        state.notices().map(|call| (call.id, result(call.hook.url.as_str()))).collect()
    }
}
