//! What happened, for people and for watchers. Every event is the effect of one committed entry.

use crate::id::{LogIndex, NodeId, RevisionNumber, RolloutId, ServiceId, Slot, TaskId};
use crate::level::Level;
use crate::node::{Availability, Role};
use crate::rollout::Happened;
use crate::service::Actor;
use crate::spec::{FileKind, FileName, FileVersion, HostName, ServiceName, Strategy};
use crate::task::{Phase, StopReason};
use crate::time::{ClusterTime, WallTime};
use crate::units::{counted, span};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

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
    /// The cluster goes on from a backup, or from one manager of several.
    EpochBegan {
        /// The new epoch.
        epoch: u32,
        /// Who goes on.
        manager: NodeId,
    },
    /// Every manager speaks more than the cluster asked of its nodes before.
    LevelRaised {
        /// What every node has to speak from now on.
        to: Level,
    },
    /// A secret or a config was made, changed or taken away.
    File {
        /// What it is.
        kind: FileKind,
        /// Which.
        name: FileName,
        /// Who did it.
        by: Actor,
        /// What was done.
        change: FileChange,
    },
}

/// What was done to a secret or a config.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FileChange {
    /// Made, with its first version.
    Created,
    /// Given this version.
    Updated(FileVersion),
    /// Taken away.
    Removed,
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
    /// So many tasks are to be on other nodes.
    Moved(u32),
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
    /// An operator changed what is wanted of it; of a drain, how long services may take their time.
    Availability(Availability, Option<Duration>),
    /// An operator changed its labels.
    Labels,
    /// Is a manager now, or a worker again.
    Role(Role),
    /// Is no member any more.
    Removed,
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::Updated(version) => write!(f, "given version {version}"),
            Self::Removed => f.write_str("removed"),
        }
    }
}

impl fmt::Display for NodeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined => f.write_str("joined"),
            Self::Up => f.write_str("is up"),
            Self::Down => f.write_str("is down"),
            Self::Availability(Availability::Active, _) => f.write_str("is active"),
            Self::Availability(Availability::Drain, None) => f.write_str("is draining"),
            Self::Availability(Availability::Drain, Some(within)) => {
                write!(f, "is draining: within {} whatever is there goes", span(*within))
            }
            Self::Labels => f.write_str("has new labels"),
            Self::Role(role) => write!(f, "is a {role} now"),
            Self::Removed => f.write_str("removed"),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterCreated => f.write_str("cluster created"),
            Self::EpochBegan { epoch, manager } => {
                write!(f, "the cluster goes on from {manager} as epoch {epoch}")
            }
            Self::LevelRaised { to } => write!(f, "nodes have to speak level {to} from now on"),
            Self::Service { name, by, change, .. } => match change {
                ServiceChange::Created => write!(f, "service {name} created by {by}"),
                ServiceChange::Updated(to) => write!(f, "service {name} updated to {to} by {by}"),
                ServiceChange::Scaled { from, to } => {
                    write!(f, "service {name} scaled from {from} to {to} by {by}")
                }
                ServiceChange::Moved(count) => {
                    let tasks = counted(*count, "task");
                    write!(f, "{tasks} of service {name} to be moved by {by}")
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
                ServiceChange::Accepted(to) => write!(f, "service {name} runs {to} on every slot"),
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
            Self::File { kind, name, by, change } => write!(f, "{kind} {name} {change} by {by}"),
            Self::Node { id, hostname, change } => write!(f, "node {hostname} ({id}) {change}"),
        }
    }
}
