//! Machines.

use crate::id::NodeId;
use crate::level::Level;
use crate::spec::{HostName, LabelKey};
use crate::time::ClusterTime;
use crate::units::{Bytes, MilliCpu};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// What a machine may do in the cluster besides running tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Runs tasks only.
    Worker,
    /// Runs tasks and has a Raft vote, or is catching up to have one.
    Manager,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        })
    }
}

/// Whether an operator wants tasks on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Availability {
    /// Yes.
    Active,
    /// No: tasks are moved away, within the limits of their services.
    Drain,
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Drain => "drain",
        })
    }
}

/// What a machine says of itself when it registers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name.
    pub hostname: HostName,
    /// Where other nodes reach it.
    pub address: IpAddr,
    /// Where it serves other nodes, on its address; 0 for a node that serves none.
    pub port: u16,
    /// Operating system and architecture, as in `linux/amd64`.
    pub platform: String,
    /// All of its CPU.
    pub cpu: MilliCpu,
    /// All of its memory.
    pub memory: Bytes,
    /// The runtime and its version, as in `docker 20.10.24`.
    pub runtime: String,
    /// The version of Warren it runs.
    pub version: String,
    /// What that version speaks.
    pub level: Level,
    /// Whether and how what its containers send to those of other nodes is encrypted.
    pub encryption: Encryption,
    /// Where it proves to other nodes that it lives, on its address: a manager at its one port. 0: nowhere.
    pub probe_port: u16,
}

/// What a node says of encrypting what passes between its containers and those of other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Encryption {
    /// Where it speaks WireGuard; absent where it does not.
    pub wireguard: Option<WireGuard>,
    /// Whether its containers are reached encrypted or not at all.
    pub only: bool,
}

/// Where a node speaks WireGuard, on its address, and by which key it is known there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct WireGuard {
    /// The public half of the key that it has made.
    pub key: WireGuardKey,
    /// The port of UDP.
    pub port: u16,
}

/// The public half of a WireGuard key. Not a secret; still no more of it is shown than tells two apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WireGuardKey(pub [u8; 32]);

impl fmt::Debug for WireGuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}…")
    }
}

impl NodeFacts {
    /// Whether its tasks are containers, with ports of the machine and mounts. Tasks that are processes have neither.
    #[must_use]
    pub fn has_containers(&self) -> bool {
        self.runtime.split(' ').next() != Some("process")
    }
}

/// A machine of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its id, never reused.
    pub id: NodeId,
    /// A secret-free fingerprint that the machine keeps on disk: how it is known again.
    pub key: String,
    /// What it said of itself last.
    pub facts: NodeFacts,
    /// Its role.
    pub role: Role,
    /// Labels for constraints and spread.
    pub labels: BTreeMap<LabelKey, String>,
    /// What the operator wants.
    pub availability: Availability,
    /// When a drain stops to ask what services can spare: what is still there then goes all the same. Absent for a
    /// drain without a deadline, and for a node that takes tasks.
    pub drain_until: Option<ClusterTime>,
    /// Whether its lease holds.
    pub up: bool,
    /// When `up` changed last.
    pub since: ClusterTime,
    /// The addresses of its tasks. The first host address is the node's own (gateway and resolver).
    pub subnet: Ipv4Net,
    /// The address given out last: the next task gets the next free one, so that an address rests before it is reused.
    pub cursor: u32,
}

impl Node {
    /// Whether the deadline of its drain has passed at `now`.
    #[must_use]
    pub fn is_overdue(&self, now: ClusterTime) -> bool {
        self.drain_until.is_some_and(|until| until <= now)
    }

    /// Whether tasks may be placed here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.up && self.availability == Availability::Active
    }

    /// The node's own address in its subnet: gateway of its tasks, and where its resolver listens.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()) + 1)
    }

    /// How many tasks its subnet has addresses for.
    #[must_use]
    pub fn address_capacity(&self) -> u32 {
        let all = 1_u32.checked_shl(u32::from(32 - self.subnet.prefix_len())).unwrap_or(u32::MAX);
        all.saturating_sub(3)
    }

    /// The next free address after `cursor`, with its offset in the subnet.
    #[must_use]
    pub fn next_address(&self, used: impl Fn(Ipv4Addr) -> bool) -> Option<(Ipv4Addr, u32)> {
        let base = u32::from(self.subnet.network());
        let count = self.address_capacity();
        (0..count).find_map(|step| {
            let offset = 2 + (self.cursor.saturating_sub(1) + step) % count;
            let address = Ipv4Addr::from(base + offset);
            (!used(address)).then_some((address, offset))
        })
    }
}
