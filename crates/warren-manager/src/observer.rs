//! What has been heard from nodes. Owned by the hub; the reconciler and the API see copies.

use std::collections::BTreeSet;
use warren_core::State;
use warren_core::converge::Status;
use warren_core::id::{NodeId, ServiceId, TaskId};
use warren_core::observed::{Observed, Run, TaskObserved};
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
    /// Listens from `since` on, and will tell resolvers by `told_from` at the latest.
    pub(crate) fn new(since: ClusterTime, told_from: ClusterTime) -> Self {
        let observed = Observed { since, told_from, ..Observed::default() };
        Self { observed, changed: false, touched: BTreeSet::new() }
    }

    /// From now on resolvers are told where traffic goes.
    pub(crate) fn tells(&mut self, now: ClusterTime) {
        self.observed.told_from = now;
        self.changed = true;
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
        let was_unready = before.and_then(|before| before.unready_since);
        let is_ready = status.ready && status.phase == Phase::Running;
        let heard = TaskObserved {
            phase: status.phase,
            ready_since: is_ready.then(|| was_ready.unwrap_or(now)),
            unready_since: (!is_ready).then(|| was_unready.unwrap_or(now)),
            healthy: status.healthy,
            restarts: status.restarts,
            detail: status.detail.clone(),
        };
        let again = before.is_some_and(|before| heard.restarts > before.restarts);
        if before != Some(&heard) {
            if was_ready.is_some() != is_ready {
                self.touched.insert(task.service);
            }
            self.observed.tasks.insert(*id, heard);
            self.changed = true;
        }
        self.note_run(*id, status.waiting, again, now);
        true
    }

    /// Takes note of whether a task that ended in its place waits or runs, and since when.
    fn note_run(&mut self, task: TaskId, waiting: bool, again: bool, now: ClusterTime) {
        let before = self.observed.runs.get(&task).map(|run| run.waiting);
        let is_news = again || waiting != before.unwrap_or(false);
        if is_news {
            self.observed.runs.insert(task, Run { waiting, since: now });
            self.changed = true;
        }
    }

    /// The task's record is gone, and so is what was heard of it.
    pub(crate) fn forget(&mut self, task: TaskId) {
        self.changed |= self.observed.tasks.remove(&task).is_some();
        self.observed.runs.remove(&task);
    }

    /// Whether every node that is up has said how each of its running tasks does.
    pub(crate) fn is_complete(&self, state: &State) -> bool {
        let up = state.nodes().filter(|node| node.up);
        let mut tasks = up.flat_map(|node| state.tasks_on(node.id));
        tasks.all(|task| !task.serves() || self.observed.tasks.contains_key(&task.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_in_place_is_known_with_its_time() {
        let mut observer = Observer::new(ClusterTime::START, ClusterTime::START);
        let task = TaskId(1);
        let at = ClusterTime::from_ms;
        let run = |observer: &Observer| {
            observer.observed().runs.get(&task).map(|run| (run.waiting, run.since))
        };
        observer.note_run(task, false, false, at(1));
        assert_eq!(run(&observer), None, "it has never ended");
        observer.note_run(task, true, true, at(2));
        observer.note_run(task, true, false, at(3));
        assert_eq!(run(&observer), Some((true, at(2))));
        observer.note_run(task, false, false, at(4));
        observer.note_run(task, false, false, at(5));
        assert_eq!(run(&observer), Some((false, at(4))));
        // So quick that only the count says so.
        observer.note_run(task, false, true, at(6));
        assert_eq!(run(&observer), Some((false, at(6))));
        observer.forget(task);
        assert_eq!(run(&observer), None);
    }
}
