//! Agents and their sessions. A session keeps messages in order, or breaks; but where traffic goes comes last of all,
//! and everything else overtakes it. An agent goes on without a session, and dials one manager after the other until
//! somebody takes it on who believes to lead.

use super::hub::Hub;
use super::{Event, Fleet};
use crate::assignment::Want;
use crate::converge::{Status, brake};
use crate::id::{NodeId, TaskId};
use crate::simulate::machine::{Container, ms};
use crate::task::{End, Phase};
use crate::time::ClusterTime;
use crate::traffic::TrafficView;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Silence after which an agent gives a session up.
const LEASE: Duration = Duration::from_secs(3);
/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// When a status is sent again that was not acknowledged.
const RESEND: Duration = Duration::from_secs(5);

/// What is wanted of a node's tasks.
pub(super) type Wants = BTreeMap<TaskId, Want>;

/// What a leader says.
#[derive(Clone, Debug)]
pub(super) enum Down {
    Welcome,
    Full {
        at: u64,
        wants: Arc<Wants>,
        allowed: Option<usize>,
    },
    Assign {
        from: u64,
        to: u64,
        wants: Arc<Wants>,
    },
    View(Arc<TrafficView>),
    StatusAck(u64),
    /// The answer to a beat that was sent then, by a leader whose traffic had that epoch.
    BeatAck {
        sent: u64,
        epoch: u64,
    },
    /// It is to reach another node, and to say so with the moment at which it was asked.
    Probe(NodeId, ClusterTime),
    Closed,
}

/// What an agent says.
#[derive(Clone, Debug)]
pub(super) enum Up {
    Status {
        seq: u64,
        tasks: Vec<(TaskId, Status)>,
    },
    Beat {
        at: u64,
        wants: Arc<Wants>,
        epoch: u64,
        sent: u64,
    },
    Epoch(u64),
    /// Whether it reaches a node, as it was asked then.
    Probed(NodeId, ClusterTime, bool),
    Gone,
}

/// An agent's session, or its attempt at one.
#[derive(Clone, Debug)]
struct Link {
    id: u64,
    manager: usize,
    /// Since when the manager has taken it on.
    opened: Option<u64>,
    heard: u64,
    /// When the last message of each direction arrives: none overtakes another.
    last: (u64, u64),
    /// When the last message arrives of where traffic goes: that waits until there is nothing else to say.
    last_view: u64,
    /// Directions in which nothing arrives any more.
    lost: (bool, bool),
}

/// What an agent remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Agent {
    link: Option<Link>,
    links: u64,
    next: usize,
    tries: u32,
    /// The manager that it does not reach.
    pub(super) cut_from: Option<usize>,
    /// Directions, towards and from the leader, in which the next message and all after it get lost.
    pub(super) loses: (bool, bool),
    /// Until when nothing of where traffic goes arrives.
    pub(super) lags_until: u64,
    at: u64,
    pub(super) wants: Arc<Wants>,
    seq: u64,
    unacked: BTreeMap<u64, BTreeSet<TaskId>>,
    says: bool,
}

impl Agent {
    /// Whether it has this session with this manager, and messages pass.
    pub(super) fn is_with(&self, manager: usize, id: u64) -> bool {
        self.link.as_ref().is_some_and(|link| {
            link.opened.is_some()
                && link.manager == manager
                && link.id == id
                && link.lost == (false, false)
        })
    }
}

impl Fleet {
    fn passes(&self, node: NodeId, manager: usize) -> bool {
        let machine = self.world.machines.get(&node);
        let cut = self.agents.get(&node).is_some_and(|agent| agent.cut_from == Some(manager));
        machine.is_some_and(|machine| machine.up && machine.reaches)
            && !cut
            && self.managers[manager].up
    }

    /// An agent without a session tries one manager.
    pub(super) fn dial(&mut self, node: NodeId) {
        let count = self.managers.len();
        let up = self.world.machines.get(&node).is_some_and(|machine| machine.up);
        let Some(agent) = self.agents.get_mut(&node) else { return };
        if !up || agent.link.is_some() {
            return;
        }
        let manager = agent.next % count;
        agent.next = manager + 1;
        agent.links += 1;
        let (id, now) = (agent.links, self.world.now);
        let link = Link {
            id,
            manager,
            opened: None,
            heard: now,
            last: (0, 0),
            last_view: 0,
            lost: (false, false),
        };
        agent.link = Some(link);
        self.later(LEASE, Event::Silent(node, id));
        if self.passes(node, manager) {
            let wait = self.chance.span(1, 30);
            self.later(wait, Event::Attach { node, id, manager });
        } else if !self.managers[manager].up && !self.chance.one_in(8) {
            // The connection is refused; a machine without power would not even do that.
            self.hang_up(node, id);
        }
    }

    /// The manager answers whether it takes the agent on.
    pub(super) fn attach(&mut self, node: NodeId, id: u64, manager: usize) {
        if !self.passes(node, manager) {
            return;
        }
        let Some(agent) = self.agents.get(&node) else { return };
        if agent.link.as_ref().is_none_or(|link| link.id != id) {
            return;
        }
        let (at, wants) = (agent.at, Arc::clone(&agent.wants));
        if !self.arrive(manager, node, id, (at, &wants)) {
            // It names the leader that it knows of.
            let leader = self.leader();
            if let (Some(leader), Some(agent)) = (leader, self.agents.get_mut(&node)) {
                agent.next = leader;
            }
            self.hang_up(node, id);
        }
    }

    /// The session is over, or does not come about.
    fn hang_up(&mut self, node: NodeId, id: u64) {
        let Some(agent) = self.agents.get_mut(&node) else { return };
        let Some(link) = agent.link.take_if(|link| link.id == id) else { return };
        agent.tries = if link.opened.is_some() { 0 } else { (agent.tries + 1).min(5) };
        let most = (100 << agent.tries).min(3_000);
        if link.opened.is_some() {
            let gone = Event::Up { node, id, manager: link.manager, said: Up::Gone };
            self.later(Duration::from_millis(20), gone);
        }
        let wait = self.chance.span(most / 2, most);
        self.later(wait, Event::Dial(node));
    }

    /// Nothing was heard for a while, perhaps.
    pub(super) fn look_at_link(&mut self, node: NodeId, id: u64) {
        let now = self.world.now;
        let Some(agent) = self.agents.get(&node) else { return };
        let Some(link) = agent.link.as_ref().filter(|link| link.id == id) else { return };
        let silent = now.saturating_sub(link.heard);
        if silent >= ms(LEASE) {
            self.hang_up(node, id);
        } else {
            self.later(Duration::from_millis(ms(LEASE) - silent), Event::Silent(node, id));
        }
    }

    /// A leader says something to an agent.
    pub(super) fn tell(&mut self, manager: usize, node: NodeId, what: Down) {
        let hub = self.managers[manager].hub();
        let Some(id) = hub.and_then(|hub| hub.sessions.get(&node)).map(|session| session.id) else {
            return;
        };
        self.send_down(manager, node, id, what);
    }

    fn send_down(&mut self, manager: usize, node: NodeId, id: u64, what: Down) {
        let wait = self.chance.span(3, 40);
        let now = self.world.now;
        let Some(agent) = self.agents.get_mut(&node) else { return };
        let link = agent.link.as_mut().filter(|l| l.id == id && l.manager == manager);
        let Some(link) = link else { return };
        link.lost.1 |= agent.loses.1;
        let mut at = link.last.1.max(now + ms(wait));
        if matches!(what, Down::View(_)) {
            at = at.max(link.last_view).max(agent.lags_until);
            link.last_view = at;
        } else {
            link.last.1 = at;
        }
        let wait = Duration::from_millis(at - now);
        self.later(wait, Event::Down { node, id, manager, what });
    }

    fn send_up(&mut self, node: NodeId, said: Up) {
        let wait = self.chance.span(3, 40);
        let again = self.chance.one_in(20);
        let now = self.world.now;
        let Some(agent) = self.agents.get_mut(&node) else { return };
        let Some(link) = agent.link.as_mut().filter(|link| link.opened.is_some()) else { return };
        link.lost.0 |= agent.loses.0;
        link.last.0 = link.last.0.max(now + ms(wait));
        let (id, manager, at) = (link.id, link.manager, link.last.0 - now);
        let event = Event::Up { node, id, manager, said };
        if again && matches!(&event, Event::Up { said: Up::Status { .. }, .. }) {
            // At least once means that it may come twice.
            self.later(Duration::from_millis(at + 30), event.clone());
        }
        self.later(Duration::from_millis(at), event);
    }

    /// A message of an agent arrives.
    pub(super) fn arrives_up(&mut self, node: NodeId, id: u64, manager: usize, said: Up) {
        let passes = self.passes(node, manager);
        let Some(agent) = self.agents.get_mut(&node) else { return };
        let link = agent.link.as_mut().filter(|link| link.id == id);
        let lost = link.is_some_and(|link| {
            link.lost.0 |= !passes;
            link.lost.0
        });
        if passes && !lost {
            self.hear(manager, node, id, said);
        }
    }

    /// A message of a leader arrives.
    pub(super) fn arrives_down(&mut self, node: NodeId, id: u64, manager: usize, what: Down) {
        let passes = self.passes(node, manager) || matches!(what, Down::Closed);
        let now = self.world.now;
        let Some(agent) = self.agents.get_mut(&node) else { return };
        let Some(link) = agent.link.as_mut().filter(|link| link.id == id) else { return };
        link.lost.1 |= !passes;
        if link.lost.1 {
            return;
        }
        link.heard = now;
        match what {
            Down::Welcome => self.welcome(node, id),
            Down::Full { at, wants, allowed } => self.take_all(node, at, wants, allowed),
            Down::Assign { from, to, wants } => {
                if agent.at == from {
                    (agent.at, agent.wants) = (to, Arc::clone(&wants));
                    self.world.bring(node, &wants);
                }
                self.beat(node, id, false);
            }
            Down::View(view) => {
                let epoch = view.epoch;
                self.world.answer_as_trusted(node, view);
                self.send_up(node, Up::Epoch(epoch));
            }
            Down::StatusAck(seq) => agent.unacked.retain(|sent, _| *sent > seq),
            Down::BeatAck { sent, epoch } => self.world.renew(node, sent, epoch),
            Down::Probe(suspect, asked) => {
                let on = |node| self.world.machines.get(&node).is_some_and(|m| m.up && m.reaches);
                let reached = on(node) && on(suspect);
                self.send_up(node, Up::Probed(suspect, asked, reached));
            }
            Down::Closed => self.hang_up(node, id),
        }
    }

    /// The session is there: the leader is told of every task, since it may know of none.
    fn welcome(&mut self, node: NodeId, id: u64) {
        let now = self.world.now;
        let Some(agent) = self.agents.get_mut(&node) else { return };
        if let Some(link) = agent.link.as_mut() {
            link.opened = Some(now);
        }
        agent.unacked.clear();
        let wants = Arc::clone(&agent.wants);
        let of_node = self.world.containers.values().filter(|c| c.node == node);
        let tasks = of_node.map(|c| c.task).filter(|task| wants.contains_key(task)).collect();
        if let Some(machine) = self.world.machines.get_mut(&node) {
            machine.unsaid = tasks;
        }
        self.beat(node, id, true);
    }

    /// All assignments, unless they would stop more than they may.
    fn take_all(&mut self, node: NodeId, at: u64, wants: Arc<Wants>, allowed: Option<usize>) {
        let Some(agent) = self.agents.get_mut(&node) else { return };
        let runs = |c: &&Container| c.node == node && c.phase == Phase::Running;
        let running: Vec<_> = self.world.containers.values().filter(runs).map(|c| c.task).collect();
        // What has been given up already is none that it stops.
        let ran = |task: &TaskId| agent.at == 0 || agent.wants.get(task) == Some(&Want::Run);
        let stops = |task: &&TaskId| ran(task) && wants.get(task) != Some(&Want::Run);
        let stops = running.iter().filter(stops).count();
        let most = match allowed {
            Some(allowed) => allowed,
            None if at < agent.at => 0,
            None => brake(running.len()),
        };
        if stops <= most {
            (agent.at, agent.wants) = (at, Arc::clone(&wants));
            self.world.bring(node, &wants);
        }
    }

    /// A sign of life, with what the agent holds and its resolver answers with.
    pub(super) fn beat(&mut self, node: NodeId, id: u64, goes_on: bool) {
        let Some(agent) = self.agents.get(&node) else { return };
        if agent.link.as_ref().is_none_or(|link| link.id != id || link.opened.is_none()) {
            return;
        }
        let (at, wants) = (agent.at, Arc::clone(&agent.wants));
        let epoch = self.world.machines.get(&node).map_or(0, |m| m.resolver.view.epoch);
        let sent = self.world.now;
        self.send_up(node, Up::Beat { at, wants, epoch, sent });
        if goes_on {
            self.later(BEAT, Event::Beat(node, id));
        }
    }

    /// What agents have to say will be said.
    pub(super) fn note_unsaid(&mut self) {
        let mut nodes = Vec::new();
        for (node, agent) in &mut self.agents {
            let unsaid = self.world.machines.get(node).is_some_and(|m| !m.unsaid.is_empty());
            if unsaid
                && !agent.says
                && agent.link.as_ref().is_some_and(|link| link.opened.is_some())
            {
                agent.says = true;
                nodes.push(*node);
            }
        }
        for node in nodes {
            let wait = self.chance.span(1, 20);
            self.later(wait, Event::Say(node));
        }
    }

    pub(super) fn say(&mut self, node: NodeId) {
        let Some(agent) = self.agents.get_mut(&node) else { return };
        agent.says = false;
        let Some(id) = agent.link.as_ref().filter(|link| link.opened.is_some()).map(|link| link.id)
        else {
            return;
        };
        let wants = Arc::clone(&agent.wants);
        let Some(machine) = self.world.machines.get_mut(&node) else { return };
        let unsaid = std::mem::take(&mut machine.unsaid);
        let containers = unsaid.iter().filter_map(|task| self.world.containers.get(task));
        let tasks: Vec<_> = containers
            .map(|found| (found.task, status(found, wants.get(&found.task) == Some(&Want::Run))))
            .collect();
        agent.seq += 1;
        let seq = agent.seq;
        if agent.unacked.is_empty() {
            self.later(RESEND, Event::Resend(node, id));
        }
        if let Some(agent) = self.agents.get_mut(&node) {
            agent.unacked.insert(seq, unsaid);
        }
        self.send_up(node, Up::Status { seq, tasks });
    }

    /// What was not acknowledged is said again.
    pub(super) fn resend(&mut self, node: NodeId, id: u64) {
        let Some(agent) = self.agents.get_mut(&node) else { return };
        if agent.link.as_ref().is_none_or(|link| link.id != id) {
            return;
        }
        let unacked = std::mem::take(&mut agent.unacked);
        if let Some(machine) = self.world.machines.get_mut(&node) {
            machine.unsaid.extend(unacked.into_values().flatten());
        }
    }

    /// A leader that steps down closes its sessions.
    pub(super) fn close_sessions(&mut self, manager: usize, hub: &Hub) {
        for (node, session) in &hub.sessions {
            if self.passes(*node, manager) {
                self.send_down(manager, *node, session.id, Down::Closed);
            }
        }
    }

    /// Connections to a manager that crashed are reset, or just silent.
    pub(super) fn reset_sessions(&mut self, manager: usize) {
        let of = |agent: &Agent| {
            let link = agent.link.as_ref().filter(|link| link.manager == manager);
            link.map(|link| link.id)
        };
        let links: Vec<_> =
            self.agents.iter().filter_map(|(node, agent)| Some((*node, of(agent)?))).collect();
        for (node, id) in links {
            if !self.chance.one_in(4) {
                self.send_down(manager, node, id, Down::Closed);
            }
        }
    }

    /// A machine loses its power, or its network.
    pub(super) fn lose(&mut self, node: NodeId, power: bool) {
        let Some(machine) = self.world.machines.get_mut(&node) else { return };
        machine.reaches = false;
        if !power {
            return;
        }
        machine.up = false;
        machine.unsaid.clear();
        self.world.containers.retain(|_, container| container.node != node);
        if let Some(agent) = self.agents.get_mut(&node) {
            agent.link = None;
            agent.unacked.clear();
        }
    }

    /// It is back, with what it had been told to run.
    pub(super) fn come_back(&mut self, node: NodeId) {
        let Some(machine) = self.world.machines.get_mut(&node) else { return };
        let booted = !machine.up;
        (machine.up, machine.reaches) = (true, true);
        if booted {
            let alone = Arc::new(machine.resolver.told.cut_off());
            machine.resolver.cut_since = Some(0);
            machine.resolver.answer_from(alone, self.world.now);
            let wants = self.agents.get(&node).map(|agent| Arc::clone(&agent.wants));
            self.world.bring(node, &wants.unwrap_or_default());
        }
        if self.agents.get(&node).is_some_and(|agent| agent.link.is_none()) {
            self.later(Duration::from_millis(50), Event::Dial(node));
        }
    }
}

/// How a task is, as its node says: one that is not to run gets no traffic, however it is.
fn status(container: &Container, wanted: bool) -> Status {
    let end = container.phase.is_final().then(|| End {
        code: (container.phase == Phase::Failed).then_some(1),
        out_of_memory: false,
        message: container.detail.clone(),
    });
    Status {
        phase: container.phase,
        ready: container.ready && wanted,
        healthy: None,
        restarts: container.restarts,
        waiting: false,
        unseen: false,
        detail: container.detail.clone(),
        end,
    }
}
