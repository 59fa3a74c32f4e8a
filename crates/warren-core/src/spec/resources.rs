//! What a task may use and what is kept for it.

use crate::units::{Bytes, MilliCpu};
use serde::{Deserialize, Serialize};

/// Limits (enforced by the runtime) and reservations (counted by the scheduler). A reservation that is absent is as
/// large as the limit, so that a limit alone never overcommits a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Resources {
    /// The most memory; the task is killed above it.
    pub memory_limit: Option<Bytes>,
    /// The most CPU; the task is slowed at it.
    pub cpu_limit: Option<MilliCpu>,
    /// The most processes and threads.
    pub pids_limit: Option<u32>,
    /// Memory kept free for the task on its node.
    pub memory_reservation: Option<Bytes>,
    /// CPU kept free for the task on its node.
    pub cpu_reservation: Option<MilliCpu>,
}

impl Resources {
    /// Memory that the scheduler counts for one task.
    #[must_use]
    pub fn memory_reserved(&self) -> Bytes {
        self.memory_reservation.or(self.memory_limit).unwrap_or_default()
    }

    /// CPU that the scheduler counts for one task.
    #[must_use]
    pub fn cpu_reserved(&self) -> MilliCpu {
        self.cpu_reservation.or(self.cpu_limit).unwrap_or_default()
    }
}
