//! What must be changed so that the machine is as it is wanted.

use super::change::{Change, Lack, Problem};
use super::state::{Actual, Hop, Mac, Route, Rules, Tunnel, Uplink, Wire, WirePeer};
use super::wish::{Backend, Peer, TUNNEL_OVERHEAD, TUNNEL_PORT, WIRE_OVERHEAD, Wish, mac_of};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use warren_core::node::WireGuardKey;

/// What is to be done, and what cannot be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// In this order.
    pub changes: Vec<Change>,
    /// What is in the way.
    pub problems: Vec<Problem>,
}

/// What this owner's part of the machine is to be.
#[derive(Default)]
struct Target {
    active: bool,
    /// The interface that brings nothing of the pool.
    barred: Option<String>,
    tunnel: Option<Tunnel>,
    neighbours: BTreeMap<Ipv4Addr, Mac>,
    forwards: BTreeMap<Mac, Ipv4Addr>,
    wire: Option<Wire>,
    wire_peers: BTreeMap<WireGuardKey, WirePeer>,
    routes: BTreeMap<Ipv4Net, Route>,
}

/// What must be changed so that `actual` is as `wish` says, or free of all that is ours without one. Made on a machine
/// that has those changes, the plan is empty.
#[must_use]
pub fn plan(wish: Option<&Wish>, actual: &Actual) -> Plan {
    let mut problems = Vec::new();
    let target = wish.map(|wish| target(wish, actual, &mut problems)).unwrap_or_default();
    Plan { changes: changes(&target, actual), problems }
}

fn target(wish: &Wish, actual: &Actual, problems: &mut Vec<Problem>) -> Target {
    // A node that is alone needs nothing of its machine.
    if wish.backend == Backend::None || wish.peers.is_empty() {
        return Target::default();
    }
    let mut target = Target { active: true, ..Target::default() };
    let Some(uplink) = actual.addresses.get(&wish.address) else {
        problems.push(Problem::AddressNotHere(wish.address));
        return target;
    };
    // Whoever takes nothing but what is encrypted does not take it from the link: there anybody may use any address.
    target.barred = (wish.backend == Backend::WireGuard).then(|| uplink.name.clone());
    // What no node has must not leave by the default route, to be read by who knows whom.
    let nowhere = Route { hop: Hop::Nowhere, source: None };
    target.routes.insert(wish.owner.pool.trunc(), nowhere);
    if let Some(problem) = no_wire(wish, actual) {
        problems.push(problem);
        return target;
    }
    let own = own_address(wish.subnet);
    let source = actual.addresses.contains_key(&own).then_some(own);
    let mut seen = BTreeSet::from([wish.subnet]);
    let mut keys: BTreeSet<_> = wish.wire.iter().map(|own| own.key).collect();
    for peer in &wish.peers {
        let subnet = peer.subnet;
        let inside = wish.owner.pool.contains(&subnet) && wish.owner.pool.trunc() != subnet;
        if !inside || !seen.insert(subnet) {
            problems.push(Problem::BadSubnet { node: peer.node, subnet });
            continue;
        }
        if let Some(by) = in_the_way(subnet, actual) {
            problems.push(Problem::Taken { node: peer.node, subnet, by });
            continue;
        }
        match hop(wish, peer, uplink) {
            Ok(Hop::Wire) if !peer.key().is_some_and(|key| keys.insert(key)) => {
                problems.push(Problem::SameKey { node: peer.node });
            }
            Ok(hop) => target.reach(wish, uplink, peer, Route { hop, source }),
            Err(problem) => problems.push(problem),
        }
    }
    target
}

impl Target {
    fn reach(&mut self, wish: &Wish, uplink: &Uplink, peer: &Peer, route: Route) {
        self.routes.insert(peer.subnet, route);
        match (route.hop, wish.wire, peer.encryption.wireguard) {
            (Hop::Tunnel(end), ..) => {
                let mac = mac_of(peer.subnet);
                self.neighbours.insert(end, mac);
                self.forwards.insert(mac, peer.address);
                self.tunnel.get_or_insert_with(|| Tunnel {
                    number: wish.owner.network_number(),
                    port: TUNNEL_PORT,
                    local: wish.address,
                    mac: mac_of(wish.subnet),
                    mtu: uplink.mtu.saturating_sub(TUNNEL_OVERHEAD),
                    uplink: uplink.index,
                });
            }
            (Hop::Wire, Some(own), Some(there)) => {
                let endpoint = Some(SocketAddr::from((peer.address, there.port)));
                let subnets = BTreeSet::from([peer.subnet]);
                self.wire_peers.insert(there.key, WirePeer { endpoint, subnets });
                let mtu = uplink.mtu.saturating_sub(WIRE_OVERHEAD);
                self.wire = Some(Wire { key: own.key, port: own.port, mtu });
            }
            (Hop::Wire | Hop::Direct(_) | Hop::Nowhere, ..) => {}
        }
    }
}

/// Why nobody at all can be reached as it is wished.
fn no_wire(wish: &Wish, actual: &Actual) -> Option<Problem> {
    match (wish.backend, wish.wire) {
        (Backend::WireGuard, None) if actual.has_wireguard => Some(Problem::Untold),
        (Backend::WireGuard, None) => Some(Problem::NoWireGuard { device: wish.owner.wire() }),
        _ => None,
    }
}

/// The way to a peer. Both ends must come to the same: what is asked here is the backend, which all nodes should share,
/// the link, which both see, and what each of the two has told all others.
fn hop(wish: &Wish, peer: &Peer, uplink: &Uplink) -> Result<Hop, Problem> {
    let on_link = uplink.link.contains(&peer.address);
    let both = wish.wire.is_some() && peer.encryption.wireguard.is_some();
    if wish.backend == Backend::WireGuard || peer.encryption.only {
        let lack = if wish.wire.is_some() { Lack::There } else { Lack::Here(wish.backend) };
        return if both {
            Ok(Hop::Wire)
        } else {
            Err(Problem::NotEncrypted { node: peer.node, lack })
        };
    }
    let direct = Hop::Direct(peer.address);
    // The network's own address is nobody's inside of it, so it can stand for the end of the tunnel.
    let tunnel = Hop::Tunnel(peer.subnet.network());
    match wish.backend {
        Backend::HostGw | Backend::Auto if on_link => Ok(direct),
        Backend::HostGw => {
            Err(Problem::NotOnLink { node: peer.node, address: peer.address, link: uplink.link })
        }
        Backend::Auto | Backend::WireGuard if both => Ok(Hop::Wire),
        Backend::Auto | Backend::WireGuard | Backend::Vxlan | Backend::None => Ok(tunnel),
    }
}

/// The node's own address in its subnet: the first, which its bridge has.
fn own_address(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + 1)
}

/// A route of somebody else's that is as exact as ours would be or more so: it would keep, or lose, a part of the
/// subnet's packets. One that is wider than the subnet does no harm.
fn in_the_way(subnet: Ipv4Net, actual: &Actual) -> Option<Ipv4Net> {
    actual.foreign.iter().copied().find(|route| subnet.contains(route))
}

fn changes(target: &Target, actual: &Actual) -> Vec<Change> {
    let mut changes = Vec::new();
    let same_tunnel = target.tunnel == actual.tunnel;
    // Routes go before the device that they lead to; the kernel would take them away with it, unasked.
    let stale = actual.routes.keys().filter(|subnet| !target.routes.contains_key(subnet));
    changes.extend(stale.copied().map(Change::RemoveRoute));
    if actual.tunnel.is_some() && !same_tunnel {
        changes.push(Change::RemoveTunnel);
    }
    let same_wire = target.wire == actual.wire;
    if actual.wire.is_some() && !same_wire {
        changes.push(Change::RemoveWire);
    }
    if target.active && !actual.forwarding {
        changes.push(Change::AllowForwarding);
    }
    match (target.active, actual.rules) {
        (true, Rules::Right) if actual.barred == target.barred => {}
        (true, _) => changes.push(Change::WriteRules(target.barred.clone())),
        (false, Rules::Right | Rules::Wrong) => changes.push(Change::RemoveRules),
        (false, Rules::Absent) => {}
    }
    if let (Some(tunnel), false) = (&target.tunnel, same_tunnel) {
        changes.push(Change::MakeTunnel(tunnel.clone()));
    }
    if target.tunnel.is_some() {
        let empty = Actual::bare();
        // A tunnel that is made anew knows nobody.
        let known = if same_tunnel { actual } else { &empty };
        ends(target, known, &mut changes);
    }
    if let (Some(wire), false) = (target.wire, same_wire) {
        changes.push(Change::MakeWire(wire));
    }
    if target.wire.is_some() {
        let empty = BTreeMap::new();
        wire_ends(target, if same_wire { &actual.wire_peers } else { &empty }, &mut changes);
    }
    for (subnet, route) in &target.routes {
        let lost = match route.hop {
            Hop::Tunnel(_) => !same_tunnel,
            Hop::Wire => !same_wire,
            Hop::Direct(_) | Hop::Nowhere => false,
        };
        if lost || actual.routes.get(subnet) != Some(route) {
            changes.push(Change::SetRoute(*subnet, *route));
        }
    }
    changes
}

/// The other ends of the encrypted ways. Those that go, go first: a device gives a subnet to one end only.
fn wire_ends(target: &Target, known: &BTreeMap<WireGuardKey, WirePeer>, changes: &mut Vec<Change>) {
    let gone = known.keys().filter(|key| !target.wire_peers.contains_key(key));
    changes.extend(gone.copied().map(Change::RemoveWirePeer));
    for (key, peer) in &target.wire_peers {
        if known.get(key) != Some(peer) {
            changes.push(Change::SetWirePeer(*key, Box::new(peer.clone())));
        }
    }
}

/// The other ends of a tunnel that is there.
fn ends(target: &Target, known: &Actual, changes: &mut Vec<Change>) {
    let gone = known.neighbours.keys().filter(|end| !target.neighbours.contains_key(end));
    changes.extend(gone.copied().map(Change::RemoveNeighbour));
    let gone = known.forwards.keys().filter(|mac| !target.forwards.contains_key(mac));
    changes.extend(gone.copied().map(Change::RemoveForward));
    for (mac, address) in &target.forwards {
        if known.forwards.get(mac) != Some(address) {
            changes.push(Change::SetForward(*mac, *address));
        }
    }
    for (end, mac) in &target.neighbours {
        if known.neighbours.get(end) != Some(mac) {
            changes.push(Change::SetNeighbour(*end, *mac));
        }
    }
}
