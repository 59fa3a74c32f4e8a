//! The cluster: its clock, what is under way in it, and what can be asked of it.

use super::chance::Chance;
use super::check::Checker;
use super::fault::{Behaviour, Disturbance, Fault};
use super::machine::{Container, Machine, Resolver, Turn, ms};
use crate::command::{Applied, Command, Entry, Rejection};
use crate::id::{LogIndex, NodeId, RevisionNumber, TaskId};
use crate::invariant::Violation;
use crate::node::{NodeFacts, Role};
use crate::observed::Observed;
use crate::plan::plan;
use crate::report::Report;
use crate::spec::HostName;
use crate::state::{ClusterId, State};
use crate::time::{ClusterTime, WallTime};
use crate::traffic::TrafficView;
use crate::units::{Bytes, MilliCpu};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The wall clock of the leader when a simulation begins: 1 January 2026.
const WALL_START: u64 = 1_767_225_600_000;
/// Planned commands that are remembered, to come again late.
pub(super) const REPLAYED: usize = 40;

/// Something that will happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// An agent looks at its assignments.
    Assign(NodeId),
    /// A container makes a turn, unless it has made another since.
    Turn(TaskId, u64, Turn),
    /// A container goes that was given up then, unless it is wanted again.
    Leave(TaskId, u64),
    /// An agent tells of its tasks.
    Report(NodeId),
    /// A resolver is told of a view.
    View(NodeId),
    /// The leader hears that a resolver answers with an epoch.
    Ack(NodeId, u64),
    /// A resolver has not heard of a leader for its lease.
    CutOff(NodeId),
    /// An agent finds the leader.
    Hello(NodeId),
    /// Hooks are called.
    Hooks,
    /// A machine loses its power, or its network.
    Lose { node: NodeId, power: bool },
    /// It gets it back.
    Return(NodeId),
    /// The leader is gone; the next one comes after so long.
    LoseLeader(Duration),
    /// A manager takes over.
    Lead,
    /// The leader's wall clock jumps.
    Jump(Duration),
}

/// A cluster in virtual time.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(super) state: State,
    pub(super) observed: Observed,
    /// Milliseconds since the simulation began.
    pub(super) now: u64,
    /// When the leader took over, and cluster time then.
    pub(super) led_from: (u64, ClusterTime),
    pub(super) leads: bool,
    /// Whether the leader has enough from its nodes to tell resolvers.
    pub(super) warm: bool,
    pub(super) wall_ahead: u64,
    pub(super) queue: BTreeMap<(u64, u64), Event>,
    pub(super) events: u64,
    /// Nodes that have an event of a kind under way, which another of the same kind would repeat.
    pub(super) pending: BTreeSet<(NodeId, u8)>,
    pub(super) machines: BTreeMap<NodeId, Machine>,
    pub(super) containers: BTreeMap<TaskId, Container>,
    pub(super) behaviours: BTreeMap<RevisionNumber, (Behaviour, u8)>,
    pub(super) hooks_that_fail: Vec<String>,
    pub(super) chance: Chance,
    pub(super) view: (u64, Arc<TrafficView>),
    /// Counts changes of readiness.
    pub(super) readiness: u64,
    pub(super) dirty: bool,
    pub(super) wake_at: Option<ClusterTime>,
    pub(super) report: Report,
    /// Rounds of planning whose commands get lost.
    pub(super) lose_rounds: u32,
    /// For how long in all such rounds have kept the leader from saying what it saw.
    pub(super) lost: Duration,
    pub(super) planned: Vec<Command>,
    /// Whether a command comes late that was planned before.
    pub(super) replaying: bool,
    pub(super) index: u64,
    pub(super) checker: Checker,
    pub(super) broken: Option<Violation>,
}

impl Cluster {
    /// A cluster of so many machines, `node-1` and so on, whose latencies are drawn from `seed`.
    #[must_use]
    pub fn new(nodes: u32, seed: u64) -> Self {
        let mut cluster = Self::founded(nodes, seed);
        cluster.advance(Duration::from_secs(1));
        cluster
    }

    /// The same at the moment when its machines have joined.
    pub(super) fn founded(nodes: u32, seed: u64) -> Self {
        let mut cluster = Self {
            state: State::default(),
            observed: Observed::default(),
            now: 0,
            led_from: (0, ClusterTime::START),
            leads: true,
            warm: false,
            wall_ahead: 0,
            queue: BTreeMap::new(),
            events: 0,
            pending: BTreeSet::new(),
            machines: BTreeMap::new(),
            containers: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            hooks_that_fail: Vec::new(),
            chance: Chance::new(seed),
            view: (0, Arc::default()),
            readiness: 0,
            dirty: false,
            wake_at: None,
            report: Report::default(),
            lose_rounds: 0,
            lost: Duration::ZERO,
            planned: Vec::new(),
            replaying: false,
            index: 0,
            checker: Checker::default(),
            broken: None,
        };
        let pool = ipnet::Ipv4Net::new([10, 210, 0, 0].into(), 16).unwrap_or_default();
        let zone = "warren".to_owned();
        let _first = cluster.request(Command::InitCluster { id: ClusterId(1), zone, pool });
        for number in 1..=nodes {
            cluster.join(number);
        }
        cluster
    }

    fn join(&mut self, number: u32) {
        let name = format!("node-{number}");
        let Ok(hostname) = HostName::parse(&name) else { return };
        let facts = NodeFacts {
            hostname,
            address: IpAddr::from([192, 168, 0, u8::try_from(number % 250).unwrap_or(0) + 1]),
            port: 0,
            platform: "linux/amd64".to_owned(),
            cpu: MilliCpu(64_000),
            memory: Bytes::from_mib(262_144),
            runtime: "sim".to_owned(),
            version: "0.1.0".to_owned(),
            level: crate::level::Level::OURS,
            encryption: crate::node::Encryption::default(),
            probe_port: 7400,
        };
        let made = self.request(Command::RegisterNode {
            key: name.clone(),
            role: Role::Worker,
            facts: Box::new(facts),
            subnet: None,
            labels: BTreeMap::new(),
        });
        let Ok(Applied::Node { id }) = made else { return };
        let machine = Machine {
            id,
            name,
            up: true,
            reaches: true,
            session: false,
            session_since: 0,
            unsaid: BTreeSet::new(),
            resolver: Resolver::default(),
        };
        self.machines.insert(id, machine);
        self.later(Duration::from_millis(5), Event::Hello(id));
    }

    /// What is agreed.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What the leader has heard.
    #[must_use]
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// What is waited for, as of the last plan.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What is waited for now; as of the last plan where nobody leads.
    #[must_use]
    pub fn report_now(&self) -> Report {
        if self.leads {
            plan(&self.state, &self.observed, self.time()).report
        } else {
            self.report.clone()
        }
    }

    /// Time since the simulation began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    /// The first promise that was broken. Nothing happens any more once one is.
    #[must_use]
    pub fn broken(&self) -> Option<&Violation> {
        self.broken.as_ref()
    }

    /// Entries that were applied or refused.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.index
    }

    /// Whether a manager leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Cluster time as the leader has it.
    #[must_use]
    pub fn time(&self) -> ClusterTime {
        if self.leads {
            let (since, time) = self.led_from;
            time.after(Duration::from_millis(self.now - since))
        } else {
            self.state.time()
        }
    }

    /// What somebody asks of the cluster, answered at once.
    ///
    /// # Errors
    /// Why it changed nothing.
    pub fn request(&mut self, command: Command) -> Result<Applied, Rejection> {
        if !self.leads {
            return Err(Rejection::NotNow("no manager leads".to_owned()));
        }
        let answer = self.apply(command);
        self.rounds();
        answer
    }

    /// Applies an entry, looks for broken promises and lets those know whom it concerns.
    pub(super) fn apply(&mut self, command: Command) -> Result<Applied, Rejection> {
        let told = self.state.traffic_epoch();
        let news = command != Command::Checkpoint;
        let (at, wall) = (self.time(), self.wall());
        let answer = self.commit(Entry { index: LogIndex(self.index + 1), at, wall, command });
        if answer.is_ok() && news {
            self.dirty = true;
            self.tell_agents();
            if told != self.state.traffic_epoch() {
                self.tell_resolvers();
            }
            if self.state.notices().len() > 0 {
                self.later(Duration::from_millis(200), Event::Hooks);
            }
        }
        answer
    }

    /// Applies an entry and looks for broken promises.
    pub(super) fn commit(&mut self, entry: Entry) -> Result<Applied, Rejection> {
        let before = self.state.clone();
        let command = entry.command.clone();
        self.index = entry.index.0;
        let answer = self.state.apply(entry);
        if let Err(broken) = self.checked(&before, &command, answer.as_ref().err()) {
            self.broken.get_or_insert(broken);
        }
        answer
    }

    /// The wall clock of whoever leads.
    pub(super) fn wall(&self) -> WallTime {
        WallTime(WALL_START + self.now + self.wall_ahead)
    }

    /// Lets time pass.
    pub fn advance(&mut self, span: Duration) {
        let until = self.now + ms(span);
        loop {
            self.rounds();
            let Some(next) = self.next_at().filter(|at| *at <= until) else { break };
            if self.broken.is_some() {
                return;
            }
            self.pass_to(next);
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
                let event = entry.remove();
                self.handle(event);
            }
            self.judge_leases();
        }
        self.pass_to(until);
    }

    /// Lets time pass until something happens, for `most` at the most and a millisecond at least.
    pub(super) fn advance_to_next(&mut self, most: Duration) {
        let next = self.next_at().map_or(most, |at| Duration::from_millis(at - self.now));
        self.advance(next.clamp(Duration::from_millis(1), most));
    }

    /// The clock of the simulation goes on to `at`.
    pub(super) fn pass_to(&mut self, at: u64) {
        let before = self.time();
        self.now = self.now.max(at);
        let after = self.time();
        if let Err(broken) = self.check_passed(before, after) {
            self.broken.get_or_insert(broken);
        }
    }

    fn next_at(&self) -> Option<u64> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        queued.into_iter().chain(self.leader_at()).min().map(|at| at.max(self.now))
    }

    /// Lets `event` happen after `span`.
    pub(super) fn later(&mut self, span: Duration, event: Event) {
        let kind = match &event {
            Event::Assign(node) => Some((*node, 0)),
            Event::Report(node) => Some((*node, 1)),
            Event::View(node) => Some((*node, 2)),
            Event::Hooks => Some((NodeId(0), 3)),
            Event::Turn(..)
            | Event::Leave(..)
            | Event::Ack(..)
            | Event::CutOff(_)
            | Event::Hello(_)
            | Event::Lose { .. }
            | Event::Return(_)
            | Event::LoseLeader(_)
            | Event::Lead
            | Event::Jump(_) => None,
        };
        if kind.is_some_and(|kind| !self.pending.insert(kind)) {
            return;
        }
        self.events += 1;
        self.queue.insert((self.now + ms(span), self.events), event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Assign(node) => {
                self.pending.remove(&(node, 0));
                self.assign(node);
            }
            Event::Turn(task, turns, turn) => self.turn(task, turns, turn),
            Event::Leave(task, since) => self.leave(task, since),
            Event::Report(node) => {
                self.pending.remove(&(node, 1));
                self.hear(node);
            }
            Event::View(node) => {
                self.pending.remove(&(node, 2));
                self.show(node);
            }
            Event::Ack(node, epoch) => self.acknowledge(node, epoch),
            Event::CutOff(node) => self.cut_off(node),
            Event::Hello(node) => self.greet(node),
            Event::Hooks => {
                self.pending.remove(&(NodeId(0), 3));
                self.call_hooks();
            }
            Event::Lose { node, power } => self.lose(node, power),
            Event::Return(node) => self.come_back(node),
            Event::LoseLeader(length) => self.lose_leader(length),
            Event::Lead => self.lead(),
            Event::Jump(length) => self.wall_ahead += ms(length),
        }
    }

    /// Lets something go wrong, from now on or at its time.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn disturb(&mut self, fault: &Fault) -> Result<(), String> {
        match fault {
            Fault::Behave { revision, how, percent } => {
                self.behave(*revision, *how, *percent);
                Ok(())
            }
            Fault::NodeLoss(disturbance) => self.disturb_node(disturbance, true),
            Fault::Partition(disturbance) => self.disturb_node(disturbance, false),
            Fault::LeaderChange { at } => {
                self.later(*at, Event::LoseLeader(Duration::from_secs(1)));
                Ok(())
            }
            Fault::QuorumLoss { at, length } => {
                self.later(*at, Event::LoseLeader(*length));
                Ok(())
            }
            Fault::ClockJump { at, length } => {
                self.later(*at, Event::Jump(*length));
                Ok(())
            }
            Fault::HookFails { url } => {
                self.hooks_that_fail.push(url.clone());
                Ok(())
            }
        }
    }

    fn disturb_node(&mut self, what: &Disturbance, power: bool) -> Result<(), String> {
        let wanted = what.node.as_deref();
        let mut found = self.machines.values();
        let found = match wanted {
            Some(name) => found.find(|machine| machine.name == name),
            None => found.next_back(),
        };
        let node = found.map(|machine| machine.id).ok_or_else(|| {
            let names: Vec<_> = self.machines.values().map(|m| m.name.as_str()).collect();
            format!("there is no such machine: write one of {}", names.join(", "))
        })?;
        self.later(what.at, Event::Lose { node, power });
        if let Some(length) = what.length {
            self.later(what.at + length, Event::Return(node));
        }
        Ok(())
    }

    /// Hooks are answered again.
    pub fn mend_hooks(&mut self) {
        self.hooks_that_fail.clear();
    }

    /// Brings every machine back.
    pub fn mend_machines(&mut self) {
        let nodes: Vec<_> = self.machines.keys().copied().collect();
        for node in nodes {
            self.later(Duration::ZERO, Event::Return(node));
        }
    }

    /// Loses the commands of the next rounds of planning.
    pub fn lose_rounds(&mut self, count: u32) {
        self.lose_rounds = count;
    }

    /// Applies again one of the last commands that were planned, as it was. Its guard is old.
    pub fn replay(&mut self, nth: usize) {
        if self.leads
            && let Some(command) = self.planned.get(nth % self.planned.len().max(1)).cloned()
        {
            self.replaying = true;
            let _late = self.apply(command);
            self.replaying = false;
            self.rounds();
        }
    }

    /// Goes on from a copy of the state, as after a restart from a snapshot.
    pub fn restore(&mut self, state: State) {
        self.state = state;
    }

    /// The task's container ends by itself.
    pub fn kill(&mut self, task: TaskId) {
        if let Some(container) = self.containers.get(&task).filter(|c| !c.stopping) {
            let turns = container.turns;
            self.turn(task, turns, Turn::Ended);
        }
    }
}
