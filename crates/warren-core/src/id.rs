//! Typed identities. All but task-local names are handed out by [`crate::State::apply`] from one counter, so that two
//! managers that apply the same entries agree on every id, and no id is ever used twice.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind} id: write {prefix} and a number, as in {prefix}12")]
pub struct InvalidId {
    /// The text as given.
    pub text: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let refuse = || InvalidId { text: text.to_owned(), kind: $kind, prefix: $prefix };
                let digits = text.strip_prefix($prefix).ok_or_else(refuse)?;
                if digits.starts_with('+') || (digits.len() > 1 && digits.starts_with('0')) {
                    return Err(refuse());
                }
                digits.parse().map(Self).map_err(|_| refuse())
            }
        }
    };
}

id!(
    /// A service, for as long as it exists; a later service of the same name has another id. Printed `s12`.
    ServiceId, u64, "s", "a service"
);
id!(
    /// One placed run of a revision. Printed `t34`.
    TaskId, u64, "t", "a task"
);
id!(
    /// A machine of the cluster, never reused; also its Raft id where it is a manager. Printed `n1`.
    NodeId, u64, "n", "a node"
);
id!(
    /// One rollout of one service. Printed `r7`.
    RolloutId, u64, "r", "a rollout"
);
id!(
    /// One call of a hook that is to be made. Printed `h9`.
    NoticeId, u64, "h", "a notice"
);
id!(
    /// The number of a revision within its service, from 1. Printed `v3`.
    RevisionNumber, u32, "v", "a revision"
);

/// A place of a service that one task fills at a time (two while it is being replaced): 1 to `replicas` for a
/// replicated service, the node's number for a global one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Slot(pub u32);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The position of a committed entry in the Raft log, from 1; also the revision of the cluster's state.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct LogIndex(pub u64);

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Counts the changes of one service's intent, from 1. A writer names the generation it read (compare-and-set).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_the_same() {
        assert_eq!("t34".parse::<TaskId>(), Ok(TaskId(34)));
        assert_eq!(TaskId(34).to_string(), "t34");
        for wrong in ["34", "t", "t-1", "t+1", "t01", "n3", "", "t99999999999999999999999"] {
            assert!(wrong.parse::<TaskId>().is_err(), "{wrong}");
        }
    }
}
