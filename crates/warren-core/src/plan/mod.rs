//! What should happen next, for every service at once, and what each unfinished thing waits for.
//!
//! The plan is made afresh each time from what is agreed ([`State`]) and what has been heard ([`Observed`]); nothing is
//! remembered between plans. A converged cluster has an empty plan.

mod drain;
mod fill;
mod global;
mod release;
mod replace;
mod seen;
mod service;

use crate::command::Command;
use crate::id::{NodeId, RevisionNumber, ServiceId, TaskId};
use crate::node::Node;
use crate::observed::Observed;
use crate::report::Report;
use crate::scheduler::Rooms;
use crate::service::Service;
use crate::state::State;
use crate::task::{StopReason, Task};
use crate::time::ClusterTime;
use seen::Seen;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Placements in one command: a bound on the size of a log entry (about 24 bytes each).
const PLACEMENTS_PER_COMMAND: usize = 1_000;

/// What a node takes at most to notice that it is alone, and to see to it that what it kills is gone.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// What should happen next.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// To be proposed in this order. Each carries its guard; one that is refused is planned anew.
    pub commands: Vec<Command>,
    /// When to plan again, though nothing else may happen before.
    pub wake_at: Option<ClusterTime>,
    /// What each unfinished thing waits for.
    pub report: Report,
}

/// Plans for all services.
#[must_use]
pub fn plan(state: &State, observed: &Observed, now: ClusterTime) -> Plan {
    let sure = sure(state, now);
    let after = state.foresee(&sure, now);
    let mut planner = Planner::new(after.as_ref().unwrap_or(state), observed, now);
    planner.plan.commands = sure;
    planner.wake_for_nodes();
    let by_service = Arc::clone(&planner.tasks);
    for service in state.services() {
        let tasks = by_service.get(&service.id).map_or(&[][..], Vec::as_slice);
        service::plan(&mut planner, service, tasks);
    }
    planner.plan
}

/// What is proposed whatever else is planned, so that everything else is planned on what comes of it: tasks of nodes
/// that are down are lost, and those of drains past their deadline go.
fn sure(state: &State, now: ClusterTime) -> Vec<Command> {
    let mut sure = Vec::new();
    for node in state.nodes() {
        if !node.up {
            let live = state.tasks_on(node.id).filter(|task| task.is_live());
            let gone = live.filter(|task| ends_at(state, node, task) <= now);
            let tasks: Vec<_> = gone.map(|task| task.id).collect();
            if !tasks.is_empty() {
                sure.push(Command::LoseTasks { node: node.id, tasks });
            }
        } else if node.is_overdue(now) {
            expel(state, node.id, &mut sure);
        }
    }
    sure
}

/// When a task of a node that is down does not run any more, or may for all that its service cares. Its node has not
/// been answered since before it went down.
fn ends_at(state: &State, node: &Node, task: &Task) -> ClusterTime {
    let Some(service) = state.service(task.service) else { return node.since };
    let Some(span) = service.spec.restart.on_disconnect.stop_after() else { return node.since };
    let stop = template_of(service, task.revision).map(|template| template.stop.timeout);
    node.since.after(span + stop.unwrap_or_default() + STOP_SLACK)
}

/// Takes all tasks on a node out of traffic, whatever their services can spare.
fn expel(state: &State, node: NodeId, commands: &mut Vec<Command>) {
    let mut by_service: BTreeMap<ServiceId, Vec<TaskId>> = BTreeMap::new();
    for task in state.tasks_on(node).filter(|task| task.is_wanted()) {
        by_service.entry(task.service).or_default().push(task.id);
    }
    for (service, tasks) in by_service {
        let Some(expect) = state.service(service).map(|service| service.generation) else {
            continue;
        };
        let reason = StopReason::Overdue;
        commands.push(Command::DrainTasks { service, expect, tasks, reason });
    }
}

/// What one round of planning looks at and writes.
struct Planner<'a> {
    state: &'a State,
    observed: &'a Observed,
    now: ClusterTime,
    tasks: Arc<BTreeMap<ServiceId, Vec<Seen<'a>>>>,
    rooms: Option<Rooms<'a>>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(state: &'a State, observed: &'a Observed, now: ClusterTime) -> Self {
        let tasks = Arc::new(seen::by_service(state, observed));
        Self { state, observed, now, tasks, rooms: None, plan: Plan::default() }
    }

    fn node(&self, id: NodeId) -> Option<&'a Node> {
        self.state.node(id).map(Arc::as_ref)
    }

    /// Plans again at `at`, or earlier. What was due before now has been looked at in this plan.
    fn wake(&mut self, at: ClusterTime) {
        if at <= self.now {
            return;
        }
        let earlier = self.plan.wake_at.map_or(at, |wake| wake.min(at));
        self.plan.wake_at = Some(earlier);
    }

    /// Wakes when a drain with tasks to wait for comes to its deadline, and when a task of a node that is down has
    /// ended by itself.
    fn wake_for_nodes(&mut self) {
        let state = self.state;
        for node in state.nodes().filter(|node| !node.up) {
            for task in state.tasks_on(node.id).filter(|task| task.is_live()) {
                self.wake(ends_at(state, node, task));
            }
        }
        let wanted = |node: NodeId| self.state.tasks_on(node).any(|task| task.is_wanted());
        let nodes = self.state.nodes().filter(|node| wanted(node.id));
        let soonest = nodes.filter_map(|node| node.drain_until).filter(|at| *at > self.now).min();
        if let Some(at) = soonest {
            self.wake(at);
        }
    }

    /// What nodes have left; counted when the first task is to be placed.
    fn rooms(&mut self) -> &mut Rooms<'a> {
        let (state, observed, tasks) = (self.state, self.observed, &self.tasks);
        self.rooms.get_or_insert_with(|| {
            let mut rooms = occupied(state, tasks);
            observed.vouched().for_each(|node| rooms.unheard(node));
            rooms
        })
    }
}

fn occupied<'a>(state: &'a State, tasks: &BTreeMap<ServiceId, Vec<Seen<'a>>>) -> Rooms<'a> {
    let mut rooms = Rooms::empty(state.nodes().map(Arc::as_ref));
    for (id, tasks) in tasks {
        let Some(service) = state.service(*id) else { continue };
        for task in tasks.iter().filter(|task| task.is_live()) {
            let template = template_of(service, task.revision);
            if let (Some(index), Some(template)) = (rooms.index_of(task.node), template) {
                rooms.take(index, template);
            }
        }
    }
    rooms
}

fn template_of(service: &Service, number: RevisionNumber) -> Option<&crate::spec::Template> {
    service.revisions.get(&number).map(|revision| &revision.template)
}

#[cfg(test)]
mod alone_tests;
#[cfg(test)]
mod move_tests;
#[cfg(test)]
mod tests;
