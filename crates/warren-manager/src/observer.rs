//! What has been heard from nodes. Owned by the hub; the reconciler and the API see copies.

use std::collections::BTreeSet;
use warren_core::State;
use warren_core::converge::Status;
use warren_core::id::{NodeId, ServiceId, TaskId};
use warren_core::observed::{Observed, TaskObserved};
use warren_core::task::Phase;
use warren_core::time::ClusterTime;

/// All that was heard, and what of it is news.
pub(crate) struct Observer {
    observed: Observed,
    /// Whether anything but the time of a sign of life has changed since [`Self::news`].
    changed: bool,
    /// Services whose endpoints changed in readiness since [`Self::touched`].
    touched: BTreeSet<ServiceId>,
}

impl Observer {
    pub(crate) fn new(since: ClusterTime) -> Self {
        let observed = Observed { since, ..Observed::default() };
        Self { observed, changed: false, touched: BTreeSet::new() }
    }

    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Whether anything but the time of a sign of life has changed since the last call.
    pub(crate) fn news(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Services whose endpoints changed in readiness since the last call.
    pub(crate) fn touched(&mut self) -> BTreeSet<ServiceId> {
        std::mem::take(&mut self.touched)
    }

    /// Any message of a node is a sign of life.
    pub(crate) fn heard(&mut self, node: NodeId, now: ClusterTime) {
        let node = self.observed.nodes.entry(node).or_default();
        node.heard = node.heard.max(now);
    }

    pub(crate) fn connected(&mut self, node: NodeId, connected: bool) {
        let node = self.observed.nodes.entry(node).or_default();
        self.changed |= node.connected != connected;
        node.connected = connected;
    }

    /// The node's resolver answers with `epoch`.
    pub(crate) fn acked(&mut self, node: NodeId, epoch: u64, now: ClusterTime) {
        let acks = &mut self.observed.nodes.entry(node).or_default().acks;
        let before = acks.newest();
        acks.add(epoch, now);
        self.changed |= acks.newest() != before;
    }

    /// Takes note of what a node says of a task. Returns whether the task is one of its own.
    pub(crate) fn report(
        &mut self,
        state: &State,
        node: NodeId,
        (id, status): &(TaskId, Status),
        now: ClusterTime,
    ) -> bool {
        let Some(task) = state.task(*id).filter(|task| task.node == node) else {
            return false;
        };
        let before = self.observed.tasks.get(id);
        let was_ready = before.and_then(|before| before.ready_since);
        let is_ready = status.ready && status.phase == Phase::Running;
        let heard = TaskObserved {
            phase: status.phase,
            ready_since: is_ready.then(|| was_ready.unwrap_or(now)),
            healthy: status.healthy,
            restarts: status.restarts,
            detail: status.detail.clone(),
        };
        if before != Some(&heard) {
            if was_ready.is_some() != is_ready {
                self.touched.insert(task.service);
            }
            self.observed.tasks.insert(*id, heard);
            self.changed = true;
        }
        true
    }

    /// The task's record is gone, and so is what was heard of it.
    pub(crate) fn forget(&mut self, task: TaskId) {
        self.changed |= self.observed.tasks.remove(&task).is_some();
    }

    /// Whether every node that is up has said how each of its running tasks does.
    pub(crate) fn is_complete(&self, state: &State) -> bool {
        let up = state.nodes().filter(|node| node.up);
        let mut tasks = up.flat_map(|node| state.tasks_on(node.id));
        tasks.all(|task| !task.serves() || self.observed.tasks.contains_key(&task.id))
    }
}
