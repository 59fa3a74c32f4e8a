//! The outside world behind traits: container runtimes, the kernel's network, health probes and hooks.
//!
//! Every call here is one bounded attempt: it has a timeout, it is safe to repeat, and its error says whether a repeat
//! may help. Whoever calls decides when to try again.
//!
//! # What this crate must not know
//! The cluster, Raft, the wire protocol, and why a task runs. It is told what to run and says what runs.

pub mod files;
pub mod hook;
pub mod metrics;
pub mod network;
pub mod probe;
pub mod runtime;
