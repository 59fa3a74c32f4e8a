//! What may be changed, and what may be in the way.

use super::error::NetworkError;
use super::state::{Hop, Mac, Route, Tunnel, Wire, WirePeer};
use super::wish::Backend;
use ipnet::Ipv4Net;
use std::fmt;
use std::net::Ipv4Addr;
use warren_core::id::NodeId;
use warren_core::node::WireGuardKey;

/// One change of the kernel's network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Let this machine pass on what is not for itself.
    AllowForwarding,
    /// Write our rules where they belong, in place of what is there of ours. From the interface that is named, nothing
    /// passes to containers that claims to be of the pool.
    WriteRules(Option<String>),
    /// Take our rules away.
    RemoveRules,
    /// Make this machine's end of the tunnels.
    MakeTunnel(Tunnel),
    /// Take it away, with all that it knows of other ends.
    RemoveTunnel,
    /// Say which hardware address an end of the tunnel has.
    SetNeighbour(Ipv4Addr, Mac),
    /// Forget an end's hardware address.
    RemoveNeighbour(Ipv4Addr),
    /// Say which machine has a hardware address.
    SetForward(Mac, Ipv4Addr),
    /// Forget which machine has it.
    RemoveForward(Mac),
    /// Make this machine's end of the encrypted ways, with the key that belongs to it.
    MakeWire(Wire),
    /// Take it away, with its key and all that it knows of other ends.
    RemoveWire,
    /// Say where an end of the encrypted ways is and whose packets are there.
    SetWirePeer(WireGuardKey, Box<WirePeer>),
    /// Forget an end of the encrypted ways.
    RemoveWirePeer(WireGuardKey),
    /// Send what goes to a subnet this way.
    SetRoute(Ipv4Net, Route),
    /// Forget the way.
    RemoveRoute(Ipv4Net),
}

/// What is missing for an encrypted way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// The peer has told no key.
    There,
    /// This node, with this backend, has none.
    Here(Backend),
}

/// Something that keeps containers from reaching others. It is looked at anew each time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// No interface has the address that the node is known by, so nothing can be sent from it.
    AddressNotHere(Ipv4Addr),
    /// A peer is not on the link, and the backend has no other way.
    NotOnLink {
        /// Which.
        node: NodeId,
        /// Where it is.
        address: Ipv4Addr,
        /// What the link reaches.
        link: Ipv4Net,
    },
    /// A network that this machine reaches already has a peer's addresses.
    Taken {
        /// Which peer.
        node: NodeId,
        /// Its subnet.
        subnet: Ipv4Net,
        /// The network in the way.
        by: Ipv4Net,
    },
    /// A peer has addresses outside of the pool, or those of another node.
    BadSubnet {
        /// Which.
        node: NodeId,
        /// What it has.
        subnet: Ipv4Net,
    },
    /// All is to be encrypted, and this machine has nothing that does it.
    NoWireGuard {
        /// What a device that does it would be called.
        device: String,
    },
    /// All is to be encrypted, and no other node has been told by which key yet.
    Untold,
    /// A peer's containers are to be reached encrypted or not at all, and cannot be.
    NotEncrypted {
        /// Which.
        node: NodeId,
        /// Why not.
        lack: Lack,
    },
    /// A peer tells a key that another node has: packets would not be for one of the two alone.
    SameKey {
        /// Which.
        node: NodeId,
    },
    /// A change did not work.
    Failed {
        /// Which.
        change: Change,
        /// Why.
        error: NetworkError,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressNotHere(address) => write!(
                f,
                "no interface has {address}, by which other nodes know this one: its containers cannot reach theirs"
            ),
            Self::NotOnLink { node, address, link } => write!(
                f,
                "node {node} ({address}) is not on this node's link ({link}), so host-gw cannot reach its containers: \
                 choose auto or vxlan"
            ),
            Self::Taken { node, subnet, by } => write!(
                f,
                "the containers of node {node} have {subnet}, but this machine has a route to {by} already: remove \
                 that route, or make the cluster with another pool"
            ),
            Self::BadSubnet { node, subnet } => {
                write!(f, "node {node} has {subnet}, which is not its own part of the pool")
            }
            Self::NoWireGuard { device } => write!(
                f,
                "this machine has no WireGuard, and its containers are to be reached encrypted or not at all: load the \
                 kernel's module wireguard, run a program that speaks it as {device}, or choose auto"
            ),
            Self::Untold => write!(
                f,
                "other nodes do not know by which key this one encrypts yet: they are told with its next session, as \
                 soon as a manager is in reach"
            ),
            Self::NotEncrypted { node, lack: Lack::There } => write!(
                f,
                "node {node} does not encrypt, and this node reaches others encrypted or not at all: give that node \
                 WireGuard and the network backend wireguard (or auto)"
            ),
            Self::NotEncrypted { node, lack: Lack::Here(backend) } => write!(
                f,
                "node {node} is reached encrypted or not at all, and this node does not encrypt: give this machine \
                 WireGuard and the network backend wireguard or auto (it has {backend} now)"
            ),
            Self::SameKey { node } => write!(
                f,
                "node {node} has the same WireGuard key as another node: was its data directory copied? Remove \
                 pki/wireguard.key there and start it again"
            ),
            Self::Failed { change, error } => write!(f, "{}: {error}", change.words()),
        }
    }
}

impl Change {
    /// Whether it can only be made where the tunnel is.
    pub(super) const fn needs_tunnel(&self) -> bool {
        match self {
            Self::SetNeighbour(..)
            | Self::RemoveNeighbour(_)
            | Self::SetForward(..)
            | Self::RemoveForward(_) => true,
            Self::SetRoute(_, route) => matches!(route.hop, Hop::Tunnel(_)),
            Self::AllowForwarding
            | Self::WriteRules(_)
            | Self::RemoveRules
            | Self::MakeTunnel(_)
            | Self::RemoveTunnel
            | Self::MakeWire(_)
            | Self::RemoveWire
            | Self::SetWirePeer(..)
            | Self::RemoveWirePeer(_)
            | Self::RemoveRoute(_) => false,
        }
    }

    /// Whether it can only be made where the WireGuard device is.
    pub(super) const fn needs_wire(&self) -> bool {
        match self {
            Self::SetWirePeer(..) | Self::RemoveWirePeer(_) => true,
            Self::SetRoute(_, route) => matches!(route.hop, Hop::Wire),
            Self::AllowForwarding
            | Self::WriteRules(_)
            | Self::RemoveRules
            | Self::MakeTunnel(_)
            | Self::RemoveTunnel
            | Self::SetNeighbour(..)
            | Self::RemoveNeighbour(_)
            | Self::SetForward(..)
            | Self::RemoveForward(_)
            | Self::MakeWire(_)
            | Self::RemoveWire
            | Self::RemoveRoute(_) => false,
        }
    }

    /// What it is for, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::AllowForwarding => "turning IP forwarding on".into(),
            Self::WriteRules(_) => "writing the firewall rules of the pool".into(),
            Self::RemoveRules => "removing the firewall rules of the pool".into(),
            Self::MakeTunnel(_) => "making the tunnel device".into(),
            Self::RemoveTunnel => "removing the tunnel device".into(),
            Self::SetNeighbour(address, _) | Self::RemoveNeighbour(address) => {
                format!("the tunnel's neighbour {address}")
            }
            Self::SetForward(mac, _) | Self::RemoveForward(mac) => {
                format!("the tunnel's way to {mac}")
            }
            Self::MakeWire(_) => "making the WireGuard device".into(),
            Self::RemoveWire => "removing the WireGuard device".into(),
            Self::SetWirePeer(_, peer) => {
                let subnets: Vec<String> = peer.subnets.iter().map(ToString::to_string).collect();
                format!("the encrypted way to {}", subnets.join(", "))
            }
            Self::RemoveWirePeer(_) => "an encrypted way that is not wanted".into(),
            Self::SetRoute(subnet, _) | Self::RemoveRoute(subnet) => {
                format!("the route to {subnet}")
            }
        }
    }
}
