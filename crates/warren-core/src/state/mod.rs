//! The replicated state. It is changed by [`State::apply`] only.
//!
//! Maps are ordered and persistent: a clone costs a few pointers, so that every reader has a snapshot of its own.

mod apply;
mod back;
mod changes;
mod cluster;
mod epoch;
mod fit;
mod freezes;
mod members;
mod moves;
mod nodes;
mod outbox;
mod queue;
mod rollouts;
mod services;
mod steer;
mod tasks;
mod vault;

pub use changes::Changes;
pub use cluster::{Cluster, ClusterId};
pub use epoch::{EPOCH_GAP, leap};

use crate::audit::AuditLog;
use crate::event::{Event, EventKind};
use crate::id::{LogIndex, NodeId, NoticeId, ServiceId, TaskId};
use crate::member::{AccessToken, JoinToken, Trust};
use crate::node::Node;
use crate::notice::Notice;
use crate::service::{Freeze, Service};
use crate::spec::{FileKind, FileName, RoleName, ServiceName};
use crate::task::Task;
use crate::time::ClusterTime;
use crate::vault::Item;
use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Everything the managers agree on.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct State {
    stored: Stored,
    names: OrdMap<ServiceName, ServiceId>,
    by_service: OrdMap<ServiceId, OrdSet<TaskId>>,
    by_node: OrdMap<NodeId, OrdSet<TaskId>>,
    /// Nodes by their keys: who calls is looked up for every call.
    by_key: OrdMap<String, NodeId>,
}

/// What a snapshot holds: the state without its indexes.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Stored {
    applied: LogIndex,
    time: ClusterTime,
    last_id: u64,
    traffic_epoch: u64,
    cluster: Option<Arc<Cluster>>,
    services: OrdMap<ServiceId, Arc<Service>>,
    nodes: OrdMap<NodeId, Arc<Node>>,
    tasks: OrdMap<TaskId, Arc<Task>>,
    events: Vector<Arc<Event>>,
    /// The last entry whose events are no longer kept.
    compacted: LogIndex,
    /// Calls of hooks that are to be made.
    outbox: OrdMap<NoticeId, Arc<Notice>>,
    /// The freeze of all releases.
    freeze: Option<Freeze>,
    /// Who signs the certificates of nodes.
    trust: Option<Arc<Trust>>,
    join_tokens: Vector<Arc<JoinToken>>,
    access_tokens: OrdMap<RoleName, Arc<AccessToken>>,
    /// Secrets and configs.
    vault: OrdMap<(FileKind, FileName), Arc<Item>>,
    /// Who did what.
    audit: AuditLog,
}

impl From<Stored> for State {
    fn from(stored: Stored) -> Self {
        let names = stored.services.iter().map(|(id, s)| (s.spec.name.clone(), *id)).collect();
        let by_key = stored.nodes.iter().map(|(id, node)| (node.key.clone(), *id)).collect();
        let mut state = Self {
            stored,
            names,
            by_service: OrdMap::default(),
            by_node: OrdMap::default(),
            by_key,
        };
        let tasks = state.stored.tasks.clone();
        for task in tasks.values() {
            state.index_task(task);
        }
        state
    }
}

impl From<State> for Stored {
    fn from(state: State) -> Self {
        state.stored
    }
}

impl State {
    /// The last applied entry: the revision of this state.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.stored.applied
    }

    /// Cluster time at the last applied entry.
    #[must_use]
    pub fn time(&self) -> ClusterTime {
        self.stored.time
    }

    /// Grows with every entry that changes what resolvers answer.
    #[must_use]
    pub fn traffic_epoch(&self) -> u64 {
        self.stored.traffic_epoch
    }

    /// The cluster's identity, once it has one.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.stored.cluster.as_deref()
    }

    /// All services, by id.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.stored.services.values()
    }

    /// One service.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.stored.services.get(&id)
    }

    /// The service of that name.
    #[must_use]
    pub fn service_named(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.names.get(name).and_then(|id| self.service(*id))
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.stored.nodes.values()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.stored.nodes.get(&id)
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = &Arc<Task>> {
        self.stored.tasks.values()
    }

    /// One task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.stored.tasks.get(&id)
    }

    /// The tasks of one service, by id.
    pub fn tasks_of(&self, service: ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        let ids = self.by_service.get(&service);
        ids.into_iter().flatten().filter_map(|id| self.task(*id))
    }

    /// The tasks of one node, by id.
    pub fn tasks_on(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        let ids = self.by_node.get(&node);
        ids.into_iter().flatten().filter_map(|id| self.task(*id))
    }

    /// The kept events, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> + ExactSizeIterator {
        self.stored.events.iter()
    }

    /// The last entry whose events are no longer kept: who has seen all up to it, or later, has missed nothing.
    #[must_use]
    pub fn events_compacted(&self) -> LogIndex {
        self.stored.compacted
    }

    /// The node with this key.
    #[must_use]
    pub fn node_with_key(&self, key: &str) -> Option<&Arc<Node>> {
        self.by_key.get(key).and_then(|id| self.node(*id))
    }

    /// Who did what.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.stored.audit
    }

    fn next_id(&mut self) -> u64 {
        self.stored.last_id += 1;
        self.stored.last_id
    }

    fn index_task(&mut self, task: &Task) {
        self.by_service.entry(task.service).or_default().insert(task.id);
        self.by_node.entry(task.node).or_default().insert(task.id);
    }

    fn drop_task(&mut self, id: TaskId) {
        let Some(task) = self.stored.tasks.remove(&id) else { return };
        for_emptied(&mut self.by_service, task.service, id);
        for_emptied(&mut self.by_node, task.node, id);
    }
}

/// Takes `task` out of `index[key]`, and the key with the last one.
fn for_emptied<K: Ord + Copy>(index: &mut OrdMap<K, OrdSet<TaskId>>, key: K, task: TaskId) {
    let Some(tasks) = index.get_mut(&key) else { return };
    tasks.remove(&task);
    if tasks.is_empty() {
        index.remove(&key);
    }
}

/// The time and place of the entry being applied, for the records it makes.
#[derive(Clone, Copy)]
struct Now {
    index: LogIndex,
    at: ClusterTime,
    wall: crate::time::WallTime,
}

impl State {
    fn record(&mut self, now: Now, kind: EventKind) {
        let event = Event { index: now.index, at: now.at, wall: now.wall, kind };
        self.stored.events.push_back(Arc::new(event));
        if self.stored.events.len() > crate::event::EVENTS_KEPT {
            self.compact_events(now.index);
        }
    }

    /// Drops all events of the oldest entry, unless that is the newest too: an entry's events are one change, and
    /// whoever sees a part of it sees it all.
    fn compact_events(&mut self, newest: LogIndex) {
        let events = &mut self.stored.events;
        let Some(oldest) = events.front().map(|event| event.index).filter(|i| *i < newest) else {
            return;
        };
        while events.front().is_some_and(|event| event.index == oldest) {
            events.pop_front();
        }
        self.stored.compacted = oldest;
    }
}

#[cfg(test)]
mod release_tests;
#[cfg(test)]
pub(crate) mod tests;
