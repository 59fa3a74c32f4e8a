//! WireGuard devices of the kernel, by generic netlink.
//!
//! The messages go through a plain socket of our own: the library's connections write what passes to the log, and what
//! passes here are keys.

use super::super::super::error::NetworkError;
use super::super::super::state::WirePeer;
use super::{Setting, Settings};
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardDeviceFlags, WireguardMessage, WireguardPeer, WireguardPeerAttribute,
    WireguardPeerFlags,
};
use nix::errno::Errno;
use rtnetlink::packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    ParseableParametrized,
};
use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use warren_core::node::WireGuardKey;
use zeroize::{Zeroize as _, Zeroizing};

/// The kernel fills 32 KiB at most at once.
const REPLY_BYTES: usize = 64 * 1024;

/// A key that is none.
const NO_KEY: [u8; 32] = [0; 32];

/// Whether the kernel knows WireGuard. Asking has it load the module, where there is one.
pub(super) async fn is_known() -> Result<bool, NetworkError> {
    Ok(family().await?.is_some())
}

async fn family() -> Result<Option<u16>, NetworkError> {
    let name = WireguardMessage::family_name().to_owned();
    let nlas = vec![GenlCtrlAttrs::FamilyName(name)];
    let asked = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas });
    let replies = match ask(asked, NLM_F_ACK).await {
        Err(error) if is(&error, Errno::ENOENT) => return Ok(None),
        replies => replies.map_err(|error| refused("looking for WireGuard", &error))?,
    };
    let all = replies.into_iter().flat_map(|reply| reply.nlas);
    Ok(all.into_iter().find_map(|attribute| match attribute {
        GenlCtrlAttrs::FamilyId(id) => Some(id),
        _ => None,
    }))
}

/// How the device of that name is set up; `None` where there is none.
pub(super) async fn read(name: &str) -> Result<Option<Settings>, NetworkError> {
    let Some(family) = family().await? else { return Ok(None) };
    let attributes = vec![WireguardAttribute::IfName(name.to_owned())];
    let message = WireguardMessage { cmd: WireguardCmd::GetDevice, attributes };
    match ask(of_family(message, family), NLM_F_DUMP).await {
        Err(error) if is(&error, Errno::ENODEV) => Ok(None),
        replies => {
            let replies =
                replies.map_err(|error| refused("reading the WireGuard device", &error))?;
            Ok(Some(settings(replies)))
        }
    }
}

/// Makes one change of the device of that name.
pub(super) async fn set(name: &str, setting: &Setting<'_>) -> Result<(), NetworkError> {
    let family = family().await?.ok_or_else(NetworkError::no_wireguard)?;
    let attributes = attributes(name, setting);
    let message = WireguardMessage { cmd: WireguardCmd::SetDevice, attributes };
    let done = ask(of_family(message, family), NLM_F_ACK).await;
    done.map(drop).map_err(|error| refused("setting the WireGuard device up", &error))
}

fn of_family(message: WireguardMessage, family: u16) -> GenlMessage<WireguardMessage> {
    let mut message = GenlMessage::from_payload(message);
    message.set_resolved_family_id(family);
    message
}

/// What a change of settings is as attributes of the device.
fn attributes(name: &str, setting: &Setting<'_>) -> Vec<WireguardAttribute> {
    let mut attributes = vec![WireguardAttribute::IfName(name.to_owned())];
    match setting {
        Setting::Begin(secret, port) => attributes.extend([
            WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers),
            WireguardAttribute::PrivateKey(*secret.bytes()),
            WireguardAttribute::ListenPort(*port),
        ]),
        Setting::Clear => attributes.extend([
            WireguardAttribute::Flags(WireguardDeviceFlags::ReplacePeers),
            WireguardAttribute::PrivateKey(NO_KEY),
        ]),
        Setting::Peer(key, peer) => {
            let mut about = vec![
                WireguardPeerAttribute::PublicKey(key.0),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps),
            ];
            about.extend(peer.endpoint.map(WireguardPeerAttribute::Endpoint));
            let allowed = peer.subnets.iter().map(allowed).collect();
            about.push(WireguardPeerAttribute::AllowedIps(allowed));
            attributes.push(WireguardAttribute::Peers(vec![WireguardPeer(about)]));
        }
        Setting::NoPeer(key) => {
            let about = vec![
                WireguardPeerAttribute::PublicKey(key.0),
                WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
            ];
            attributes.push(WireguardAttribute::Peers(vec![WireguardPeer(about)]));
        }
    }
    attributes
}

fn allowed(subnet: &Ipv4Net) -> WireguardAllowedIp {
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(WireguardAddressFamily::Ipv4),
        WireguardAllowedIpAttr::IpAddr(IpAddr::V4(subnet.network())),
        WireguardAllowedIpAttr::Cidr(subnet.prefix_len()),
    ])
}

/// What the kernel says of a device, in as many messages as it takes: a peer may go on in the next one.
fn settings(replies: Vec<WireguardMessage>) -> Settings {
    let mut settings = Settings::default();
    for attribute in replies.into_iter().flat_map(|reply| reply.attributes) {
        match attribute {
            WireguardAttribute::PrivateKey(mut secret) => secret.zeroize(),
            WireguardAttribute::PublicKey(key) if key != NO_KEY => {
                settings.key = Some(WireGuardKey(key));
            }
            WireguardAttribute::ListenPort(port) => settings.port = port,
            WireguardAttribute::Peers(peers) => {
                for peer in peers {
                    add_peer(&mut settings, &peer.0);
                }
            }
            _ => {}
        }
    }
    settings
}

fn add_peer(settings: &mut Settings, about: &[WireguardPeerAttribute]) {
    let key = about.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(WireGuardKey(*key)),
        _ => None,
    });
    let Some(key) = key else { return };
    let peer = settings.peers.entry(key).or_insert_with(WirePeer::nobody);
    for attribute in about {
        match attribute {
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(*endpoint),
            WireguardPeerAttribute::AllowedIps(allowed) => {
                peer.subnets.extend(allowed.iter().filter_map(subnet));
            }
            _ => {}
        }
    }
}

/// The subnet that a peer may send from. One of IPv6 is none of ours, and no packet of a container has such addresses.
fn subnet(allowed: &WireguardAllowedIp) -> Option<Ipv4Net> {
    let (mut address, mut length) = (None, None);
    for attribute in &allowed.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(found) => address = Some(*found),
            WireguardAllowedIpAttr::Cidr(found) => length = Some(*found),
            _ => {}
        }
    }
    match IpNet::new(address?, length?).ok()? {
        IpNet::V4(subnet) => Some(subnet),
        IpNet::V6(_) => None,
    }
}

/// Sends one message and takes what is answered.
async fn ask<T>(message: GenlMessage<T>, flags: u16) -> io::Result<Vec<T>>
where
    T: GenlFamily + Emitable + Debug + ParseableParametrized<[u8], GenlHeader>,
{
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = Zeroizing::new(vec![0; message.buffer_len()]);
    message.serialize(&mut bytes);
    let mut socket = TokioSocket::new(NETLINK_GENERIC)?;
    socket.socket_mut().bind_auto()?;
    socket.socket_mut().connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes).await?;
    let mut replies = Vec::new();
    loop {
        let mut buffer = Zeroizing::new(Vec::with_capacity(REPLY_BYTES));
        socket.recv(&mut *buffer).await?;
        if take(&buffer, &mut replies)? {
            return Ok(replies);
        }
    }
}

/// Takes the messages of one packet; whether they were the last.
fn take<T>(mut bytes: &[u8], replies: &mut Vec<T>) -> io::Result<bool>
where
    T: GenlFamily + Emitable + Debug + ParseableParametrized<[u8], GenlHeader>,
{
    while !bytes.is_empty() {
        let message = NetlinkMessage::<GenlMessage<T>>::deserialize(bytes);
        let message = message.map_err(|error| io::Error::other(error.to_string()))?;
        // Messages begin at multiples of four.
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        let length = length.checked_next_multiple_of(4).unwrap_or(usize::MAX).max(4);
        bytes = bytes.get(length..).unwrap_or_default();
        match message.payload {
            NetlinkPayload::InnerMessage(reply) => replies.push(reply.payload),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

fn refused(what: &str, error: &io::Error) -> NetworkError {
    let why = if is(error, Errno::EPERM) {
        "this process may not: run it as root, or with CAP_NET_ADMIN".to_owned()
    } else {
        error.to_string()
    };
    NetworkError::Refused { what: what.to_owned(), why }
}

#[cfg(test)]
mod tests;
