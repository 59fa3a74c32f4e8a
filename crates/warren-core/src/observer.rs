//! How the leader comes to know what it has heard. The hub of its term owns the one observer there is, and so does each
//! manager of the simulator; the reconciler and the API see copies of [`Observed`].

use crate::converge::Status;
use crate::id::{NodeId, ServiceId, TaskId};
use crate::observed::{Observed, Run, TaskObserved};
use crate::state::State;
use crate::task::Phase;
use crate::time::ClusterTime;
use std::collections::BTreeSet;

/// Problems of one node that are remembered: a screen's worth.
const PROBLEMS_MAX: usize = 16;
/// The longest sentence about one: it names two addresses, and what a program said.
const PROBLEM_BYTES_MAX: usize = 512;

/// All that was heard in one term of leadership, and what of it is news.
#[derive(Clone, Debug)]
pub struct Observer {
    observed: Observed,
    /// Whether anything but the time of a sign of life has changed since [`Self::news`].
    changed: bool,
    /// Services whose endpoints changed in readiness since [`Self::touched`].
    touched: BTreeSet<ServiceId>,
}

impl Observer {
    /// Listens from `since` on, and will tell resolvers by `told_from` at the latest.
    #[must_use]
    pub fn new(since: ClusterTime, told_from: ClusterTime) -> Self {
        let observed = Observed { since, told_from, ..Observed::default() };
        Self { observed, changed: false, touched: BTreeSet::new() }
    }

    /// From now on resolvers are told where traffic goes.
    pub fn tells(&mut self, now: ClusterTime) {
        self.observed.told_from = now;
        self.changed = true;
    }

    /// What has been heard so far.
    #[must_use]
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Whether anything but the time of a sign of life has changed since the last call.
    pub fn news(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Services whose endpoints changed in readiness since the last call.
    pub fn touched(&mut self) -> BTreeSet<ServiceId> {
        std::mem::take(&mut self.touched)
    }

    /// Any message of a node is a sign of life.
    pub fn heard(&mut self, id: NodeId, now: ClusterTime) {
        let node = self.observed.nodes.entry(id).or_default();
        node.heard = node.heard.max(now);
        self.changed |= self.observed.probes.remove(&id).is_some();
    }

    /// Others are asked about a silent node.
    pub fn asked(&mut self, suspect: NodeId, peers: Vec<NodeId>, now: ClusterTime) {
        self.observed.probes.entry(suspect).or_default().ask(peers, now);
        self.changed = true;
    }

    /// A peer says whether it reaches a silent node, as it was asked at `asked`. Returns whether that counts.
    pub fn probed(
        &mut self,
        suspect: NodeId,
        (peer, asked): (NodeId, ClusterTime),
        reached: bool,
    ) -> bool {
        let Some(probes) = self.observed.probes.get_mut(&suspect) else { return false };
        let counts = probes.answer(peer, asked, reached);
        self.changed |= counts;
        counts
    }

    /// The node has a session now, or has none any more.
    pub fn connected(&mut self, node: NodeId, connected: bool) {
        let node = self.observed.nodes.entry(node).or_default();
        self.changed |= node.connected != connected;
        node.connected = connected;
    }

    /// The node's resolver answers with `epoch`.
    pub fn acked(&mut self, node: NodeId, epoch: u64, now: ClusterTime) {
        let acks = &mut self.observed.nodes.entry(node).or_default().acks;
        let before = acks.newest();
        acks.add(epoch, now);
        self.changed |= acks.newest() != before;
    }

    /// The node says what is wrong with it. Too much of it is cut: it is for people.
    pub fn troubled(&mut self, node: NodeId, problems: Vec<String>) {
        let problems = problems.into_iter().take(PROBLEMS_MAX);
        let problems: Vec<String> = problems.map(cut).collect();
        let node = self.observed.nodes.entry(node).or_default();
        if node.problems != problems {
            node.problems = problems;
            self.changed = true;
        }
    }

    /// Takes note of what a node says of a task at `now`. Returns whether the task is one of its own.
    pub fn report(
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
        // The time in which nobody could see it is not held against it.
        let was_unready = before.filter(|before| !before.unseen);
        let was_unready = was_unready.and_then(|before| before.unready_since);
        let is_ready = status.ready && status.phase == Phase::Running;
        let heard = TaskObserved {
            phase: status.phase,
            ready_since: is_ready.then(|| was_ready.unwrap_or(now)),
            unready_since: (!is_ready).then(|| was_unready.unwrap_or(now)),
            healthy: status.healthy,
            restarts: status.restarts,
            unseen: status.unseen,
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
    pub fn forget(&mut self, task: TaskId) {
        self.changed |= self.observed.tasks.remove(&task).is_some();
        self.observed.runs.remove(&task);
    }

    /// Whether every node that is up has said how each of its running tasks does.
    #[must_use]
    pub fn is_complete(&self, state: &State) -> bool {
        let up = state.nodes().filter(|node| node.up);
        let mut tasks = up.flat_map(|node| state.tasks_on(node.id));
        tasks.all(|task| !task.serves() || self.observed.tasks.contains_key(&task.id))
    }
}

fn cut(mut problem: String) -> String {
    problem.truncate(problem.floor_char_boundary(PROBLEM_BYTES_MAX));
    problem
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

    #[test]
    fn what_a_node_says_of_itself_is_bounded_and_news_once() {
        let mut observer = Observer::new(ClusterTime::START, ClusterTime::START);
        let said = vec!["ü".repeat(PROBLEM_BYTES_MAX); PROBLEMS_MAX + 1];
        observer.troubled(NodeId(1), said.clone());
        assert!(observer.news());
        let kept = &observer.observed().nodes[&NodeId(1)].problems;
        assert_eq!(kept.len(), PROBLEMS_MAX);
        assert!(kept.iter().all(|problem| problem.len() == PROBLEM_BYTES_MAX));
        observer.troubled(NodeId(1), said);
        assert!(!observer.news());
        observer.troubled(NodeId(1), Vec::new());
        assert!(observer.news() && observer.observed().nodes[&NodeId(1)].problems.is_empty());
    }
}
