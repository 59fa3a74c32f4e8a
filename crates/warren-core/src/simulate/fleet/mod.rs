//! A cluster with several managers, in virtual time: an abstract Raft around the real
//! [`State::apply`](crate::State::apply), leaders with their own memory, agents with sessions, and messages and disks
//! that fail (`log`, `terms`, `hub`, `agents`, `trouble`).
//!
//! What is agreed, what runs and what resolvers answer with is kept in a [`Cluster`], whose checks look at every entry
//! that is agreed on, with the eyes of its author. `check` adds what several managers promise.

mod agents;
mod check;
mod hub;
mod log;
mod terms;
mod trouble;

pub use trouble::{Moment, Trouble};

use super::chance::Chance;
use super::cluster::{Cluster, Event as WorldEvent};
use super::fault::Behaviour;
use super::machine::ms;
use crate::command::Command;
use crate::id::{NodeId, RevisionNumber, TaskId};
use crate::invariant::Violation;
use crate::report::Report;
use crate::state::State;
use crate::time::ClusterTime;
use agents::{Agent, Down, Up};
use log::{Append, Manager, Matched, Origin, Slot};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// When a client that got no answer asks again.
const ASK_AGAIN: Duration = Duration::from_millis(400);
/// How often it does.
const ASKS_MAX: u32 = 12;

/// Something that will happen.
#[derive(Clone, Debug)]
enum Event {
    Append(Box<Append>),
    Synced { manager: usize, life: u64, upto: u64, term: u64 },
    Matched(Matched),
    Again { manager: usize, term: u64 },
    Elect,
    StepDown { manager: usize, term: u64 },
    Restore { manager: usize, life: u64 },
    Warm { manager: usize, term: u64 },
    Round { manager: usize, term: u64, at: u64 },
    Flush(usize),
    Untold { manager: usize, term: u64, index: u64 },
    Hooks(usize),
    Word { command: Command, asks: u32 },
    Dial(NodeId),
    Attach { node: NodeId, id: u64, manager: usize },
    Silent(NodeId, u64),
    Up { node: NodeId, id: u64, manager: usize, said: Up },
    Down { node: NodeId, id: u64, manager: usize, what: Down },
    Beat(NodeId, u64),
    Say(NodeId),
    Resend(NodeId, u64),
    Return(NodeId),
    Reach(NodeId),
    Strike(Trouble),
}

/// A cluster with several managers.
#[derive(Clone, Debug)]
pub struct Fleet {
    world: Cluster,
    managers: Vec<Manager>,
    agents: BTreeMap<NodeId, Agent>,
    committed: Vec<Arc<Slot>>,
    /// Whose entries were agreed on in each term.
    authors: BTreeMap<u64, usize>,
    /// When each term began, in cluster time.
    began: BTreeMap<u64, ClusterTime>,
    term: u64,
    /// So many authors to come are not told how it went.
    silences: u32,
    /// Troubles that lie in wait.
    ambushes: Vec<(Moment, Trouble)>,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    chance: Chance,
    led: Option<(usize, u64)>,
}

impl Fleet {
    /// So many managers and machines, `node-1` and so on.
    #[must_use]
    pub fn new(managers: usize, nodes: u32, seed: u64) -> Self {
        let mut world = Cluster::founded(nodes, seed);
        world.leads = false;
        world.queue.clear();
        world.pending.clear();
        let manager = Manager::new(world.state.clone());
        let mut fleet = Self {
            managers: vec![manager; managers.max(1)],
            agents: BTreeMap::new(),
            committed: Vec::new(),
            authors: BTreeMap::new(),
            began: BTreeMap::new(),
            term: 0,
            silences: 0,
            ambushes: Vec::new(),
            queue: BTreeMap::new(),
            events: 0,
            chance: Chance::new(seed ^ 0xf1ee7),
            led: None,
            world,
        };
        let nodes: Vec<_> = fleet.world.machines.keys().copied().collect();
        for node in nodes {
            if let Some(machine) = fleet.world.machines.get_mut(&node) {
                machine.resolver.cut_since = Some(0);
            }
            fleet.agents.insert(node, Agent::default());
            fleet.later(Duration::from_millis(5), Event::Dial(node));
        }
        fleet.later(Duration::ZERO, Event::Elect);
        fleet.advance(Duration::from_secs(2));
        fleet
    }

    /// What is agreed.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.world.state
    }

    /// What is waited for, as of the last plan of the leader.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.world.report
    }

    /// The first promise that was broken. Nothing happens any more once one is.
    #[must_use]
    pub fn broken(&self) -> Option<&Violation> {
        self.world.broken()
    }

    /// Entries that were agreed on.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.world.index
    }

    /// How many leaders there have been.
    #[must_use]
    pub fn terms(&self) -> u64 {
        self.term
    }

    /// How tasks of a revision behave that start now.
    #[must_use]
    pub fn behaviour(&self, revision: RevisionNumber) -> Behaviour {
        self.world.behaviour(revision)
    }

    /// How tasks of a revision behave that start from now on.
    pub fn behave(&mut self, revision: RevisionNumber, how: Behaviour) {
        self.world.behave(revision, how, 100);
    }

    /// Tasks of a revision that run are as they start from now on.
    pub fn turn_tasks(&mut self, revision: RevisionNumber, how: Behaviour) {
        self.world.turn_tasks(revision, how);
    }

    /// The task's container ends by itself.
    pub fn kill(&mut self, task: TaskId) {
        self.world.kill(task);
    }

    /// Hooks to addresses that contain this text are refused, or all are answered again.
    pub fn refuse_hooks(&mut self, url: Option<&str>) {
        self.world.hooks_that_fail = url.map(str::to_owned).into_iter().collect();
    }

    /// Somebody asks a manager for something, and asks again where there is no answer. A refusal is one.
    pub fn request(&mut self, command: Command) {
        self.ask(command, 0);
    }

    fn ask(&mut self, command: Command, asks: u32) {
        // Whoever is asked sends it on to the leader that it believes in.
        let believe = |m: &usize| self.managers[*m].up && self.managers[*m].hub().is_some();
        let believed: Vec<_> = (0..self.managers.len()).filter(believe).collect();
        let nth = self.chance.between(0, believed.len().max(1) as u64 - 1);
        let index = believed.get(usize::try_from(nth).unwrap_or(0)).and_then(|manager| {
            let index = self.propose(*manager, Origin::Word, vec![command.clone()])?;
            let hub = self.managers[*manager].hub_mut()?;
            hub.words.insert(index, (command.clone(), asks));
            Some(index)
        });
        if index.is_none() && asks < ASKS_MAX {
            self.later(ASK_AGAIN, Event::Word { command, asks: asks + 1 });
        }
    }

    /// Whoever waited for this leader is told nothing, and asks the next one.
    fn unanswered(&mut self, hub: hub::Hub) {
        for (command, asks) in hub.words.into_values().filter(|(_, asks)| *asks < ASKS_MAX) {
            self.later(ASK_AGAIN, Event::Word { command, asks: asks + 1 });
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, span: Duration) {
        let until = self.world.now + ms(span);
        while self.world.broken.is_none() {
            let own = self.queue.keys().next().map(|(at, _)| *at);
            let world = self.world.queue.keys().next().map(|(at, _)| *at);
            let Some(next) = own.into_iter().chain(world).min().filter(|at| *at <= until) else {
                break;
            };
            self.look_around();
            self.count_belief(next);
            self.world.pass_to(next);
            let now = self.world.now;
            while let Some(entry) = self.world.queue.first_entry().filter(|e| e.key().0 <= now) {
                let event = entry.remove();
                self.happens(event);
            }
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= now) {
                let event = entry.remove();
                self.handle(event);
            }
            self.note_unsaid();
        }
        self.look_around();
        self.world.pass_to(until);
    }

    /// A leader that has just lost its majority counts time until it notices.
    fn count_belief(&mut self, next: u64) {
        let believes = |manager: &Manager| manager.term == self.term && manager.hub().is_some();
        if self.led.is_none() && self.managers.iter().any(believes) {
            self.world.lost += Duration::from_millis(next.saturating_sub(self.world.now));
        }
    }

    fn later(&mut self, span: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((self.world.now + ms(span), self.events), event);
    }

    /// What containers and resolvers do by themselves; the rest is done here.
    fn happens(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Turn(task, turns, turn) => self.world.turn(task, turns, turn),
            WorldEvent::Leave(task, since) => self.world.leave(task, since),
            WorldEvent::CutOff(node) => self.world.cut_off(node),
            WorldEvent::Report(node) => {
                self.world.pending.remove(&(node, 1));
            }
            WorldEvent::Assign(_)
            | WorldEvent::View(_)
            | WorldEvent::Ack(..)
            | WorldEvent::Hello(_)
            | WorldEvent::Hooks
            | WorldEvent::Lose { .. }
            | WorldEvent::Return(_)
            | WorldEvent::LoseLeader(_)
            | WorldEvent::Lead
            | WorldEvent::Jump(_) => {}
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Append(append) => self.append(*append),
            Event::Synced { manager, life, upto, term } => self.synced(manager, life, upto, term),
            Event::Matched(answer) => self.matched(answer),
            Event::Again { manager, term } => self.send_again(manager, term),
            Event::Elect => self.elect(),
            Event::StepDown { manager, term } => self.look_at_lead(manager, term),
            Event::Restore { manager, life } => self.restore(manager, life),
            Event::Warm { manager, term } => {
                let lead = self.managers[manager].lead.as_ref();
                if lead.is_some_and(|lead| lead.term == term) {
                    self.settle(manager, false);
                }
            }
            Event::Round { manager, term, at } => self.round(manager, term, at),
            Event::Flush(manager) => self.flush(manager),
            Event::Untold { manager, term, index } => self.untold(manager, term, index),
            Event::Hooks(manager) => self.call_hooks(manager),
            Event::Word { command, asks } => self.ask(command, asks),
            Event::Dial(node) => self.dial(node),
            Event::Attach { node, id, manager } => self.attach(node, id, manager),
            Event::Silent(node, id) => self.look_at_link(node, id),
            Event::Up { node, id, manager, said } => self.arrives_up(node, id, manager, said),
            Event::Down { node, id, manager, what } => self.arrives_down(node, id, manager, what),
            Event::Beat(node, id) => self.beat(node, id, true),
            Event::Say(node) => self.say(node),
            Event::Resend(node, id) => self.resend(node, id),
            Event::Return(node) => self.come_back(node),
            Event::Reach(node) => self.reach_again(node),
            Event::Strike(trouble) => self.trouble(&trouble),
        }
    }

    /// The checks see the cluster as its leader does: whose term counts, what it heard, and who hears it.
    fn look_around(&mut self) {
        let leader = self.leader();
        let led = leader.map(|m| (m, self.managers[m].term));
        let now = self.world.now;
        self.world.leads = leader.is_some();
        let hub = leader.and_then(|m| self.managers[m].hub());
        if let Some(hub) = hub {
            self.world.observed = hub.observed().clone();
            self.world.led_from = hub.led_from;
        }
        for (node, machine) in &mut self.world.machines {
            let session = hub.filter(|hub| hub.warm).and_then(|hub| hub.sessions.get(node));
            let agent = self.agents.get(node);
            let hears = session.zip(agent).zip(leader).is_some_and(|((session, agent), leader)| {
                machine.reaches && agent.lags_until <= now && agent.is_with(leader, session.id)
            });
            if hears && (!machine.session || led != self.led) {
                machine.session_since = now;
            }
            machine.session = hears;
        }
        self.led = led;
    }
}
