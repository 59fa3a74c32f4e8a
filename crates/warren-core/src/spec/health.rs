//! Health checks.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One look at a running task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Probe {
    /// `GET path` answers 200 to 399.
    Http {
        /// The container's port.
        port: u16,
        /// The path with its query, from `/`.
        path: String,
    },
    /// The port accepts a connection.
    Tcp {
        /// The container's port.
        port: u16,
    },
    /// The command, run inside the container, exits with 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// `grpc.health.v1.Health/Check` answers SERVING.
    Grpc {
        /// The container's port.
        port: u16,
        /// The service asked about; empty for the server as a whole.
        service: String,
    },
}

/// A probe and when to believe it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HealthCheck {
    /// How to look.
    pub probe: Probe,
    /// From the end of one look to the start of the next. 100 ms or more; default 10 s.
    pub interval: Duration,
    /// How long one look may take. More than 0; default 2 s.
    pub timeout: Duration,
    /// After the start, failures in this time do not count, and looks come every second. Default 30 s.
    pub start_period: Duration,
    /// So many failures in a row make a task unhealthy. 1 or more; default 3.
    pub retries: u32,
    /// So many successes in a row make it healthy again. 1 or more; default 1.
    pub successes: u32,
}

impl HealthCheck {
    /// The check with every default.
    #[must_use]
    pub const fn new(probe: Probe) -> Self {
        Self {
            probe,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            start_period: Duration::from_secs(30),
            retries: 3,
            successes: 1,
        }
    }
}
