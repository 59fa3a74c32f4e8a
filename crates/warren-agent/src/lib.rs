//! Makes one node match what is assigned to it.
//!
//! [`Agent`] holds a session with the leader, hears what its node must run and where traffic goes, lets
//! [`warren_core::converge`] decide what to start and stop, and tells what became of it. With no manager in reach it
//! goes on from its local cache: containers are kept and restarted, names resolve as they did.
//!
//! # What the agent must not know
//! Raft, the public API, other nodes' tasks, how names are answered, what Docker is.

mod agent;
mod book;
mod cache;
mod courier;
mod images;
mod job;
mod load;
pub mod metrics;
mod outbox;
mod prober;
mod random;
mod relay;
mod runtime;
mod session;
mod witness;

pub use agent::{Agent, Published, Residue};
pub use cache::Membership;
pub use runtime::OpenRuntime;

use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tokio::sync::watch;
use warren_core::node::{Encryption, NodeFacts};
use warren_wire::channel::{Dialer, Target};

/// How an agent is set up. Read once, before anything starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it keeps its cache; made when missing. One process at a time.
    pub data_dir: PathBuf,
    /// The fingerprint of the node's key: how managers know the machine again.
    pub key: String,
    /// Makes the connections to managers.
    pub dialer: Dialer,
    /// Where managers are. Those that it hears of later are tried after these.
    pub managers: Vec<Target>,
    /// What this machine is, but for `encryption`, which may change while it runs.
    pub facts: NodeFacts,
    /// What it says of encryption, in place of what is in `facts`. A change is told at once, by another session.
    pub encryption: watch::Receiver<Encryption>,
    /// Whether this node is a manager too.
    pub manager: bool,
    /// The subnet that tasks are to get addresses from; chosen by the cluster where absent.
    pub subnet: Option<Ipv4Net>,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Whether containers ask the resolver on the node's own address in their network, with the cluster's zone as
    /// search domain.
    pub resolver: bool,
    /// The largest packet of containers, where it is not that of the runtime's own networks.
    pub mtu: Option<u16>,
    /// What is wrong with the node and does not keep it from running tasks: told to the leader with each beat.
    pub problems: watch::Receiver<BTreeSet<String>>,
}

/// An agent that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("{} cannot be used: make it writable for this user, or choose another directory", path.display())]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests;
