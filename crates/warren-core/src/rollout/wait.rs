//! What a release waits for, as data and in words.

use super::{Pause, Phase};
use crate::id::{NodeId, RevisionNumber};
use crate::service::Actor;
use crate::spec::HookPoint;
use crate::time::ClusterTime;
use crate::units::counted;
use std::fmt;
use std::time::Duration;

/// What a release waits for. The words are what `rollout status` prints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RolloutWait {
    /// The end of a freeze.
    Frozen {
        /// Who froze.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person who resumes it.
    Paused {
        /// Why it stands still.
        pause: Pause,
        /// Who made it.
        by: Actor,
        /// In words.
        reason: String,
    },
    /// People who agree.
    Approval {
        /// How many have.
        have: u32,
        /// How many must.
        need: u32,
        /// Any of these roles; anybody where empty.
        roles: String,
    },
    /// Answers of hooks.
    Hooks {
        /// At which gate.
        on: HookPoint,
        /// How many.
        pending: u32,
    },
    /// Tasks of the new revision.
    NewTasks {
        /// Which.
        revision: RevisionNumber,
        /// How many have been ready long enough.
        have: u32,
        /// How many must.
        need: u32,
    },
    /// Tasks of the revision that it came from.
    StableTasks {
        /// Which.
        revision: RevisionNumber,
        /// How many are ready.
        have: u32,
        /// How many must be.
        need: u32,
    },
    /// What an earlier release left behind.
    Leftovers {
        /// How many tasks.
        left: u32,
    },
    /// Resolvers that answer by the new split.
    Acks {
        /// Which have not said so.
        nodes: Vec<NodeId>,
        /// When they are waited for no longer.
        until: ClusterTime,
    },
    /// The end of a hold.
    Hold {
        /// In which phase.
        phase: Phase,
        /// What is left of it.
        left: Duration,
    },
    /// A hold that does not count now.
    Stopped {
        /// Why not.
        why: String,
    },
    /// Tasks without traffic that are kept for a look at them.
    Kept {
        /// Which revision's.
        revision: RevisionNumber,
        /// Until when.
        until: ClusterTime,
    },
    /// The last tasks of a revision.
    Leaving {
        /// How many.
        left: u32,
    },
    /// The next cut of a gradual way back.
    NextCut {
        /// When it comes.
        until: ClusterTime,
    },
    /// A person who takes it back, or its tasks: it has failed, and its settings say to go on all the same.
    Failed {
        /// How it failed.
        why: String,
    },
    /// A person: a rollback takes too long.
    Stalled {
        /// Why it does not go on.
        why: String,
    },
}

impl fmt::Display for RolloutWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen { by, reason } => write!(f, "releases are frozen by {by}: {reason}"),
            Self::Paused { pause, by, reason } => {
                f.write_str(&paused(*pause, by, reason))?;
                write!(f, "; {}", way_on(*pause))
            }
            Self::Approval { have, need, roles } => {
                write!(f, "{have} of {}", counted(*need, "approval"))?;
                if !roles.is_empty() {
                    write!(f, " by {roles}")?;
                }
                f.write_str(": `warren rollout approve` gives one")
            }
            Self::Hooks { on, pending: 1 } => write!(f, "the answer of 1 hook at {on}"),
            Self::Hooks { on, pending } => write!(f, "the answers of {pending} hooks at {on}"),
            Self::NewTasks { revision, have, need } => {
                let (tasks, verb) = (counted(*need, "task"), has(*need));
                write!(f, "{have} of {tasks} of {revision} {verb} been ready long enough")
            }
            Self::StableTasks { revision, have, need } => {
                write!(f, "{have} of {} of {revision} {} ready", counted(*need, "task"), is(*need))
            }
            Self::Leftovers { left } => {
                let tasks = counted(*left, "task");
                write!(f, "{tasks} of an earlier release {} still to go", is(*left))
            }
            Self::Acks { nodes, .. } if nodes.is_empty() => {
                f.write_str("every DNS server answers by the new shares")
            }
            Self::Acks { nodes, .. } => {
                let names: Vec<_> = nodes.iter().map(ToString::to_string).collect();
                write!(f, "the DNS servers of {} answer by the new shares", names.join(", "))
            }
            Self::Hold { phase, left } => {
                write!(f, "{phase} for another {} s", left.as_millis().div_ceil(1000))
            }
            Self::Stopped { why } => write!(f, "the hold does not count: {why}"),
            Self::Kept { revision, .. } => {
                write!(f, "tasks of {revision} are kept without traffic for a while")
            }
            Self::Leaving { left } => write!(f, "{} {} leaving", counted(*left, "task"), is(*left)),
            Self::NextCut { .. } => f.write_str("the next cut of the way back"),
            Self::Failed { why } => write!(
                f,
                "it has failed ({why}) and goes on all the same, as failure_action says: go back with `warren service \
                 rollback`"
            ),
            Self::Stalled { why } => write!(f, "a person is needed: {why}"),
        }
    }
}

impl RolloutWait {
    /// When it ends by itself, where that is known.
    #[must_use]
    pub fn until(&self) -> Option<ClusterTime> {
        match self {
            Self::Acks { until, .. } | Self::Kept { until, .. } | Self::NextCut { until } => {
                Some(*until)
            }
            Self::Frozen { .. }
            | Self::Paused { .. }
            | Self::Approval { .. }
            | Self::Hooks { .. }
            | Self::NewTasks { .. }
            | Self::StableTasks { .. }
            | Self::Leftovers { .. }
            | Self::Hold { .. }
            | Self::Stopped { .. }
            | Self::Leaving { .. }
            | Self::Failed { .. }
            | Self::Stalled { .. } => None,
        }
    }
}

/// A pause with who made it and why: `paused after a failure: slot 2 of v2: exit code 1`.
#[must_use]
pub fn paused(pause: Pause, by: &Actor, reason: &str) -> String {
    let who = match pause {
        Pause::User => format!("paused by {by}"),
        Pause::FailureAction | Pause::Inconclusive | Pause::Provider => format!("paused {pause}"),
    };
    if reason.is_empty() { who } else { format!("{who}: {reason}") }
}

/// What a person can do about a pause.
const fn way_on(pause: Pause) -> &'static str {
    match pause {
        Pause::User => "`warren rollout resume` lets it go on",
        Pause::FailureAction | Pause::Inconclusive | Pause::Provider => {
            "go on with `warren rollout resume`, try again with `warren rollout retry`, or go back with `warren service \
             rollback`"
        }
    }
}

const fn is(count: u32) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

const fn has(count: u32) -> &'static str {
    if count == 1 { "has" } else { "have" }
}
