//! A machine's network that is only remembered, for tests of whoever calls [`super::settle`].

use super::NodeNetwork;
use super::change::Change;
use super::error::NetworkError;
use super::state::{Actual, Hop, Rules, WirePeer};
use async_trait::async_trait;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A network in memory. It does what the kernel does with a change, also what nobody asked for.
#[derive(Debug)]
pub struct Fake {
    state: Mutex<Actual>,
    has_vxlan: bool,
}

impl Fake {
    /// A machine with this on it.
    #[must_use]
    pub const fn new(actual: Actual) -> Self {
        Self { state: Mutex::new(actual), has_vxlan: true }
    }

    /// The same, with a kernel that has no tunnels.
    #[must_use]
    pub const fn without_vxlan(actual: Actual) -> Self {
        Self { state: Mutex::new(actual), has_vxlan: false }
    }

    /// What is on it now; may be changed, as by somebody else.
    pub fn state(&self) -> MutexGuard<'_, Actual> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NodeNetwork for Fake {
    async fn read(&self) -> Result<Actual, NetworkError> {
        Ok(self.state().clone())
    }

    async fn change(&self, change: &Change) -> Result<(), NetworkError> {
        match change {
            Change::MakeTunnel(_) if !self.has_vxlan => Err(NetworkError::no_vxlan()),
            Change::MakeWire(_) if !self.state().has_wireguard => Err(NetworkError::no_wireguard()),
            change => make(&mut self.state(), change),
        }
    }
}

/// Makes a change as the kernel would.
pub(super) fn make(state: &mut Actual, change: &Change) -> Result<(), NetworkError> {
    match change {
        Change::AllowForwarding => state.forwarding = true,
        Change::WriteRules(barred) => {
            (state.rules, state.barred) = (Rules::Right, barred.clone());
        }
        Change::RemoveRules => (state.rules, state.barred) = (Rules::Absent, None),
        Change::MakeTunnel(tunnel) => state.tunnel = Some(tunnel.clone()),
        Change::RemoveTunnel => {
            state.tunnel = None;
            state.neighbours.clear();
            state.forwards.clear();
            // The kernel takes a device's routes with it.
            state.routes.retain(|_, route| !matches!(route.hop, Hop::Tunnel(_)));
        }
        Change::MakeWire(wire) => state.wire = Some(*wire),
        Change::RemoveWire => {
            state.wire = None;
            state.wire_peers.clear();
            state.routes.retain(|_, route| route.hop != Hop::Wire);
        }
        Change::SetNeighbour(..) | Change::SetForward(..) if state.tunnel.is_none() => {
            return Err(refused(change));
        }
        Change::SetWirePeer(..) if state.wire.is_none() => return Err(refused(change)),
        Change::SetWirePeer(key, peer) => {
            // A subnet has one end.
            for other in state.wire_peers.values_mut() {
                other.subnets.retain(|subnet| !peer.subnets.contains(subnet));
            }
            state.wire_peers.insert(*key, WirePeer::clone(peer));
        }
        Change::RemoveWirePeer(key) => drop(state.wire_peers.remove(key)),
        Change::SetRoute(_, route)
            if matches!(route.hop, Hop::Tunnel(_)) && state.tunnel.is_none()
                || route.hop == Hop::Wire && state.wire.is_none()
                || route.source.is_some_and(|source| !state.addresses.contains_key(&source)) =>
        {
            return Err(refused(change));
        }
        Change::SetNeighbour(end, mac) => drop(state.neighbours.insert(*end, *mac)),
        Change::RemoveNeighbour(end) => drop(state.neighbours.remove(end)),
        Change::SetForward(mac, address) => drop(state.forwards.insert(*mac, *address)),
        Change::RemoveForward(mac) => drop(state.forwards.remove(mac)),
        Change::SetRoute(subnet, route) => drop(state.routes.insert(*subnet, *route)),
        Change::RemoveRoute(subnet) => drop(state.routes.remove(subnet)),
    }
    Ok(())
}

fn refused(change: &Change) -> NetworkError {
    NetworkError::Refused { what: change.words(), why: "there is no such device or address".into() }
}
