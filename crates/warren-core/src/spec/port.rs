//! Ports.

use crate::spec::PortName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A transport protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port that tasks listen on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Its name in SRV questions, `_name._proto.SERVICE`.
    pub name: Option<PortName>,
    /// The port in the container, 1 to 65535.
    pub container: u16,
    /// The transport.
    pub protocol: Protocol,
    /// The node's port that leads to it, so that at most one such task runs on a node.
    pub host: Option<u16>,
}
