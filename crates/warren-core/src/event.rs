//! What happened, for people and for watchers. Every event is the effect of one committed entry.

use crate::id::{LogIndex, NodeId, RevisionNumber, RolloutId, ServiceId, Slot, TaskId};
use crate::node::{Availability, Role};
use crate::rollout::Happened;
use crate::service::Actor;
use crate::spec::{HostName, ServiceName, Strategy};
use crate::task::{Phase, StopReason};
use crate::time::{ClusterTime, WallTime};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Events kept in the replicated state, and those of the newest entry however many they are: a watcher that comes back
/// within so many resumes without a gap.
pub const EVENTS_KEPT: usize = 2_000;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The entry that did it. Several events may share one.
    pub index: LogIndex,
    /// When, in cluster time.
    pub at: ClusterTime,
    /// When, on the leader's wall clock.
    pub wall: WallTime,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EventKind {
    /// The cluster was made.
    ClusterCreated,
    /// A service was made, changed or taken away.
    Service {
        /// Which.
        id: ServiceId,
        /// Its name.
        name: ServiceName,
        /// Who did it.
        by: Actor,
        /// What was done.
        change: ServiceChange,
    },
    /// A task came further.
    Task {
        /// Which.
        id: TaskId,
        /// Whose.
        service: ServiceId,
        /// The service's name.
        name: ServiceName,
        /// Its slot.
        slot: Slot,
        /// What it runs.
        revision: RevisionNumber,
        /// Where.
        node: NodeId,
        /// What became of it.
        change: TaskChange,
    },
    /// A node came, went or was changed.
    Node {
        /// Which.
        id: NodeId,
        /// Its name.
        hostname: HostName,
        /// What happened to it.
        change: NodeChange,
    },
    /// A release came further.
    Rollout {
        /// Which.
        id: RolloutId,
        /// Whose.
        service: ServiceId,
        /// The service's name.
        name: ServiceName,
        /// From where; absent in a first deployment.
        from: Option<RevisionNumber>,
        /// To where.
        to: RevisionNumber,
        /// Its shape.
        strategy: Strategy,
        /// Who did it: a user, or a part of Warren.
        by: Actor,
        /// What happened.
        what: Happened,
    },
    /// Releases are held, or go on.
    Freeze {
        /// Of which service; of all where absent.
        service: Option<ServiceName>,
        /// Why; absent where the freeze ends.
        reason: Option<String>,
        /// Who did it.
        by: Actor,
    },
}

/// What was done to a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ServiceChange {
    /// Made, with its first revision.
    Created,
    /// Given a new intent; the revision that it leads to.
    Updated(RevisionNumber),
    /// Given another number of replicas.
    Scaled {
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// All tasks are to be replaced by equal ones.
    Restarted,
    /// Deletion began.
    Deleted,
    /// The last task is gone, and so is the service.
    Removed,
    /// Every slot runs this revision now.
    Accepted(RevisionNumber),
    /// Given a new intent, which waits for the end of the release under way.
    Queued,
    /// The intent that waited is dropped.
    Unqueued {
        /// Whose it was.
        of: Actor,
        /// Why.
        why: String,
    },
}

/// What became of a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TaskChange {
    /// Given to its node.
    Placed,
    /// Came to this phase, with the end's message where it ended.
    Reached(Phase, String),
    /// Taken out of traffic.
    Draining(StopReason),
    /// Told to stop.
    Stopping(StopReason),
}

/// What happened to a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NodeChange {
    /// Became a member.
    Joined,
    /// Is heard again.
    Up,
    /// Is not heard any more.
    Down,
    /// An operator changed what is wanted of it.
    Availability(Availability),
    /// An operator changed its labels.
    Labels,
    /// Is a manager now, or a worker again.
    Role(Role),
    /// Is no member any more.
    Removed,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterCreated => f.write_str("cluster created"),
            Self::Service { name, by, change, .. } => match change {
                ServiceChange::Created => write!(f, "service {name} created by {by}"),
                ServiceChange::Updated(to) => write!(f, "service {name} updated to {to} by {by}"),
                ServiceChange::Scaled { from, to } => {
                    write!(f, "service {name} scaled from {from} to {to} by {by}")
                }
                ServiceChange::Restarted => write!(f, "service {name} restarted by {by}"),
                ServiceChange::Deleted => write!(f, "service {name} deleted by {by}"),
                ServiceChange::Removed => write!(f, "service {name} is gone"),
                ServiceChange::Queued => write!(f, "an update of service {name} by {by} waits"),
                ServiceChange::Unqueued { of, why } => {
                    write!(
                        f,
                        "the update of service {name} by {of} that waited is dropped: {why} (by {by})"
                    )
                }
                ServiceChange::Accepted(revision) => {
                    write!(f, "service {name} runs {revision} on every slot")
                }
            },
            Self::Task { id, name, slot, revision, node, change, .. } => {
                write!(f, "task {name}.{slot} ({id}, {revision}) ")?;
                match change {
                    TaskChange::Placed => write!(f, "placed on {node}"),
                    TaskChange::Reached(phase, message) if message.is_empty() => {
                        write!(f, "{phase} on {node}")
                    }
                    TaskChange::Reached(phase, message) => {
                        write!(f, "{phase} on {node}: {message}")
                    }
                    TaskChange::Draining(reason) => write!(f, "out of traffic: {reason}"),
                    TaskChange::Stopping(reason) => write!(f, "stopping on {node}: {reason}"),
                }
            }
            Self::Rollout { id, name, to, by, what, .. } => {
                write!(f, "release {id} of {name} to {to}: {what}")?;
                if by.is_person() { write!(f, " (by {by})") } else { Ok(()) }
            }
            Self::Freeze { service, reason, by } => {
                match service {
                    Some(name) => write!(f, "releases of {name} ")?,
                    None => f.write_str("all releases ")?,
                }
                match reason {
                    Some(reason) => write!(f, "frozen by {by}: {reason}"),
                    None => write!(f, "go on, says {by}"),
                }
            }
            Self::Node { id, hostname, change } => {
                write!(f, "node {hostname} ({id}) ")?;
                match change {
                    NodeChange::Joined => f.write_str("joined"),
                    NodeChange::Up => f.write_str("is up"),
                    NodeChange::Down => f.write_str("is down"),
                    NodeChange::Availability(Availability::Active) => f.write_str("is active"),
                    NodeChange::Availability(Availability::Drain) => f.write_str("is draining"),
                    NodeChange::Labels => f.write_str("has new labels"),
                    NodeChange::Role(role) => write!(f, "is a {role} now"),
                    NodeChange::Removed => f.write_str("removed"),
                }
            }
        }
    }
}
