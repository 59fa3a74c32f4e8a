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
use crate::id::{NodeId, RevisionNumber, ServiceId};
use crate::node::Node;
use crate::observed::Observed;
use crate::report::Report;
use crate::scheduler::Rooms;
use crate::service::Service;
use crate::state::State;
use crate::time::ClusterTime;
use seen::Seen;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Placements in one command: a bound on the size of a log entry (about 24 bytes each).
const PLACEMENTS_PER_COMMAND: usize = 1_000;

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
    let mut planner = Planner::new(state, observed, now);
    planner.lose_tasks_of_down_nodes();
    let by_service = Arc::clone(&planner.tasks);
    for service in state.services() {
        let tasks = by_service.get(&service.id).map_or(&[][..], Vec::as_slice);
        service::plan(&mut planner, service, tasks);
    }
    planner.plan
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

    fn lose_tasks_of_down_nodes(&mut self) {
        for node in self.state.nodes().filter(|node| !node.up) {
            let live = self.state.tasks_on(node.id).filter(|task| task.is_live());
            let tasks: Vec<_> = live.map(|task| task.id).collect();
            if !tasks.is_empty() {
                self.plan.commands.push(Command::LoseTasks { node: node.id, tasks });
            }
        }
    }

    /// What nodes have left; counted when the first task is to be placed.
    fn rooms(&mut self) -> &mut Rooms<'a> {
        let (state, tasks) = (self.state, &self.tasks);
        self.rooms.get_or_insert_with(|| occupied(state, tasks))
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
mod tests;
