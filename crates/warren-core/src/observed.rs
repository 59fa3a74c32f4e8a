//! What the leader has heard and Raft has not agreed: readiness, progress, acknowledgements. It lives in the leader's
//! memory; agents tell a new leader again.

use crate::id::{NodeId, TaskId};
use crate::lease::Probes;
use crate::task::Phase;
use crate::time::ClusterTime;
use imbl::OrdMap;
use std::collections::VecDeque;

/// All that has been heard. A clone costs a few pointers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// By node: those with a session, now or since this leader took over.
    pub nodes: OrdMap<NodeId, NodeObserved>,
    /// By task: those that a node reported on.
    pub tasks: OrdMap<TaskId, TaskObserved>,
    /// By task: those that ended and were started again in their place, or wait for it.
    pub runs: OrdMap<TaskId, Run>,
    /// By node: what others say of those that are silent.
    pub probes: OrdMap<NodeId, Probes>,
    /// When this leader began to listen. A node that has not been heard since then is not yet missed.
    pub since: ClusterTime,
    /// From when on this leader tells resolvers where traffic goes; later than `since`, and expected as long as it has
    /// not begun. What was agreed before that, they may not have been told.
    pub told_from: ClusterTime,
}

/// What has been heard of one node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeObserved {
    /// Whether it has a session now.
    pub connected: bool,
    /// When it was heard last.
    pub heard: ClusterTime,
    /// Which traffic epochs its resolver answers with, and since when.
    pub acks: TrafficAcks,
    /// What it says is wrong with it, for people. Nothing is decided by it.
    pub problems: Vec<String>,
}

/// Acknowledgements remembered per node: more epochs than pass within one drain.
const ACKS_KEPT: usize = 64;

/// The traffic epochs that a resolver acknowledged, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrafficAcks(VecDeque<(u64, ClusterTime)>);

impl TrafficAcks {
    /// Takes note that the resolver answers with `epoch` since `at`. A late or repeated one changes nothing.
    pub fn add(&mut self, epoch: u64, at: ClusterTime) {
        if self.newest().is_some_and(|newest| epoch <= newest) {
            return;
        }
        if self.0.len() == ACKS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back((epoch, at));
    }

    /// The newest epoch that the resolver answers with.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.0.back().map(|(epoch, _)| *epoch)
    }

    /// Since when the resolver answers with `epoch` or a later one; absent while it does not.
    #[must_use]
    pub fn since(&self, epoch: u64) -> Option<ClusterTime> {
        self.0.iter().find(|(acked, _)| *acked >= epoch).map(|(_, at)| *at)
    }
}

/// What has been heard of one task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskObserved {
    /// The phase as the node sees it, which may be ahead of the committed one.
    pub phase: Phase,
    /// Since when it is ready without a break; absent while it is not.
    pub ready_since: Option<ClusterTime>,
    /// Since when it is not ready, as far as this leader knows; absent while it is.
    pub unready_since: Option<ClusterTime>,
    /// Whether its health check passes; absent without a check or before its first verdict.
    pub healthy: Option<bool>,
    /// Restarts in place within the policy's window.
    pub restarts: u32,
    /// Whether its node cannot see how it is, since its runtime does not answer.
    pub unseen: bool,
    /// What it is doing or what is wrong, for people: `pulling 40 %`, `connection refused`.
    pub detail: String,
}

/// Where a task stands that has ended in its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Whether it waits to be started again; else it was.
    pub waiting: bool,
    /// Since when.
    pub since: ClusterTime,
}

impl Observed {
    /// Whether anything but when nodes were heard last was heard since `before`. It costs what nodes cost, not tasks:
    /// tasks that were written anew count as different.
    #[must_use]
    pub fn differs_from(&self, before: &Self) -> bool {
        let same_node = |(id, node): (&NodeId, &NodeObserved)| {
            before.nodes.get(id).is_some_and(|had| {
                had.connected == node.connected
                    && had.acks == node.acks
                    && had.problems == node.problems
            })
        };
        !self.tasks.ptr_eq(&before.tasks)
            || !self.runs.ptr_eq(&before.runs)
            || self.since != before.since
            || self.told_from != before.told_from
            || !self.vouched().eq(before.vouched())
            || self.nodes.len() != before.nodes.len()
            || !self.nodes.iter().all(same_node)
    }

    /// The silent nodes that others reach.
    pub fn vouched(&self) -> impl Iterator<Item = NodeId> {
        self.probes.iter().filter(|(_, probes)| probes.is_vouched()).map(|(node, _)| *node)
    }

    /// Since when a task is ready without a break.
    #[must_use]
    pub fn ready_since(&self, task: TaskId) -> Option<ClusterTime> {
        self.tasks.get(&task).and_then(|task| task.ready_since)
    }

    /// Whether a task is ready.
    #[must_use]
    pub fn is_ready(&self, task: TaskId) -> bool {
        self.ready_since(task).is_some()
    }
}
