//! From traffic to a stop. A task that served is stopped when every resolver answers without it and every answer that
//! named it has expired from caches.

use super::Planner;
use super::seen::Seen;
use crate::command::Command;
use crate::report::{ServiceReport, Wait, WaitReason};
use crate::task::{Desired, Phase, StopReason};
use crate::time::ClusterTime;
use crate::traffic::{TRAFFIC_LEASE, TTL};

impl Planner<'_> {
    /// Tells the drained tasks to stop whose time has come; the others are reported and woken for.
    pub(super) fn stop_drained(&mut self, tasks: &[Seen<'_>], report: &mut ServiceReport) {
        let mut stop = Vec::new();
        for task in tasks.iter().filter(|task| task.is_live()) {
            match task.desired {
                Desired::Run => {}
                Desired::Stop { reason } => {
                    let reason = WaitReason::Stopping { task: task.id, node: task.node, reason };
                    let (slot, since) = (Some(task.slot), Some(task.changed));
                    report.wait(Wait { slot, reason, since, until: None });
                }
                Desired::Drain { reason, .. } => match self.released_at(task) {
                    Some(at) if at > self.now => {
                        self.wake(at);
                        let reason = WaitReason::Draining { task: task.id, reason };
                        let (slot, until) = (Some(task.slot), Some(at));
                        report.wait(Wait { slot, reason, since: None, until });
                    }
                    Some(_) | None => stop.push(task.id),
                },
            }
        }
        if !stop.is_empty() {
            let reason = StopReason::Replaced;
            self.plan.commands.push(Command::StopTasks { tasks: stop, reason });
        }
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
