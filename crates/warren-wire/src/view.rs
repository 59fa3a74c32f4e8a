//! What the API shows: the replicated state, what has been heard, and what is waited for, as messages.

mod rollout;

pub use rollout::freeze;

use crate::convert::traffic::render_weights;
use crate::convert::{event, labels_text, spec, task as words, template};
use crate::v1;
use warren_core::State;
use warren_core::event::Event;
use warren_core::id::{NodeId, RevisionNumber};
use warren_core::node::Node;
use warren_core::observed::Observed;
use warren_core::report::{Report, ServiceReport, Wait, WaitReason};
use warren_core::service::{Revision, Service};
use warren_core::task::{Desired, Phase, Task};
use warren_core::time::{ClusterTime, millis};

/// Where the numbers of a view come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// What is agreed.
    pub state: &'a State,
    /// What has been heard.
    pub observed: &'a Observed,
    /// What is waited for.
    pub report: &'a Report,
    /// Cluster time now, which goes on between entries.
    pub now: ClusterTime,
}

impl Sources<'_> {
    /// One service. What the planner has not seen yet is `pending`.
    #[must_use]
    pub fn service(&self, service: &Service) -> v1::Service {
        let planned = self.report.services.get(&service.id);
        let report = planned.cloned().unwrap_or_else(|| self.unplanned(service));
        v1::Service {
            id: service.id.to_string(),
            spec: Some(spec::render(&service.spec)),
            generation: service.generation.0,
            revision: service.current.0,
            stable_revision: service.stable.map_or(0, |number| number.0),
            desired: report.desired,
            running: report.running,
            ready: report.ready,
            status: report.status.to_string(),
            changed_by: service.changed_by.to_string(),
            created_unix_ms: service.created_wall.0,
            split: render_weights(&service.split.weights),
            split_epoch: service.split.epoch,
            rollout: self.brief(service),
            queued: service.queued.is_some(),
            freeze: self.freeze_of(service),
        }
    }

    fn freeze_of(&self, service: &Service) -> Option<v1::Freeze> {
        let own = service.frozen.as_ref().map(|frozen| freeze(frozen, service.spec.name.as_str()));
        own.or_else(|| self.state.freeze().map(|frozen| freeze(frozen, "")))
    }

    fn unplanned(&self, service: &Service) -> ServiceReport {
        use warren_core::report::Status;
        use warren_core::spec::Mode;
        let count = |wanted: &dyn Fn(&Task) -> bool| {
            let tasks = self.state.tasks_of(service.id).filter(|task| wanted(task));
            u32::try_from(tasks.count()).unwrap_or(u32::MAX)
        };
        let desired = match service.spec.mode {
            Mode::Replicated { replicas } => replicas,
            Mode::Global => count(&Task::is_wanted),
        };
        let ready = count(&|task| task.serves() && self.observed.is_ready(task.id));
        ServiceReport {
            status: if service.deleting {
                Status::Deleting
            } else if ready < desired {
                Status::Pending
            } else {
                Status::Running
            },
            desired,
            running: count(&|task| task.phase == Phase::Running),
            ready,
            ..ServiceReport::default()
        }
    }

    /// The tasks of one service: by slot, newest first within one.
    #[must_use]
    pub fn tasks_of(&self, service: &Service) -> Vec<v1::Task> {
        let mut tasks: Vec<_> = self.state.tasks_of(service.id).collect();
        tasks.sort_by_key(|task| (task.slot, std::cmp::Reverse(task.id)));
        tasks.into_iter().map(|task| self.task(task)).collect()
    }

    /// One task.
    #[must_use]
    pub fn task(&self, task: &Task) -> v1::Task {
        let service = self.state.service(task.service);
        let revision = service.and_then(|service| service.revisions.get(&task.revision));
        let node = self.state.node(task.node);
        let heard = self.observed.tasks.get(&task.id);
        let phase = match heard {
            Some(heard) if task.is_live() => task.phase.max(heard.phase),
            Some(_) | None => task.phase,
        };
        let run = self.observed.runs.get(&task.id).filter(|_| task.is_live());
        v1::Task {
            id: task.id.to_string(),
            service_id: task.service.to_string(),
            service: service.map(|service| service.spec.name.to_string()).unwrap_or_default(),
            slot: task.slot.0,
            revision: task.revision.0,
            node_id: task.node.to_string(),
            node: node.map(|node| node.facts.hostname.to_string()).unwrap_or_default(),
            address: task.address.to_string(),
            phase: phase.to_string(),
            desired: desired_word(task).to_owned(),
            ready: task.serves() && self.observed.is_ready(task.id),
            health: words::health_word(heard.and_then(|heard| heard.healthy)).to_owned(),
            restarts: heard.map_or(0, |heard| heard.restarts),
            detail: self.detail(task),
            exit_code: task.end.as_ref().and_then(|end| end.code),
            phase_age_ms: millis(self.now.since(run.map_or(task.changed, |run| run.since))),
            restarting: run.is_some_and(|run| run.waiting),
            image: revision.map(|r| r.template.image.to_string()).unwrap_or_default(),
        }
    }

    fn detail(&self, task: &Task) -> String {
        if let Some(end) = &task.end {
            return end.message.clone();
        }
        let heard = self.observed.tasks.get(&task.id).map(|heard| heard.detail.clone());
        match (heard.filter(|detail| !detail.is_empty()), task.desired) {
            (Some(detail), _) => detail,
            (None, Desired::Run) => String::new(),
            (None, Desired::Drain { reason, .. } | Desired::Stop { reason }) => reason.to_string(),
        }
    }

    /// What one service waits for.
    #[must_use]
    pub fn waits(&self, service: &Service) -> Vec<v1::Wait> {
        let Some(report) = self.report.services.get(&service.id) else { return Vec::new() };
        let mut waits: Vec<_> = report.waits.iter().map(|wait| self.wait(service, wait)).collect();
        if report.more > 0 {
            waits.push(v1::Wait {
                subject: service.spec.name.to_string(),
                reason: format!("and {} more waits that are not listed", report.more),
                waited_ms: 0,
                due_ms: None,
            });
        }
        waits
    }

    fn wait(&self, service: &Service, wait: &Wait) -> v1::Wait {
        let (name, now) = (&service.spec.name, self.now);
        let reason = match &wait.reason {
            WaitReason::Release(of) => format!("release: {}", self.now_words(service, of)),
            other => other.to_string(),
        };
        v1::Wait {
            subject: wait.slot.map_or_else(|| name.to_string(), |slot| format!("{name}.{slot}")),
            reason,
            waited_ms: wait.since.map_or(0, |since| millis(now.since(since))),
            due_ms: wait.until.map(|until| millis(until.since(now))),
        }
    }

    /// One node; `leader` is who leads.
    #[must_use]
    pub fn node(&self, node: &Node, leader: Option<NodeId>) -> v1::Node {
        let live: Vec<_> = self.state.tasks_on(node.id).filter(|task| task.is_live()).collect();
        let reserved = live.iter().filter_map(|task| {
            let service = self.state.service(task.service)?;
            Some(service.revisions.get(&task.revision)?.template.resources)
        });
        // What a node without a session said last may be long mended.
        let heard = self.observed.nodes.get(&node.id).filter(|heard| heard.connected);
        let (mut cpu, mut memory) = (0_u32, 0_u64);
        for resources in reserved {
            cpu = cpu.saturating_add(resources.cpu_reserved().0);
            memory = memory.saturating_add(resources.memory_reserved().0);
        }
        v1::Node {
            id: node.id.to_string(),
            hostname: node.facts.hostname.to_string(),
            role: node.role.to_string(),
            status: if node.up { "up" } else { "down" }.to_owned(),
            availability: node.availability.to_string(),
            address: node.facts.address.to_string(),
            subnet: node.subnet.to_string(),
            labels: labels_text(&node.labels),
            platform: node.facts.platform.clone(),
            runtime: node.facts.runtime.clone(),
            version: node.facts.version.clone(),
            feature_level: node.facts.level.0,
            cpu_milli: node.facts.cpu.0,
            memory_bytes: node.facts.memory.0,
            cpu_reserved_milli: cpu,
            memory_reserved_bytes: memory,
            tasks: u32::try_from(live.len()).unwrap_or(u32::MAX),
            leader: leader == Some(node.id),
            drain_left_ms: node.drain_until.map(|until| millis(until.since(self.now))),
            problems: heard.map(|heard| heard.problems.clone()).unwrap_or_default(),
        }
    }

    /// One revision of a service.
    #[must_use]
    pub fn revision(&self, service: &Service, revision: &Revision) -> v1::Revision {
        let tasks = self.state.tasks_of(service.id);
        let running = tasks
            .filter(|task| task.revision == revision.number && task.phase == Phase::Running)
            .count();
        v1::Revision {
            number: revision.number.0,
            hash: revision.hash.to_string(),
            template: Some(template::render(&revision.template)),
            created_unix_ms: revision.created_wall.0,
            by: revision.by.to_string(),
            cause: revision.cause.clone(),
            current: service.current == revision.number,
            stable: service.stable == Some(revision.number),
            running: u32::try_from(running).unwrap_or(u32::MAX),
            last_good_ago_ms: revision.last_good.map(|at| millis(self.now.since(at))),
            outcome: outcome(service, revision.number),
        }
    }
}

/// How the last release to a revision ended; the phase of one under way.
fn outcome(service: &Service, revision: RevisionNumber) -> String {
    let mut newest_first = service.rollout.iter().chain(service.past.iter().rev());
    let last = newest_first.find(|rollout| rollout.to == revision);
    let words = last.map(|last| match &last.end {
        Some(end) => end.outcome.to_string(),
        None => last.phase.to_string(),
    });
    words.unwrap_or_default()
}

/// The message of one entry's events, oldest first.
#[must_use]
pub fn events(revision: u64, events: &[&Event]) -> v1::WatchEventsResponse {
    let events = events.iter().map(|event| event::render(event)).collect();
    v1::WatchEventsResponse { revision, events }
}

const fn desired_word(task: &Task) -> &'static str {
    match task.desired {
        Desired::Run => "run",
        Desired::Drain { .. } => "drain",
        Desired::Stop { .. } => "stop",
    }
}

#[cfg(test)]
mod tests;
