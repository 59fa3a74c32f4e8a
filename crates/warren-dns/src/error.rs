//! Why a server cannot start.

use std::io;
use std::net::SocketAddr;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer DNS on {address}/{transport}: {}", remedy(.source, address))]
pub struct BindError {
    /// The address as it was asked for.
    pub address: SocketAddr,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// What the system said.
    pub source: io::Error,
}

fn remedy(source: &io::Error, address: &SocketAddr) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another DNS server runs there; stop it (`ss -lnup 'sport = :{}'` names it) or listen \
             on another address or port",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE; \
             start as root or listen on a higher port"
            .to_owned(),
        _ => format!("{source}; choose an address of this machine"),
    }
}
