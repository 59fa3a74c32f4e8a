//! From traffic to a stop. A task that served is stopped when every resolver answers without it and every answer that
//! named it has expired from caches.

use super::Planner;
use super::seen::Seen;
use crate::id::TaskId;
use crate::report::{ServiceReport, Wait, WaitReason};
use crate::task::{Desired, Phase, Task};
use crate::time::ClusterTime;
use crate::traffic::TTL;
use std::time::Duration;

/// A resolver that does not acknowledge for this long is cut off, and by then answers from its last view with the short
/// TTL only: it is waited for no longer.
pub(super) const TRAFFIC_LEASE: Duration = Duration::from_secs(3);

impl Planner<'_> {
    /// The drained tasks that may stop now; the others are reported and woken for.
    pub(super) fn finish_drains(
        &mut self,
        tasks: &[Seen<'_>],
        report: &mut ServiceReport,
    ) -> Vec<TaskId> {
        let mut stop = Vec::new();
        for task in tasks.iter().filter(|task| task.is_live()) {
            let reason = match task.desired {
                Desired::Run => continue,
                Desired::Stop { reason } => {
                    let wait = WaitReason::Stopping { task: task.id, node: task.node, reason };
                    report.wait(waiting(task, wait, Some(task.changed), None));
                    continue;
                }
                Desired::Drain { reason, .. } => reason,
            };
            match self.released_at(task) {
                Some(at) if at > self.now => {
                    self.wake(at);
                    let wait = WaitReason::Draining { task: task.id, reason };
                    report.wait(waiting(task, wait, None, Some(at)));
                }
                Some(_) | None => stop.push(task.id),
            }
        }
        stop
    }

    /// When no answer names a draining task any more; `None` where none ever did.
    fn released_at(&self, task: &Seen<'_>) -> Option<ClusterTime> {
        let Desired::Drain { since, epoch, .. } = task.desired else { return None };
        if task.phase < Phase::Running || !task.is_ready() {
            return None;
        }
        let cut_off = since.after(TRAFFIC_LEASE);
        let live = self.observed.nodes.values().filter(|node| node.connected);
        let acked = live.map(|node| node.acks.since(epoch).unwrap_or(cut_off).min(cut_off));
        Some(acked.max().unwrap_or(since).max(since).after(TTL))
    }
}

pub(super) fn waiting(
    task: &Task,
    reason: WaitReason,
    since: Option<ClusterTime>,
    until: Option<ClusterTime>,
) -> Wait {
    Wait { slot: Some(task.slot), reason, since, until }
}
