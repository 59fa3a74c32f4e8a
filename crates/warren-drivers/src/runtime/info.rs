//! What a runtime is, and the network it gives to tasks.

use ipnet::Ipv4Net;
use std::fmt;
use std::net::Ipv4Addr;
use warren_core::units::{Bytes, MilliCpu};

/// The runtimes that Warren has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuntimeKind {
    /// Containers of a Docker engine.
    Docker,
    /// Supervised processes of this machine.
    Process,
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Process => "process",
        })
    }
}

/// Which limits the runtime really enforces on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enforcement {
    /// A task above its memory limit is killed.
    pub memory: bool,
    /// A task at its CPU limit is slowed.
    pub cpu: bool,
    /// A task cannot have more processes than its limit.
    pub pids: bool,
}

/// What a runtime is and what its machine offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuntimeInfo {
    /// Which runtime.
    pub kind: RuntimeKind,
    /// Its version, as in `20.10.24 (API 1.41)`.
    pub version: String,
    /// All CPUs of the machine.
    pub cpus: MilliCpu,
    /// All memory of the machine.
    pub memory: Bytes,
    /// What its images must be built for, as in `linux/amd64`.
    pub platform: String,
    /// The machine's name.
    pub hostname: String,
    /// The kernel, as in `6.1.0-18-amd64`.
    pub kernel: String,
    /// Which limits hold.
    pub enforces: Enforcement,
}

/// The network of one node that tasks get their addresses from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkSpec {
    /// Its name in the runtime, unique on the machine.
    pub name: String,
    /// All addresses of it.
    pub subnet: Ipv4Net,
    /// The node's own address in it, where containers find the DNS server.
    pub gateway: Ipv4Addr,
    /// The largest packet, where not the default; smaller than the link's inside a tunnel.
    pub mtu: Option<u16>,
}

impl NetworkSpec {
    /// The part of the subnet that the runtime may hand out by itself, to containers that a user attaches
    /// by hand: its last 32nd, but never fewer than 4 addresses. Warren gives tasks no address of it.
    #[must_use]
    pub fn runtime_range(&self) -> Ipv4Net {
        let prefix = (self.subnet.prefix_len() + 5).min(30).max(self.subnet.prefix_len());
        Ipv4Net::new(self.subnet.broadcast(), prefix).map_or(self.subnet, |net| net.trunc())
    }
}

/// The architecture's name in image platforms for its name in `uname`.
pub(crate) fn platform_arch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" => "arm",
        other => other,
    }
}
