//! What happened.

use crate::v1;
use warren_core::event::{Event, EventKind, FileChange, NodeChange, ServiceChange, TaskChange};
use warren_core::id::ServiceId;
use warren_core::node::{Availability, Role};
use warren_core::spec::FileKind;

/// The message that tells of `event`.
#[must_use]
pub fn render(event: &Event) -> v1::Event {
    let (subject, subject_id, action) = match &event.kind {
        EventKind::ClusterCreated => ("cluster", String::new(), "created".to_owned()),
        EventKind::EpochBegan { .. } => ("cluster", String::new(), "epoch-began".to_owned()),
        EventKind::LevelRaised { .. } => ("cluster", String::new(), "level-raised".to_owned()),
        EventKind::Service { id, change, .. } => {
            ("service", id.to_string(), service_action(change).to_owned())
        }
        EventKind::Task { id, change, .. } => ("task", id.to_string(), task_action(change)),
        EventKind::Node { id, change, .. } => {
            ("node", id.to_string(), node_action(change).to_owned())
        }
        EventKind::Rollout { id, what, .. } => ("rollout", id.to_string(), what.word()),
        EventKind::Freeze { reason, .. } => {
            let action = if reason.is_some() { "frozen" } else { "thawed" };
            ("freeze", String::new(), action.to_owned())
        }
        EventKind::File { kind, name, change, .. } => {
            let subject = match kind {
                FileKind::Secret => "secret",
                FileKind::Config => "config",
            };
            (subject, name.to_string(), file_action(*change).to_owned())
        }
    };
    let service = match &event.kind {
        EventKind::Service { name, .. }
        | EventKind::Task { name, .. }
        | EventKind::Rollout { name, .. } => name.to_string(),
        EventKind::Freeze { service, .. } => {
            service.as_ref().map(ToString::to_string).unwrap_or_default()
        }
        EventKind::ClusterCreated
        | EventKind::EpochBegan { .. }
        | EventKind::LevelRaised { .. }
        | EventKind::Node { .. }
        | EventKind::File { .. } => String::new(),
    };
    v1::Event {
        at_unix_ms: event.wall.0,
        subject: subject.to_owned(),
        subject_id,
        action,
        text: event.kind.to_string(),
        service,
    }
}

/// The service that `event` is about, itself or by one of its tasks.
#[must_use]
pub const fn service_of(event: &Event) -> Option<ServiceId> {
    match &event.kind {
        EventKind::Service { id, .. }
        | EventKind::Task { service: id, .. }
        | EventKind::Rollout { service: id, .. } => Some(*id),
        EventKind::ClusterCreated
        | EventKind::EpochBegan { .. }
        | EventKind::LevelRaised { .. }
        | EventKind::Node { .. }
        | EventKind::Freeze { .. }
        | EventKind::File { .. } => None,
    }
}

const fn service_action(change: &ServiceChange) -> &'static str {
    match change {
        ServiceChange::Created => "created",
        ServiceChange::Updated(_) => "updated",
        ServiceChange::Scaled { .. } => "scaled",
        ServiceChange::Restarted => "restarted",
        ServiceChange::Moved(_) => "rebalanced",
        ServiceChange::Deleted => "deleted",
        ServiceChange::Removed => "removed",
        ServiceChange::Accepted(_) => "accepted",
        ServiceChange::Queued => "queued",
        ServiceChange::Unqueued { .. } => "unqueued",
    }
}

const fn file_action(change: FileChange) -> &'static str {
    match change {
        FileChange::Created => "created",
        FileChange::Updated(_) => "updated",
        FileChange::Removed => "removed",
    }
}

fn task_action(change: &TaskChange) -> String {
    match change {
        TaskChange::Placed => "placed".to_owned(),
        TaskChange::Reached(phase, _) => phase.to_string(),
        TaskChange::Draining(_) => "draining".to_owned(),
        TaskChange::Stopping(_) => "stopping".to_owned(),
    }
}

const fn node_action(change: &NodeChange) -> &'static str {
    match change {
        NodeChange::Joined => "joined",
        NodeChange::Up => "up",
        NodeChange::Down => "down",
        NodeChange::Role(Role::Manager) => "manager",
        NodeChange::Role(Role::Worker) => "worker",
        NodeChange::Availability(Availability::Active, _) => "active",
        NodeChange::Availability(Availability::Drain, _) => "draining",
        NodeChange::Labels => "labelled",
        NodeChange::Removed => "removed",
    }
}
