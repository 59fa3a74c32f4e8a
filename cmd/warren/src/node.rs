//! A node: what `warren up` runs. Everything is read and checked first, then the roles are started one after the other,
//! then the node runs until it is told to stop.

mod apart;
mod certificates;
mod cluster;
mod data_dir;
mod disaster;
mod disk;
mod displaced;
mod dns;
mod encryption;
mod epoch;
mod facts;
mod http;
mod identity;
mod join;
mod logging;
mod manager;
mod metrics;
mod network;
mod parts;
mod port;
mod problems;
mod ready;
mod runtime;
mod start;
mod started;
mod subnet;

pub use data_dir::holder;
pub use disaster::{Restore, check_empty, has_cluster, restore, survey};
pub use identity::{Seen, managers_of};
pub use logging::start as start_logging;
pub use start::run;

/// The socket that the agent of a manager attaches to.
pub const AGENT_SOCKET: &str = "agent.sock";
