//! From traffic to a stop. A task that served is stopped when every resolver answers without it and every answer that
//! named it has expired from caches.

use super::Planner;
use super::seen::Seen;
use crate::command::Command;
use crate::id::ServiceId;
use crate::report::{ServiceReport, Wait, WaitReason};
use crate::task::{Desired, Phase, StopReason};
use crate::time::ClusterTime;
use crate::traffic::{self, TTL, TTL_LIVE, TTL_SLACK, Unheard};
use std::time::Duration;

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
        // What a new leader has not heard of yet may well have served.
        let known_unready = task.heard.is_some() && !task.is_ready();
        if task.phase < Phase::Running || known_unready {
            return None;
        }
        let settled = traffic::settled_at(self.state, self.observed, epoch, since);
        let forgotten = self.forgotten_at(task.service, settled).after(TTL_SLACK);
        Some(forgotten.after(self.drain_of(task.service)))
    }

    /// When no cache has an answer any more that was given before `settled`. While a release is under way answers are
    /// short-lived, once those from before it have expired; but not in a first one. That it is under way, resolvers may
    /// hear from a new leader only.
    fn forgotten_at(&self, service: ServiceId, settled: ClusterTime) -> ClusterTime {
        let at_rest = settled.after(TTL);
        let live = self.state.service(service).and_then(|service| service.rollout.as_ref());
        let live = live.filter(|live| live.from.is_some());
        let heeded = Unheard::among(self.state.nodes().len()).heeded;
        let long_ones =
            live.map(|live| live.started.max(self.observed.told_from).after(heeded + TTL));
        long_ones.map_or(at_rest, |expired| at_rest.min(expired.max(settled.after(TTL_LIVE))))
    }

    /// How long the tasks of a service run on once no answer names them.
    fn drain_of(&self, service: ServiceId) -> Duration {
        self.state.service(service).map_or(Duration::ZERO, |service| service.spec.update.drain)
    }
}
