//! What is on this machine.

use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use warren_core::node::WireGuardKey;

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The interface that has the node's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uplink {
    /// Its number in the kernel.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it reaches without a router.
    pub link: Ipv4Net,
    /// The largest packet that it carries.
    pub mtu: u32,
}

/// The way to a peer's subnet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hop {
    /// To a machine on the link.
    Direct(Ipv4Addr),
    /// Into the tunnel, to the end that this address stands for.
    Tunnel(Ipv4Addr),
    /// Into the WireGuard device, which knows by the address whose it is.
    Wire,
    /// Nowhere: whoever asks is told at once that nobody is there.
    Nowhere,
}

/// A way, and the address that this machine itself sends from there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route {
    /// The way.
    pub hop: Hop,
    /// The node's own address in the pool, where it has it already; else the peer would see a foreigner.
    pub source: Option<Ipv4Addr>,
}

/// This machine's end of the tunnels to all peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tunnel {
    /// Which network it speaks; what is of another is not heard.
    pub number: u32,
    /// The UDP port.
    pub port: u16,
    /// The address that it sends from.
    pub local: Ipv4Addr,
    /// Its hardware address.
    pub mac: Mac,
    /// The largest packet that it takes.
    pub mtu: u32,
    /// The interface that it sends through.
    pub uplink: u32,
}

/// This machine's end of the encrypted ways to peers: a WireGuard device of the kernel, or of a program that stands in
/// for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wire {
    /// By which key peers know it; the device has the secret half.
    pub key: WireGuardKey,
    /// The UDP port.
    pub port: u16,
    /// The largest packet that it takes.
    pub mtu: u32,
}

/// Another end of an encrypted way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WirePeer {
    /// Where its machine speaks WireGuard; absent for one that has to come by itself.
    pub endpoint: Option<SocketAddr>,
    /// Whose packets are sent there, and taken from there.
    pub subnets: BTreeSet<Ipv4Net>,
}

impl WirePeer {
    /// One that nothing is sent to or taken from.
    pub(super) const fn nobody() -> Self {
        Self { endpoint: None, subnets: BTreeSet::new() }
    }
}

/// How our rules stand in the firewall.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rules {
    /// There are none.
    Absent,
    /// There are some, but not these, or others come first and decide before ours are asked.
    Wrong,
    /// As they should be.
    Right,
}

/// What [`super::NodeNetwork::read`] has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actual {
    /// Every address of this machine, with what it reaches without a router, by interface.
    pub addresses: BTreeMap<Ipv4Addr, Uplink>,
    /// Routes of others, which were there for another reason; without the default route.
    pub foreign: BTreeSet<Ipv4Net>,
    /// Our routes.
    pub routes: BTreeMap<Ipv4Net, Route>,
    /// Our tunnel.
    pub tunnel: Option<Tunnel>,
    /// The hardware addresses of the tunnel's other ends.
    pub neighbours: BTreeMap<Ipv4Addr, Mac>,
    /// Which machines have them.
    pub forwards: BTreeMap<Mac, Ipv4Addr>,
    /// Whether this machine can have a WireGuard device of ours.
    pub has_wireguard: bool,
    /// Our WireGuard device.
    pub wire: Option<Wire>,
    /// The other ends that it knows.
    pub wire_peers: BTreeMap<WireGuardKey, WirePeer>,
    /// Whether this machine passes on what is not for itself.
    pub forwarding: bool,
    /// Our rules.
    pub rules: Rules,
    /// The interface from which they let nothing pass to containers that claims to be of the pool.
    pub barred: Option<String>,
}

impl Actual {
    /// A machine with nothing on it.
    #[must_use]
    pub const fn bare() -> Self {
        Self {
            addresses: BTreeMap::new(),
            foreign: BTreeSet::new(),
            routes: BTreeMap::new(),
            tunnel: None,
            neighbours: BTreeMap::new(),
            forwards: BTreeMap::new(),
            has_wireguard: false,
            wire: None,
            wire_peers: BTreeMap::new(),
            forwarding: false,
            rules: Rules::Absent,
            barred: None,
        }
    }
}
