//! Which tasks would move where, so that services are spread as they would be if they were placed now.
//!
//! # The problem
//! Tasks go where it is best when they are placed and stay there. After a failover all of them may be on the nodes that
//! were left; when the others come back, nothing moves by itself, since every move costs a start. Somebody may ask for
//! it.
//!
//! # The way
//! A move of one task of a service from one node to another is *better* where it makes the counts in the failure
//! domains more even, or leaves these as they are and makes the service's counts on nodes more even. Where it leaves
//! both as they are, it is better where the nodes' counts of all tasks come to be more even. Each such move makes a sum
//! of squares smaller in this order and none before it larger, so the search ends, and at its end there is no better
//! move: what was rebalanced and is asked about again is left as it is. No move breaks a constraint, a limit per node
//! or what a node has left: moves are found in an order in which each has room by those before it.

use super::filter;
use super::room::Rooms;
use super::score::Candidate;
use super::{Group, Presence};
use crate::id::{NodeId, RolloutId, ServiceId, Slot, TaskId};
use crate::node::Node;
use crate::service::Service;
use crate::spec::{LabelKey, Mode};
use crate::state::State;
use crate::task::Task;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Tasks that one plan moves at most: each is started anew, and a plan is looked through. What is left is in the next.
pub const MOVES_MAX: usize = 1_000;

/// Which tasks would move, and which services are not looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rebalance {
    /// By service and slot.
    pub moves: Vec<Relocation>,
    /// Services whose tasks stay where they are, whatever the spread.
    pub left: Vec<(ServiceId, Left)>,
}

/// One task that would move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relocation {
    /// Whose task.
    pub service: ServiceId,
    /// Its slot.
    pub slot: Slot,
    /// The task that is there now.
    pub task: TaskId,
    /// Where it is.
    pub from: NodeId,
    /// Where its successor would be.
    pub to: NodeId,
    /// What that is better for.
    pub why: Why,
}

/// What a move is better for, with what was counted where before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The spread over failure domains.
    Domain {
        /// By which label.
        label: LabelKey,
        /// The value there and the service's tasks there.
        from: (String, u32),
        /// The same where it goes.
        to: (String, u32),
    },
    /// The spread of the service over nodes: its tasks there and where it goes.
    Service {
        /// There.
        from: u32,
        /// Where it goes.
        to: u32,
    },
    /// The spread of all tasks over nodes.
    All {
        /// There.
        from: u32,
        /// Where it goes.
        to: u32,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain { label, from: (there, many), to: (here, few) } => {
                let named =
                    |value: &str| if value.is_empty() { "-".into() } else { value.to_owned() };
                let (there, here) = (named(there), named(here));
                write!(f, "{many} of the service in {label} {there}, {few} in {here}")
            }
            Self::Service { from, to } => write!(f, "{from} of the service there, {to} here"),
            Self::All { from, to } => write!(f, "{from} tasks of all there, {to} here"),
        }
    }
}

/// Why a service is not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// It has one task on every node that fits.
    Global,
    /// A release moves its tasks.
    Release(RolloutId),
    /// It is going away.
    Deleting,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("it is global: it has a task on every node that fits"),
            Self::Release(id) => {
                write!(f, "release {id} is under way: ask again when it has ended")
            }
            Self::Deleting => f.write_str("it is being deleted"),
        }
    }
}

/// What would move of `only` one service, or of all. What is on its way already counts as being there.
#[must_use]
pub fn rebalance(state: &State, only: Option<ServiceId>) -> Rebalance {
    let mut found = Rebalance::default();
    let mut balance = Balance::of(state);
    for service in state.services().filter(|service| only.is_none_or(|only| only == service.id)) {
        match left(service) {
            // Of all services, those that could never move are not worth a word.
            Some(Left::Global) if only.is_none() => {}
            Some(why) => found.left.push((service.id, why)),
            None => balance.services.extend(Movable::of(state, service)),
        }
    }
    balance.settle();
    found.moves = balance.relocations();
    found
}

fn left(service: &Service) -> Option<Left> {
    if service.deleting {
        return Some(Left::Deleting);
    }
    if let Some(live) = &service.rollout {
        return Some(Left::Release(live.id));
    }
    (service.spec.mode == Mode::Global).then_some(Left::Global)
}

/// All nodes with what is and would be on them.
struct Balance<'a> {
    state: &'a State,
    rooms: Rooms<'a>,
    /// Wanted tasks on each open node, of all services.
    loads: BTreeMap<NodeId, u32>,
    services: Vec<Movable<'a>>,
    /// The last reason of each task that would move.
    moved: BTreeMap<TaskId, Why>,
}

/// A service whose tasks may move.
struct Movable<'a> {
    group: Group<'a>,
    presence: Presence<'a>,
    /// Where its tasks would be. Those that stay whatever happens are not among them.
    tasks: BTreeMap<TaskId, NodeId>,
}

/// What one task's move would do to the spread of its service.
enum Effect {
    Better(Why),
    Same,
    Worse,
}

/// Where a task of `service` is, or is on its way to; absent for one whose successor is there already.
fn place(state: &State, service: &Service, task: &Task) -> Option<NodeId> {
    let Some(to) = service.moving(task).filter(|to| is_open(state, *to)) else {
        return Some(task.node);
    };
    let mut others = state.tasks_of(service.id).filter(|other| other.slot == task.slot);
    let succeeded = others.any(|other| other.is_wanted() && other.id != task.id);
    (!succeeded).then_some(to)
}

fn is_open(state: &State, node: NodeId) -> bool {
    state.node(node).is_some_and(|node| node.is_open())
}

impl<'a> Movable<'a> {
    fn of(state: &'a State, service: &'a Service) -> Option<Self> {
        let revision = service.revisions.get(&service.current)?;
        let group = Group {
            service: service.id,
            revision: revision.number,
            template: &revision.template,
            placement: &service.spec.placement,
        };
        let node = |id| state.node(id).map(AsRef::as_ref);
        let ended = state.tasks_of(service.id).filter(|task| !task.is_live());
        let mut presence = Presence::of(&group, ended.map(AsRef::as_ref), node);
        let mut tasks = BTreeMap::new();
        for task in state.tasks_of(service.id).filter(|task| task.is_wanted()) {
            let place = place(state, service, task).and_then(node);
            let Some(place) = place.filter(|place| place.is_open()) else { continue };
            let current = task.revision == revision.number;
            presence.count(&group, place, current);
            if current && task.round == service.round {
                tasks.insert(task.id, place.id);
            }
        }
        Some(Self { group, presence, tasks })
    }

    fn effect(&self, from: &Node, to: &Node) -> Effect {
        let spread = self.group.placement.spread.iter().zip(&self.presence.domains);
        for (label, counts) in spread {
            let value = |node: &Node| node.labels.get(label).cloned().unwrap_or_default();
            let (there, here) = (value(from), value(to));
            let count = |value: &str| counts.get(value).copied().unwrap_or(0);
            let (many, few) = (count(&there), count(&here));
            if there == here || many == few + 1 {
                continue;
            }
            if many <= few {
                return Effect::Worse;
            }
            let (from, to) = ((there, many), (here, few));
            return Effect::Better(Why::Domain { label: label.clone(), from, to });
        }
        let ((from, _), (to, _)) = (self.presence.on(from.id), self.presence.on(to.id));
        match from.checked_sub(to) {
            None | Some(0) => Effect::Worse,
            Some(1) => Effect::Same,
            Some(_) => Effect::Better(Why::Service { from, to }),
        }
    }

    /// The youngest of its tasks that would be on a node: it has done the least.
    fn youngest_on(&self, node: NodeId) -> Option<TaskId> {
        self.tasks.iter().rev().find(|(_, on)| **on == node).map(|(task, _)| *task)
    }
}

impl<'a> Balance<'a> {
    fn of(state: &'a State) -> Self {
        let mut rooms = Rooms::empty(state.nodes().map(AsRef::as_ref));
        let open = state.nodes().filter(|node| node.is_open());
        let mut loads: BTreeMap<_, _> = open.map(|node| (node.id, 0)).collect();
        for task in state.tasks().filter(|task| task.is_live()) {
            let Some(service) = state.service(task.service) else { continue };
            let Some(place) = place(state, service, task) else { continue };
            let template = service.revisions.get(&task.revision).map(|found| &found.template);
            if let (Some(index), Some(template)) = (rooms.index_of(place), template) {
                rooms.take(index, template);
            }
            if let Some(load) = loads.get_mut(&place).filter(|_| task.is_wanted()) {
                *load += 1;
            }
        }
        Self { state, rooms, loads, services: Vec::new(), moved: BTreeMap::new() }
    }

    /// Moves what is better elsewhere until nothing is.
    fn settle(&mut self) {
        // What one service leaves may be room for another, so it is over when a whole pass finds nothing.
        loop {
            let mut moved = false;
            for index in 0..self.services.len() {
                while self.goes_on() && self.spread(index) {
                    moved = true;
                }
            }
            while self.goes_on() && self.even() {
                moved = true;
            }
            if !moved || !self.goes_on() {
                return;
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.moved.len() < MOVES_MAX
    }

    /// Makes one move that spreads a service better. Returns whether there was one.
    fn spread(&mut self, index: usize) -> bool {
        let service = &self.services[index];
        let mut sources: Vec<_> = service.tasks.values().copied().collect();
        sources.sort_unstable();
        sources.dedup();
        // Without domains a node with one task of the service has none too many: most services end here.
        let apart = !service.group.placement.spread.is_empty();
        sources.retain(|node| apart || service.presence.on(*node).0 > 1);
        sources.sort_by_key(|node| std::cmp::Reverse(service.presence.on(*node).0));
        let targets: Vec<_> = self.loads.keys().copied().collect();
        for from in sources {
            let (Some(there), service) = (self.node(from), &self.services[index]) else { continue };
            let better = targets.iter().filter_map(|to| {
                let Effect::Better(why) = service.effect(there, self.node(*to)?) else {
                    return None;
                };
                let candidate = self.candidate(service, *to)?;
                Some((candidate, *to, why))
            });
            let best = better.max_by(|(one, ..), (other, ..)| one.cmp(other));
            if let Some((_, to, why)) = best {
                self.relocate(index, from, to, why);
                return true;
            }
        }
        false
    }

    /// Makes one move that leaves its service's spread as it is and makes nodes more even. Returns whether there was
    /// one.
    fn even(&mut self) -> bool {
        let mut nodes: Vec<_> = self.loads.iter().map(|(node, load)| (*load, *node)).collect();
        nodes.sort_unstable();
        let mut there: BTreeMap<NodeId, BTreeSet<usize>> = BTreeMap::new();
        for (index, service) in self.services.iter().enumerate() {
            for node in service.tasks.values() {
                there.entry(*node).or_default().insert(index);
            }
        }
        for (many, from) in nodes.iter().rev() {
            let Some(movable) = there.get(from) else { continue };
            for (few, to) in nodes.iter().take_while(|(few, _)| few + 1 < *many) {
                let found = movable.iter().find(|index| self.is_even(**index, *from, *to));
                if let Some(index) = found.copied() {
                    self.relocate(index, *from, *to, Why::All { from: *many, to: *few });
                    return true;
                }
            }
        }
        false
    }

    /// Whether a task of a service may go for the nodes' sake: not to one that is then fuller than this one is.
    fn is_even(&self, index: usize, from: NodeId, to: NodeId) -> bool {
        let service = &self.services[index];
        let (Some(there), Some(here)) = (self.node(from), self.node(to)) else { return false };
        let same = matches!(service.effect(there, here), Effect::Same);
        if !same || self.candidate(service, to).is_none() {
            return false;
        }
        let used = |node| self.rooms.index_of(node).map(|at| self.rooms.at(at).used_per_mille());
        let after =
            self.rooms.index_of(to).map(|at| self.rooms.at(at).used_with(service.group.template));
        after <= used(from)
    }

    fn node(&self, id: NodeId) -> Option<&'a Node> {
        self.state.node(id).map(AsRef::as_ref)
    }

    /// How good a node is for a task of a service; absent where it does not fit, or the revision failed there last.
    fn candidate(&self, service: &Movable<'a>, to: NodeId) -> Option<Candidate> {
        let index = self.rooms.index_of(to)?;
        let room = self.rooms.at(index);
        let fits = filter::obstacle(&service.group, room, &service.presence).is_none();
        let failed = service.presence.failed.contains(&to);
        (fits && !failed).then(|| Candidate::new(&service.group, room, index, &service.presence))
    }

    fn relocate(&mut self, index: usize, from: NodeId, to: NodeId, why: Why) {
        let (there, here) = (self.node(from), self.node(to));
        let service = &mut self.services[index];
        let (Some(there), Some(here)) = (there, here) else { return };
        let Some(task) = service.youngest_on(from) else { return };
        service.presence.uncount(&service.group, there);
        service.presence.count(&service.group, here, true);
        service.tasks.insert(task, to);
        let template = service.group.template;
        if let Some(at) = self.rooms.index_of(from) {
            self.rooms.give(at, template);
        }
        if let Some(at) = self.rooms.index_of(to) {
            self.rooms.take(at, template);
        }
        if let Some(load) = self.loads.get_mut(&from) {
            *load = load.saturating_sub(1);
        }
        *self.loads.entry(to).or_default() += 1;
        self.moved.insert(task, why);
    }

    fn relocations(self) -> Vec<Relocation> {
        let mut moves = Vec::new();
        for (id, why) in self.moved {
            let Some(task) = self.state.task(id) else { continue };
            let service =
                self.services.iter().find(|service| service.group.service == task.service);
            let to = service.and_then(|service| service.tasks.get(&id)).copied();
            // What came back in the end, or was on its way there before, stays.
            let Some(to) = to.filter(|to| *to != task.node) else { continue };
            let (service, slot, from) = (task.service, task.slot, task.node);
            moves.push(Relocation { service, slot, task: id, from, to, why });
        }
        moves.sort_by_key(|one| (one.service, one.slot));
        moves
    }
}
