//! What is wanted of this machine's network.

use super::state::Mac;
use ipnet::Ipv4Net;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use warren_core::id::NodeId;
use warren_core::node::{Encryption, WireGuard, WireGuardKey};

/// Where tunnels are spoken, by UDP: beside the ports 7400 and 7401 of the node, and of nobody else.
pub const TUNNEL_PORT: u16 = 7402;

/// What the wrapping in a tunnel adds to a packet: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14 bytes.
pub const TUNNEL_OVERHEAD: u32 = 50;

/// What encryption adds to a packet: outer IP 20, UDP 8, WireGuard 32 bytes; and 20 more, as every other program takes
/// off (1420 of 1500), so that a way over IPv6 needs no other size.
pub const WIRE_OVERHEAD: u32 = 80;

/// How containers of different nodes reach each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Backend {
    /// To each peer on this node's link directly; to each other encrypted where both ends speak WireGuard, and through
    /// a tunnel where not. Both ends see the same link and know the same of each other, so both choose the same.
    #[default]
    Auto,
    /// Plain routes: as fast as the link, and only for nodes that share it.
    HostGw,
    /// A tunnel to every peer, over anything that carries UDP. Not encrypted.
    Vxlan,
    /// Encrypted to every peer, or not at all.
    WireGuard,
    /// Not at all: each node's containers are for themselves, or something else routes the pool.
    None,
}

impl Backend {
    /// Whether a node that is set to it speaks WireGuard where its machine does.
    #[must_use]
    pub const fn may_encrypt(self) -> bool {
        match self {
            Self::Auto | Self::WireGuard => true,
            Self::HostGw | Self::Vxlan | Self::None => false,
        }
    }

    /// As the setting spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::HostGw => "host-gw",
            Self::Vxlan => "vxlan",
            Self::WireGuard => "wireguard",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Auto, Self::HostGw, Self::Vxlan, Self::WireGuard, Self::None];
        all.into_iter().find(|backend| backend.name() == text).ok_or_else(|| {
            format!(
                "no network backend is called {text}: choose auto, host-gw, vxlan, wireguard or none"
            )
        })
    }
}

/// Whose routes, devices and rules are meant: those of one cluster on one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Eight characters of the cluster's id: in the name of everything that is made.
    pub tag: String,
    /// All addresses of the cluster's tasks.
    pub pool: Ipv4Net,
}

impl Owner {
    /// The name of the tunnel's device, within the 15 characters that a device may have.
    #[must_use]
    pub fn tunnel(&self) -> String {
        format!("wrn-{:.8}", self.tag)
    }

    /// The name of the WireGuard device, within the same.
    #[must_use]
    pub fn wire(&self) -> String {
        format!("wrg-{:.8}", self.tag)
    }

    /// The name of our chain of rules in a table, within the 28 characters that a chain may have.
    #[must_use]
    pub fn chain(&self, hook: &str) -> String {
        format!("WARREN-{:.8}-{hook}", self.tag)
    }

    /// The tunnel's network number, 24 bits: so that two clusters on the same machines do not hear each other.
    #[must_use]
    pub fn network_number(&self) -> u32 {
        // FNV-1a: any even spread does, and it must be the same on all nodes for ever.
        let hash = self
            .tag
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        // 0 is what tools take for none.
        ((hash ^ (hash >> 24)) & 0x00ff_ffff).max(1)
    }
}

/// Another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    /// Where its machine is.
    pub address: Ipv4Addr,
    /// What of the pool is there.
    pub subnet: Ipv4Net,
    /// What it says of encryption.
    pub encryption: Encryption,
}

impl Peer {
    /// By which key it is known where it speaks WireGuard.
    pub(super) fn key(&self) -> Option<WireGuardKey> {
        self.encryption.wireguard.map(|there| there.key)
    }
}

/// What is wanted of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Whose it is.
    pub owner: Owner,
    /// How.
    pub backend: Backend,
    /// This machine's address among the nodes; one of its interfaces has it.
    pub address: Ipv4Addr,
    /// What of the pool is here.
    pub subnet: Ipv4Net,
    /// Where this machine speaks WireGuard, once the other nodes have been told. Before that they could not answer.
    pub wire: Option<WireGuard>,
    /// All other nodes that have a subnet. Where two name the same subnet, the first counts.
    pub peers: Vec<Peer>,
}

/// The hardware address of a node's end of the tunnel: made of its subnet, so that nobody has to be told.
pub(super) fn mac_of(subnet: Ipv4Net) -> Mac {
    let [a, b, c, d] = subnet.network().octets();
    // The second lowest bit of the first byte says that no manufacturer has given it.
    Mac([0x0a, 0x57, a, b, c, d])
}
