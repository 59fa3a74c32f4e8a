//! A node: what `warren up` runs. Everything is read and checked first, then the roles are started one after the other,
//! then the node runs until it is told to stop.

mod cluster;
mod data_dir;
mod dns;
mod http;
mod logging;
mod metrics;
mod ready;
mod runtime;
mod start;
mod subnet;

pub use data_dir::holder;
pub use logging::start as start_logging;
pub use start::{AGENT_SOCKET, run};
