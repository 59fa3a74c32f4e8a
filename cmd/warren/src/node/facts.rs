//! What this machine says of itself.

use super::encryption;
use super::runtime::NodeRuntime;
use crate::config::NodeConfig;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};
use warren_core::level::Level;
use warren_core::node::NodeFacts;
use warren_core::spec::HostName;
use warren_core::time::millis;
use warren_wire::convert;
use warren_wire::v1;

/// Where an address is asked for when there is no manager to reach: kept for documentation, no machine has it, and the
/// default route leads there.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// What this machine is; `port` is where it serves other nodes, 0 for nowhere.
pub fn facts(config: &NodeConfig, runtime: &NodeRuntime, port: u16) -> NodeFacts {
    let info = &runtime.info;
    let hostname = match &config.hostname {
        Some(name) => name.clone(),
        None => host_name(&info.hostname),
    };
    NodeFacts {
        hostname,
        address: address(config),
        port,
        probe_port: port,
        platform: info.platform.clone(),
        cpu: info.cpus,
        memory: info.memory,
        runtime: format!("{} {}", info.kind, info.version),
        version: env!("CARGO_PKG_VERSION").into(),
        level: Level::OURS,
        encryption: encryption::wanted(config, runtime.has_containers()),
    }
}

/// The same as a node says it when it joins; `key` is how it will be known.
pub fn hello(
    config: &NodeConfig,
    runtime: &NodeRuntime,
    facts: &NodeFacts,
    key: String,
) -> v1::Hello {
    let labels = config.node_labels.iter();
    v1::Hello {
        key,
        subnet: runtime.subnet.map(|subnet| subnet.to_string()).unwrap_or_default(),
        wall_unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
        labels: labels.map(|(key, value)| (key.to_string(), value.clone())).collect(),
        ..convert::node::hello(facts)
    }
}

/// A machine's name as a host name: what a host name cannot have becomes a dash.
fn host_name(name: &str) -> HostName {
    let legal = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let labels = name.to_ascii_lowercase();
    let labels = labels.split('.').map(|label| {
        let label: String = label.chars().map(legal).take(63).collect();
        label.trim_matches('-').to_owned()
    });
    let labels: Vec<String> = labels.filter(|label| !label.is_empty()).collect();
    let fallback = || HostName::parse("node").ok();
    let named = HostName::parse(&labels.join(".")).ok().or_else(fallback);
    named.unwrap_or_else(|| unreachable!("`node` is a host name"))
}

/// Where other nodes reach this machine: what the configuration says, the one address that it listens on, or the one
/// that it would send from to a manager. Nothing is sent.
fn address(config: &NodeConfig) -> IpAddr {
    if let Some(address) = config.advertise {
        return address;
    }
    if !config.listen.ip().is_unspecified() {
        return config.listen.ip();
    }
    let manager = config.join.as_ref().and_then(|join| join.manager.to_socket_addrs().ok()?.next());
    let towards = manager.unwrap_or(ELSEWHERE);
    let from: IpAddr =
        if towards.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { [0_u16; 8].into() };
    let asked = UdpSocket::bind((from, 0)).and_then(|socket| {
        socket.connect(towards)?;
        socket.local_addr()
    });
    asked.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_machine_s_name_becomes_a_host_name() {
        for (name, host) in [
            ("db-1.example.com", "db-1.example.com"),
            ("My_Laptop", "my-laptop"),
            ("-x-..Y", "x.y"),
            ("", "node"),
            ("___", "node"),
        ] {
            assert_eq!(host_name(name).as_str(), host, "{name}");
        }
    }
}
