//! What is waited for, as data. `warren why`, `service ps` and the live progress print this and nothing else.

use crate::id::{NodeId, RevisionNumber, RolloutId, ServiceId, Slot, TaskId};
use crate::rollout::RolloutWait;
use crate::scheduler::Explain;
use crate::service::Actor;
use crate::spec::Image;
use crate::task::{Phase, StopReason};
use crate::time::ClusterTime;
use crate::units::counted;
use std::collections::BTreeMap;
use std::fmt;

/// Waits listed per service: what a person reads; the rest are counted in `more`.
pub const WAITS_LISTED: usize = 25;

/// Every unfinished thing and what it waits for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// By service; every service is here.
    pub services: BTreeMap<ServiceId, ServiceReport>,
}

/// How a service stands, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Status {
    /// Every wanted task is ready.
    #[default]
    Running,
    /// Tasks are being replaced.
    Updating,
    /// Tasks are missing or not ready yet.
    Pending,
    /// Tasks end again and again.
    CrashLooping,
    /// It is going away.
    Deleting,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Updating => "updating",
            Self::Pending => "pending",
            Self::CrashLooping => "crash-looping",
            Self::Deleting => "deleting",
        })
    }
}

/// One service's part.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ServiceReport {
    /// In one word.
    pub status: Status,
    /// Tasks wanted.
    pub desired: u32,
    /// Tasks that ended well and are not wanted again.
    pub completed: u32,
    /// Tasks that run.
    pub running: u32,
    /// Tasks that get traffic.
    pub ready: u32,
    /// What is waited for, [`WAITS_LISTED`] at most.
    pub waits: Vec<Wait>,
    /// Waits that are not listed.
    pub more: u32,
}

impl ServiceReport {
    pub(crate) fn wait(&mut self, wait: Wait) {
        if self.waits.len() < WAITS_LISTED {
            self.waits.push(wait);
        } else {
            self.more += 1;
        }
    }
}

/// One thing that is waited for.
#[derive(Clone, PartialEq, Debug)]
pub struct Wait {
    /// The slot that waits; absent where the service as a whole does.
    pub slot: Option<Slot>,
    /// What for.
    pub reason: WaitReason,
    /// Since when, where that is known.
    pub since: Option<ClusterTime>,
    /// When it goes on by itself; absent where that depends on something else.
    pub until: Option<ClusterTime>,
}

/// What is waited for.
#[derive(Clone, PartialEq, Debug)]
pub enum WaitReason {
    /// No node fits.
    NoNode {
        /// Tasks without a node.
        missing: u32,
        /// Why each node does not fit.
        explain: Explain,
    },
    /// The slot's tasks failed; the next one comes later.
    BackOff {
        /// Failures in a row.
        failures: u32,
        /// How the last one ended.
        last: String,
    },
    /// The node is bringing the task up.
    Starting {
        /// Which task.
        task: TaskId,
        /// Where.
        node: NodeId,
        /// How far it is.
        phase: Phase,
        /// What the node says.
        detail: String,
    },
    /// Its node is down and stops the task by itself.
    CutOff {
        /// Which task.
        task: TaskId,
        /// Where.
        node: NodeId,
    },
    /// The task runs and is not ready.
    NotReady {
        /// Which task.
        task: TaskId,
        /// Restarts in place so far.
        restarts: u32,
        /// What its check says.
        detail: String,
    },
    /// The task is ready and must stay so for `min_ready`.
    MinReady {
        /// Which task.
        task: TaskId,
    },
    /// Tasks of another revision or round, or on a draining node, are to be replaced.
    Replacing {
        /// How many are left.
        left: u32,
        /// By what.
        revision: RevisionNumber,
        /// What limits it now.
        limit: &'static str,
    },
    /// An update waits for the end of the release under way.
    Queued {
        /// The release that it will be.
        release: RolloutId,
        /// Who wrote it.
        by: Actor,
        /// What its tasks are to run.
        image: Image,
        /// What it waits for.
        behind: RolloutId,
    },
    /// A new leader has not heard from every node how its tasks do.
    Listening,
    /// The release under way waits.
    Release(RolloutWait),
    /// It is to go, and is still needed until others are ready.
    Held {
        /// Which task.
        task: TaskId,
        /// Why it goes.
        reason: StopReason,
    },
    /// Out of traffic; resolvers and caches still have to let go of it.
    Draining {
        /// Which task.
        task: TaskId,
        /// Why it goes.
        reason: StopReason,
    },
    /// The node is stopping it.
    Stopping {
        /// Which task.
        task: TaskId,
        /// Where.
        node: NodeId,
        /// Why it goes.
        reason: StopReason,
    },
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNode { missing, explain } => write!(f, "{missing} without a node: {explain}"),
            Self::BackOff { failures, last } => {
                let times = counted(*failures, "time");
                write!(f, "failed {times} in a row, last: {last}")
            }
            Self::Starting { task, node, phase, detail } => {
                write!(f, "{task} is {phase} on {node}")?;
                if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
            }
            Self::CutOff { task, node } => {
                write!(f, "{node} is down and stops {task} by itself: no other runs before it has")
            }
            Self::NotReady { task, restarts, detail } => {
                write!(f, "{task} is not ready")?;
                if *restarts > 0 {
                    write!(f, " and was restarted {}", counted(*restarts, "time"))?;
                }
                if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
            }
            Self::MinReady { task } => write!(f, "{task} is ready and must stay so"),
            Self::Replacing { left, revision, limit } => {
                let tasks = counted(*left, "task");
                write!(f, "{tasks} still to be replaced by {revision} ({limit})")
            }
            Self::Queued { release, by, image, behind } => {
                write!(
                    f,
                    "the update by {by} to {image} (release {release}) waits for the end of {behind}"
                )
            }
            Self::Listening => f.write_str("the new leader has not heard of all its tasks yet"),
            Self::Release(wait) => write!(f, "release: {wait}"),
            Self::Held { task, reason } => {
                write!(f, "{task} ({reason}) stays until enough others are ready")
            }
            Self::Draining { task, reason } => {
                write!(f, "{task} ({reason}) is out of traffic until caches have let go of it")
            }
            Self::Stopping { task, node, reason } => {
                write!(f, "{task} ({reason}) is being stopped on {node}")
            }
        }
    }
}
