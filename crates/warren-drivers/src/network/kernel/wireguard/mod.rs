//! The WireGuard device: one of the kernel, spoken to by netlink, or one of a program that stands in for it, spoken to
//! by its socket. A program that runs under the device's name comes first: somebody has put it there.

mod generic;
mod program;

use super::super::change::Change;
use super::super::error::NetworkError;
use super::super::key::WireSecret;
use super::super::state::{Actual, Wire, WirePeer};
use super::super::wish::Owner;
use super::netlink::{self, Device, DeviceKind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use warren_core::node::WireGuardKey;

/// What it takes to speak WireGuard here.
#[derive(Clone, Debug)]
pub struct Speaks {
    /// This node's key.
    pub secret: Arc<WireSecret>,
    /// Where programs that stand in for the kernel have their sockets.
    pub sockets: PathBuf,
}

/// A device as it is set up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Settings {
    /// Absent before it was given a key.
    key: Option<WireGuardKey>,
    port: u16,
    peers: BTreeMap<WireGuardKey, WirePeer>,
}

/// One change of a device's settings.
enum Setting<'a> {
    /// This key and port, and no peer.
    Begin(&'a WireSecret, u16),
    /// No key and no peer.
    Clear,
    /// This about a peer.
    Peer(&'a WireGuardKey, &'a WirePeer),
    /// Nothing more of a peer.
    NoPeer(&'a WireGuardKey),
}

impl Speaks {
    fn socket(&self, owner: &Owner) -> PathBuf {
        self.sockets.join(format!("{}.sock", owner.wire()))
    }

    /// Whether a device can be had: a program has made it, or the kernel knows the kind.
    pub(super) async fn is_possible(&self, owner: &Owner) -> Result<bool, NetworkError> {
        let device = netlink::device_named(&owner.wire()).await?;
        let kind = device.map(|(_, device)| device.kind);
        if kind == Some(DeviceKind::Tun) && program::read(&self.socket(owner)).await?.is_some() {
            return Ok(true);
        }
        generic::is_known().await
    }

    /// Adds what there is of WireGuard. `device` is the one that has our name.
    pub(super) async fn read(
        &self,
        owner: &Owner,
        device: Option<&Device>,
        actual: &mut Actual,
    ) -> Result<(), NetworkError> {
        let settings = match device.map(|device| &device.kind) {
            Some(DeviceKind::Tun) => program::read(&self.socket(owner)).await?,
            Some(DeviceKind::WireGuard) => generic::read(&owner.wire()).await?,
            Some(DeviceKind::Vxlan(_) | DeviceKind::Other) | None => None,
        };
        actual.has_wireguard = settings.is_some() || generic::is_known().await?;
        let (Some(device), Some(settings)) = (device, settings) else { return Ok(()) };
        if let Some(key) = settings.key {
            let mtu = if device.up { device.mtu } else { 0 };
            actual.wire = Some(Wire { key, port: settings.port, mtu });
            actual.wire_peers = settings.peers;
        }
        Ok(())
    }

    /// Makes one change of the device.
    pub(super) async fn change(&self, owner: &Owner, change: &Change) -> Result<(), NetworkError> {
        let name = owner.wire();
        let device = netlink::device_named(&name).await?;
        let is_program = device.as_ref().is_some_and(|(_, device)| device.kind == DeviceKind::Tun);
        match change {
            Change::MakeWire(wire) => {
                if wire.key != self.secret.public() {
                    let why = "the key that was told is not this node's".to_owned();
                    return Err(NetworkError::Refused { what: change.words(), why });
                }
                if device.is_none() {
                    netlink::add_wire(&name).await?;
                }
                self.set(owner, is_program, Setting::Begin(&self.secret, wire.port)).await?;
                netlink::raise(&name, wire.mtu).await
            }
            Change::RemoveWire if is_program => {
                // The device is the program's, and goes with it.
                self.set(owner, true, Setting::Clear).await?;
                netlink::lower(&name).await
            }
            Change::RemoveWire => netlink::remove(&name).await,
            Change::SetWirePeer(key, peer) => {
                self.set(owner, is_program, Setting::Peer(key, peer)).await
            }
            Change::RemoveWirePeer(key) if device.is_some() => {
                self.set(owner, is_program, Setting::NoPeer(key)).await
            }
            _ => Ok(()),
        }
    }

    async fn set(
        &self,
        owner: &Owner,
        is_program: bool,
        setting: Setting<'_>,
    ) -> Result<(), NetworkError> {
        if is_program {
            return program::set(&self.socket(owner), &setting).await;
        }
        generic::set(&owner.wire(), &setting).await
    }
}
