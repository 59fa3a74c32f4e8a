//! Devices, addresses, routes and neighbours, as messages to the kernel.

use super::super::change::Change;
use super::super::error::NetworkError;
use super::super::state::{Actual, Hop, Mac, Route, Tunnel, Uplink};
use super::super::wish::Owner;
use futures::{Stream, TryStreamExt};
use ipnet::Ipv4Net;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, LinkUnspec, LinkVxlan, LinkWireguard, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// By this number the kernel keeps our routes apart from those of others. It is none of the assigned ones.
const OUR_ROUTES: RouteProtocol = RouteProtocol::Other(87);

/// What the kernel says of a thing that is not there.
const GONE: [i32; 3] = [
    nix::errno::Errno::ENOENT as i32,
    nix::errno::Errno::ESRCH as i32,
    nix::errno::Errno::ENODEV as i32,
];

type Asked<T> = Result<T, rtnetlink::Error>;

/// Does `work` over a connection of its own, which costs less than keeping one alive and mending it.
async fn with_kernel<T>(
    what: &str,
    missing: fn() -> NetworkError,
    work: impl AsyncFnOnce(Handle) -> Asked<T>,
) -> Result<T, NetworkError> {
    let refused = |why: String| NetworkError::Refused { what: what.to_owned(), why };
    let opened = rtnetlink::new_connection().map_err(|error| refused(error.to_string()))?;
    let (connection, handle, _) = opened;
    tokio::select! {
        done = work(handle) => done.map_err(|error| match code(&error) {
            Some(code) if code == nix::errno::Errno::EOPNOTSUPP as i32 => missing(),
            Some(code) if code == nix::errno::Errno::EPERM as i32 => {
                refused("this process may not change the network: run it as root, or with CAP_NET_ADMIN".into())
            }
            Some(code) => refused(io::Error::from_raw_os_error(code).to_string()),
            None => refused(error.to_string()),
        }),
        () = connection => Err(refused("the kernel hung up".into())),
    }
}

fn code(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

/// As it was asked, also where there was nothing to take away.
fn or_gone(done: Asked<()>) -> Asked<()> {
    match done {
        Err(error) if code(&error).is_some_and(|code| GONE.contains(&code)) => Ok(()),
        done => done,
    }
}

/// A device as far as it matters.
pub(super) struct Device {
    name: String,
    pub(super) mtu: u32,
    pub(super) up: bool,
    mac: Option<Mac>,
    pub(super) kind: DeviceKind,
}

/// What makes a device.
#[derive(PartialEq, Eq)]
pub(super) enum DeviceKind {
    /// The kernel's tunnels.
    Vxlan(Vec<InfoVxlan>),
    /// The kernel's WireGuard.
    WireGuard,
    /// A program.
    Tun,
    /// Something else.
    Other,
}

/// All but the firewall, the switch for forwarding,
/// and what WireGuard is set to: for that, the device of its name is returned.
pub(super) async fn read(owner: &Owner) -> Result<(Actual, Option<Device>), NetworkError> {
    with_kernel("reading the network", NetworkError::no_vxlan, async |kernel| {
        let mut actual = Actual::bare();
        let mut devices: BTreeMap<u32, Device> =
            collect(kernel.link().get().execute()).await?.iter().map(device).collect();
        for message in collect(kernel.address().get().execute()).await? {
            let Some(device) = devices.get(&message.header.index) else { continue };
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
            let Some(address) = local else { continue };
            let Ok(link) = Ipv4Net::new(address, message.header.prefix_len) else { continue };
            let (index, name, mtu) = (message.header.index, device.name.clone(), device.mtu);
            actual.addresses.insert(address, Uplink { index, name, link: link.trunc(), mtu });
        }
        let found = devices.iter().find(|(_, device)| device.name == owner.tunnel());
        let found = found.and_then(|(index, device)| Some((*index, tunnel(device)?)));
        let index = found.as_ref().map(|(index, _)| *index);
        let wire = devices.iter().find(|(_, device)| device.name == owner.wire());
        let wire = wire.map(|(index, _)| *index);
        actual.tunnel = found.map(|(_, tunnel)| tunnel);
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        for message in collect(kernel.route().get(all).execute()).await? {
            sort_route(&message, owner, (index, wire), &mut actual);
        }
        if let Some(index) = index {
            read_ends(&kernel, index, &mut actual).await?;
        }
        Ok((actual, wire.and_then(|index| devices.remove(&index))))
    })
    .await
}

async fn collect<T>(stream: impl Stream<Item = Asked<T>>) -> Asked<Vec<T>> {
    stream.try_collect().await
}

fn device(message: &LinkMessage) -> (u32, Device) {
    let up = message.header.flags.contains(LinkFlags::Up);
    let kind = DeviceKind::Other;
    let mut device = Device { name: String::new(), mtu: 0, up, mac: None, kind };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            LinkAttribute::Address(bytes) => device.mac = mac(bytes),
            LinkAttribute::LinkInfo(infos) => device.kind = kind_of(infos),
            _ => {}
        }
    }
    (message.header.index, device)
}

fn kind_of(infos: &[LinkInfo]) -> DeviceKind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Vxlan) => {
            let data = infos.iter().find_map(|info| match info {
                LinkInfo::Data(InfoData::Vxlan(data)) => Some(data.clone()),
                _ => None,
            });
            data.map_or(DeviceKind::Other, DeviceKind::Vxlan)
        }
        Some(InfoKind::Wireguard) => DeviceKind::WireGuard,
        Some(InfoKind::Tun) => DeviceKind::Tun,
        _ => DeviceKind::Other,
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

/// One that is down, or not as we make them, comes out as one that nobody wants, and is made anew.
fn tunnel(device: &Device) -> Option<Tunnel> {
    let unspecified = Ipv4Addr::UNSPECIFIED;
    let mut tunnel = Tunnel {
        number: 0,
        port: 0,
        local: unspecified,
        mac: device.mac.unwrap_or(Mac([0; 6])),
        mtu: if device.up { device.mtu } else { 0 },
        uplink: 0,
    };
    let DeviceKind::Vxlan(infos) = &device.kind else { return None };
    for info in infos {
        match info {
            InfoVxlan::Id(number) => tunnel.number = *number,
            InfoVxlan::Port(port) => tunnel.port = *port,
            InfoVxlan::Local(address) => tunnel.local = *address,
            InfoVxlan::Link(index) => tunnel.uplink = *index,
            InfoVxlan::Learning(true) => tunnel.mtu = 0,
            _ => {}
        }
    }
    Some(tunnel)
}

/// `ours` are the numbers of the tunnel and of the WireGuard device.
fn sort_route(
    message: &RouteMessage,
    owner: &Owner,
    ours: (Option<u32>, Option<u32>),
    actual: &mut Actual,
) {
    let (tunnel, wire) = ours;
    let (mut destination, mut gateway, mut device, mut source) = (None, None, None, None);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(*address)
            }
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(*address),
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    // Without a destination it is a default route.
    let Some(destination) = destination else { return };
    let Ok(subnet) = Ipv4Net::new(destination, message.header.destination_prefix_length) else {
        return;
    };
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return;
    }
    let inside = tunnel.is_some() && device == tunnel;
    let hop = match gateway {
        Some(gateway) if inside => Some(Hop::Tunnel(gateway)),
        Some(gateway) => Some(Hop::Direct(gateway)),
        None if message.header.kind == RouteType::Unreachable => Some(Hop::Nowhere),
        None if wire.is_some() && device == wire => Some(Hop::Wire),
        None => None,
    };
    let ours = message.header.protocol == OUR_ROUTES && owner.pool.contains(&subnet);
    match hop {
        Some(hop) if ours => drop(actual.routes.insert(subnet, Route { hop, source })),
        _ => drop(actual.foreign.insert(subnet)),
    }
}

async fn read_ends(kernel: &Handle, tunnel: u32, actual: &mut Actual) -> Asked<()> {
    for family in [AddressFamily::Inet, AddressFamily::Bridge] {
        let asked = kernel.neighbours().get().set_address_family(family).execute();
        for message in collect(asked).await? {
            if message.header.ifindex != tunnel
                || !matches!(message.header.state, NeighbourState::Permanent)
            {
                continue;
            }
            let Some((address, mac)) = end(&message) else { continue };
            if family == AddressFamily::Inet {
                actual.neighbours.insert(address, mac);
            } else {
                actual.forwards.insert(mac, address);
            }
        }
    }
    Ok(())
}

fn end(message: &NeighbourMessage) -> Option<(Ipv4Addr, Mac)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
        // The library does not know which addresses a bridge's neighbours have.
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from)
        }
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
        _ => None,
    })?;
    Some((address, mac))
}

/// Makes a change that is not the firewall's.
pub(super) async fn change(owner: &Owner, change: &Change) -> Result<(), NetworkError> {
    with_kernel(&change.words(), NetworkError::no_vxlan, async |kernel| match change {
        Change::MakeTunnel(tunnel) => make_tunnel(&kernel, owner, tunnel).await,
        Change::RemoveTunnel => remove_link(&kernel, &owner.tunnel()).await,
        Change::SetRoute(subnet, route) => set_route(&kernel, owner, *subnet, *route).await,
        Change::RemoveRoute(subnet) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(subnet.network(), subnet.prefix_len())
                .protocol(OUR_ROUTES)
                .kind(RouteType::Unspec)
                .scope(RouteScope::NoWhere)
                .build();
            or_gone(kernel.route().del(route).execute().await)
        }
        Change::SetNeighbour(..)
        | Change::RemoveNeighbour(_)
        | Change::SetForward(..)
        | Change::RemoveForward(_) => change_ends(&kernel, owner, change).await,
        Change::AllowForwarding
        | Change::WriteRules(_)
        | Change::RemoveRules
        | Change::MakeWire(_)
        | Change::RemoveWire
        | Change::SetWirePeer(..)
        | Change::RemoveWirePeer(_) => Ok(()),
    })
    .await
}

async fn make_tunnel(kernel: &Handle, owner: &Owner, tunnel: &Tunnel) -> Asked<()> {
    let device = LinkVxlan::new(&owner.tunnel(), tunnel.number)
        .dev(tunnel.uplink)
        .local(tunnel.local)
        .port(tunnel.port)
        .learning(false)
        .address(tunnel.mac.0.to_vec())
        .mtu(tunnel.mtu)
        .up()
        .build();
    kernel.link().add(device).execute().await
}

async fn link(kernel: &Handle, name: &str) -> Asked<Option<(u32, Device)>> {
    let named = kernel.link().get().match_name(name.to_owned()).execute();
    match collect(named).await {
        Ok(found) => Ok(found.first().map(device)),
        Err(error) => or_gone(Err(error)).map(|()| None),
    }
}

async fn index(kernel: &Handle, name: &str) -> Asked<Option<u32>> {
    Ok(link(kernel, name).await?.map(|(index, _)| index))
}

async fn remove_link(kernel: &Handle, name: &str) -> Asked<()> {
    match index(kernel, name).await? {
        Some(index) => or_gone(kernel.link().del(index).execute().await),
        None => Ok(()),
    }
}

/// As the kernel would say it.
fn no_device() -> rtnetlink::Error {
    rtnetlink::Error::RequestFailed
}

async fn set_route(kernel: &Handle, owner: &Owner, subnet: Ipv4Net, route: Route) -> Asked<()> {
    let mut message = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(subnet.network(), subnet.prefix_len())
        .protocol(OUR_ROUTES);
    if let Some(source) = route.source {
        message = message.pref_source(source);
    }
    message = match route.hop {
        Hop::Nowhere => message.kind(RouteType::Unreachable),
        Hop::Direct(gateway) => message.gateway(gateway),
        Hop::Tunnel(end) => {
            let index = index(kernel, &owner.tunnel()).await?.ok_or_else(no_device)?;
            // The end is an address of the peer's own subnet, which only this route leads to.
            message.output_interface(index).gateway(end).onlink()
        }
        Hop::Wire => {
            let index = index(kernel, &owner.wire()).await?.ok_or_else(no_device)?;
            message.output_interface(index).scope(RouteScope::Link)
        }
    };
    kernel.route().add(message.build()).replace().execute().await
}

async fn change_ends(kernel: &Handle, owner: &Owner, change: &Change) -> Asked<()> {
    let index = index(kernel, &owner.tunnel()).await?;
    let neighbours = kernel.neighbours();
    match (change, index) {
        (Change::SetNeighbour(end, mac), Some(index)) => {
            let end = neighbours.add(index, IpAddr::V4(*end)).link_layer_address(&mac.0);
            end.replace().execute().await
        }
        (Change::SetForward(mac, address), Some(index)) => {
            let way = neighbours.add_bridge(index, &mac.0).destination(IpAddr::V4(*address));
            way.flags(NeighbourFlags::Own).replace().execute().await
        }
        (Change::RemoveNeighbour(end), Some(index)) => {
            let mut request = neighbours.add(index, IpAddr::V4(*end));
            let message = std::mem::take(request.message_mut());
            or_gone(neighbours.del(message).execute().await)
        }
        (Change::RemoveForward(mac), Some(index)) => {
            let mut request = neighbours.add_bridge(index, &mac.0).flags(NeighbourFlags::Own);
            let message = std::mem::take(request.message_mut());
            or_gone(neighbours.del(message).execute().await)
        }
        (Change::SetNeighbour(..) | Change::SetForward(..), None) => Err(no_device()),
        _ => Ok(()),
    }
}

/// The device of that name, with its number.
pub(super) async fn device_named(name: &str) -> Result<Option<(u32, Device)>, NetworkError> {
    let missing = NetworkError::no_vxlan;
    with_kernel("looking for a device", missing, async |kernel| link(&kernel, name).await).await
}

/// Makes a WireGuard device of the kernel. It is down and knows nobody.
pub(super) async fn add_wire(name: &str) -> Result<(), NetworkError> {
    let what = "making the WireGuard device";
    let missing = NetworkError::no_wireguard;
    with_kernel(what, missing, async |kernel| {
        kernel.link().add(LinkWireguard::new(name).build()).execute().await
    })
    .await
}

/// Gives a device this size and brings it up.
pub(super) async fn raise(name: &str, mtu: u32) -> Result<(), NetworkError> {
    let message = LinkUnspec::new_with_name(name).mtu(mtu).up().build();
    with_kernel("bringing a device up", NetworkError::no_vxlan, async |kernel| {
        kernel.link().set(message).execute().await
    })
    .await
}

/// Brings a device down, with all routes that lead to it.
pub(super) async fn lower(name: &str) -> Result<(), NetworkError> {
    let message = LinkUnspec::new_with_name(name).down().build();
    with_kernel("bringing a device down", NetworkError::no_vxlan, async |kernel| {
        or_gone(kernel.link().set(message).execute().await)
    })
    .await
}

/// Takes a device away.
pub(super) async fn remove(name: &str) -> Result<(), NetworkError> {
    let missing = NetworkError::no_vxlan;
    with_kernel("removing a device", missing, async |kernel| remove_link(&kernel, name).await).await
}
