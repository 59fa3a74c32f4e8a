//! What a server is told once, when it starts.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;

/// The most upstreams that are asked, as many as the C library takes from `resolv.conf`.
const UPSTREAMS_MAX: usize = 3;
const DNS_PORT: u16 = 53;

/// How to answer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, UDP and TCP. An address that the machine does not have yet, as that of a
    /// bridge before its first container, is answered on as soon as it is there. Port 0 takes a
    /// free one. Answers leave with the listening address, so name addresses rather than
    /// `0.0.0.0` on a machine that has several in one network.
    pub listen: Vec<SocketAddr>,
    /// Who knows the names outside of the zone; none refuses such names. Two are asked at a time,
    /// those first that have been quick. Addresses of this server itself are left out.
    pub upstreams: Vec<SocketAddr>,
    /// How many sockets share the queries to each address; the kernel spreads clients over them.
    /// One for each core that may be busy with DNS.
    pub workers: NonZeroUsize,
    /// The networks of the cluster's own containers and machines. Clients elsewhere have a limit
    /// on answers and get no names outside of the zone. Loopback is always among the own.
    pub local: Vec<IpNet>,
    /// Answers per second to each network of foreign clients (/24, or /56 of IPv6), after a burst
    /// of as many; 0 for no limit. It keeps this server from being used to flood others.
    pub foreign_answers_per_second: u32,
}

impl Options {
    pub(crate) fn is_local(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        client.is_loopback() || self.local.iter().any(|network| network.contains(&client))
    }
}

/// The name servers in the text of a `resolv.conf`, the first three, as the C library reads it.
#[must_use]
pub fn upstreams_of(resolv_conf: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next()?;
        let address = words.next()?;
        // A zone, as in `fe80::1%eth0`, has no place in an IpAddr: such a server is left out.
        (keyword == "nameserver").then(|| address.parse().ok()).flatten()
    };
    let servers = resolv_conf.lines().filter_map(server).take(UPSTREAMS_MAX);
    servers.map(|address: IpAddr| SocketAddr::new(address, DNS_PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_is_read_as_the_c_library_does() {
        let text = "# nameserver 192.0.2.9\n; x\nsearch lan\nnameserver 192.0.2.1\n\
                    nameserver\t2001:db8::1 # here\n nameserver 192.0.2.2\nnameserver x\n\
                    nameserver fe80::1%eth0\noptions ndots:1\nnameserver 192.0.2.3";
        let servers: Vec<_> = upstreams_of(text).iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
        assert_eq!(upstreams_of(""), []);
    }
}
