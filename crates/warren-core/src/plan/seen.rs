//! A task together with what has been heard of it.

use crate::id::{ServiceId, TaskId};
use crate::observed::{Observed, TaskObserved};
use crate::state::State;
use crate::task::Task;
use crate::time::ClusterTime;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// A task together with what has been heard of it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) task: &'a Task,
    pub(super) heard: Option<&'a TaskObserved>,
}

impl Deref for Seen<'_> {
    type Target = Task;

    fn deref(&self) -> &Task {
        self.task
    }
}

impl Seen<'_> {
    /// Since when it is ready without a break.
    pub(super) fn ready_since(&self) -> Option<ClusterTime> {
        self.heard.and_then(|heard| heard.ready_since)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready_since().is_some()
    }

    /// Whether it gets traffic.
    pub(super) fn is_serving(&self) -> bool {
        self.serves() && self.is_ready()
    }

    /// What its node says of it.
    pub(super) fn detail(&self) -> String {
        self.heard.map(|heard| heard.detail.clone()).unwrap_or_default()
    }

    /// Restarts in place so far.
    pub(super) fn restarts(&self) -> u32 {
        self.heard.map_or(0, |heard| heard.restarts)
    }
}

/// All tasks by service. Both maps are in the order of task ids, so that one walk over both joins them. What was heard
/// of tasks on a node that is down counts for nothing: such a task is not ready.
pub(super) fn by_service<'a>(
    state: &'a State,
    observed: &'a Observed,
) -> BTreeMap<ServiceId, Vec<Seen<'a>>> {
    let down: BTreeSet<_> = state.nodes().filter(|node| !node.up).map(|node| node.id).collect();
    let mut heard = observed.tasks.iter().peekable();
    let mut services: BTreeMap<ServiceId, Vec<Seen<'a>>> = BTreeMap::new();
    for task in state.tasks() {
        while heard.next_if(|(id, _)| **id < task.id).is_some() {}
        let heard = heard.next_if(|(id, _): &(&TaskId, _)| **id == task.id);
        let heard = heard.filter(|_| down.is_empty() || !down.contains(&task.node));
        let seen = Seen { task, heard: heard.map(|(_, heard)| heard) };
        services.entry(task.service).or_default().push(seen);
    }
    services
}
