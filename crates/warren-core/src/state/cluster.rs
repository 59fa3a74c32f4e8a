//! The cluster's identity.

use crate::level::Level;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A cluster's random identity, printed as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What holds for the cluster as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Its identity.
    pub id: ClusterId,
    /// Grows when the cluster is restored from a backup: agents then adopt before they stop anything.
    pub epoch: u32,
    /// The DNS zone of its services, without dots at the ends.
    pub zone: String,
    /// Where nodes get their subnets from.
    pub pool: Ipv4Net,
    /// What every manager speaks. Never lowered.
    pub level: Level,
}
