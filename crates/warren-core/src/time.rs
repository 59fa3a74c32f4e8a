//! The one clock for decisions.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A point in *cluster time*: milliseconds that the cluster has been led, counted in committed entries. It never runs
/// backwards, stands still while there is no leader and ignores wall clocks.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ClusterTime(u64);

impl ClusterTime {
    /// The moment a cluster is made.
    pub const START: Self = Self(0);

    /// The point `ms` milliseconds after the cluster was made.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the cluster was made.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This point moved later, saturating at the end of time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// How long after `earlier` this is; zero where it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}

/// A point on one process's own monotonic clock, in milliseconds from an arbitrary start. Only
/// differences mean anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Tick(u64);

impl Tick {
    /// The tick `ms` milliseconds after the process's arbitrary start.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the arbitrary start.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This tick moved later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// How long after `earlier` this is; zero where it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds of a span, saturating.
#[must_use]
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch on the leader's wall clock. For display only: nothing is decided by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct WallTime(pub u64);
