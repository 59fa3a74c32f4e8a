//! Connections: where a manager is, how long one waits for it, how large a message may be, and who is at the other
//! end of a unix socket.

use crate::trust::{Credentials, HANDSHAKE_TIMEOUT, MANAGER_NAME, TrustError, prove};
use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tonic::transport::server::UdsConnectInfo;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The largest request to the public API. The largest valid spec has 128 KiB of environment, 128 KiB of command and
/// 64 labels of 4 KiB twice: less than 1 MiB.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest response of the public API: a list of 50,000 tasks at 600 bytes, twice over.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest message of a session: a node's 253 tasks, each with a spec of the largest size, with room to spare.
pub const SESSION_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a connection may take to stand: three retransmissions of a lost SYN are not waited for.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After so long without traffic the other end is asked whether it is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// It has so long to answer before the connection is given up.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest path of a unix socket: the kernel's `sun_path`, with its final NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where a manager is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A unix socket on this machine.
    Unix(PathBuf),
    /// A host and port.
    Tcp(String),
}

/// A text that is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address: write HOST:PORT, or unix:/path/to/the/socket")]
pub struct InvalidTarget(String);

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let refuse = || InvalidTarget(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(refuse())
            };
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let (host, port) = address.rsplit_once(':').ok_or_else(refuse)?;
        let port_fits = port.parse::<u16>().is_ok_and(|port| port > 0);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_fits = bracketed.map_or_else(
            || !host.is_empty() && host.chars().all(plain),
            |host| host.parse::<std::net::Ipv6Addr>().is_ok(),
        );
        if port_fits && host_fits { Ok(Self::Tcp(address.to_owned())) } else { Err(refuse()) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// A connection that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {target}")]
pub struct ConnectError {
    /// Where it was to lead.
    pub target: Target,
    /// Why not.
    #[source]
    pub source: tonic::transport::Error,
}

/// The endpoint of `target` with our timeouts: connect at once or at the first call.
///
/// # Errors
/// The target cannot be written as a URI.
pub fn endpoint(target: &Target) -> Result<Endpoint, ConnectError> {
    let uri = match target {
        Target::Unix(path) => format!("unix:{}", path.display()),
        Target::Tcp(address) => format!("http://{address}"),
    };
    let endpoint = Endpoint::try_from(uri)
        .map_err(|source| ConnectError { target: target.clone(), source })?;
    Ok(timed(endpoint))
}

fn timed(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// A connection to `target`, made now. By TCP it is not encrypted, and nobody is who he says.
///
/// # Errors
/// Nobody answers there within [`CONNECT_TIMEOUT`].
pub async fn connect(target: &Target) -> Result<Channel, ConnectError> {
    let connected = endpoint(target)?.connect().await;
    connected.map_err(|source| ConnectError { target: target.clone(), source })
}

/// Makes connections as a node: by TCP with TLS and the node's certificate, which may be renewed meanwhile.
#[derive(Clone, Debug)]
pub struct Dialer {
    credentials: watch::Receiver<Option<Credentials>>,
}

impl Dialer {
    /// With the newest of these.
    #[must_use]
    pub fn new(credentials: watch::Receiver<Option<Credentials>>) -> Self {
        Self { credentials }
    }

    /// For unix sockets only.
    #[must_use]
    pub fn local() -> Self {
        Self { credentials: watch::channel(None).1 }
    }

    /// The endpoint of `target`, which must have `name` in its certificate where it is reached by TCP.
    ///
    /// # Errors
    /// The node has no certificate yet, or the target cannot be written as a URI.
    pub fn endpoint(&self, target: &Target, name: &str) -> Result<Endpoint, DialError> {
        let Target::Tcp(address) = target else { return Ok(endpoint(target)?) };
        let credentials = self.credentials.borrow().clone();
        let shown = credentials.ok_or(DialError::NoCertificate)?;
        secure(address, &shown.authority, name, Some(&shown))
    }

    /// A connection to `target`, made now.
    ///
    /// # Errors
    /// As [`Self::endpoint`], and where nobody answers within [`CONNECT_TIMEOUT`].
    pub async fn connect(&self, target: &Target, name: &str) -> Result<Channel, DialError> {
        let connected = self.endpoint(target, name)?.connect().await;
        Ok(connected.map_err(|source| ConnectError { target: target.clone(), source })?)
    }

    /// Has `node` (as in `n3`) prove at `address` that it lives.
    ///
    /// # Errors
    /// This node has no certificate yet, or as [`prove`].
    pub async fn prove(&self, address: &str, node: &str) -> Result<(), TrustError> {
        let own = self.credentials.borrow().clone();
        let own = own.ok_or_else(|| TrustError::Handshake(DialError::NoCertificate.to_string()))?;
        prove(address, node, &own).await
    }
}

/// A connection to a manager of which only the authority (PEM) is known, by somebody who shows no certificate.
///
/// # Errors
/// Nobody answers within [`CONNECT_TIMEOUT`], or no manager of that authority does.
pub async fn connect_stranger(address: &str, authority: &str) -> Result<Channel, DialError> {
    let endpoint = secure(address, authority, MANAGER_NAME, None)?;
    let target = Target::Tcp(address.to_owned());
    Ok(endpoint.connect().await.map_err(|source| ConnectError { target, source })?)
}

fn secure(
    address: &str,
    authority: &str,
    name: &str,
    shown: Option<&Credentials>,
) -> Result<Endpoint, DialError> {
    let target = Target::Tcp(address.to_owned());
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .domain_name(name)
        .timeout(HANDSHAKE_TIMEOUT);
    let tls = match shown {
        Some(shown) => tls.identity(Identity::from_pem(&shown.certificate, shown.key.as_bytes())),
        None => tls,
    };
    // The name in the certificate is not the address: the URI only says where.
    let uri = format!("https://{address}");
    let refused = |source| ConnectError { target: target.clone(), source };
    let endpoint = Endpoint::try_from(uri).map_err(refused)?.tls_config(tls).map_err(refused)?;
    Ok(timed(endpoint))
}

/// A connection that could not be made as a node.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The node has not joined yet.
    #[error("this node has no certificate yet")]
    NoCertificate,
    /// Nobody answers, or somebody else.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// A unix socket at `path` that only its owner may connect to. What a dead process left there is replaced; the socket
/// of a living one is not.
///
/// # Errors
/// `AddrInUse`: another process listens there. `InvalidInput`: the path is too long, or something else is there.
/// Otherwise what the file system says.
pub async fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(refused(format!(
            "{} is longer than {SOCKET_PATH_BYTES_MAX} bytes, the most a socket's path may have: \
             choose a shorter data directory",
            path.display()
        )));
    }
    clear_stale(path).await?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn clear_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(refused(format!("{} is not a socket: move it away", path.display())));
    }
    let answer = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await;
    match answer {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another process listens on {}", path.display()),
        )),
    }
}

fn refused(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

/// The user at the other end of the unix socket that a request came by.
#[must_use]
pub fn peer_uid<T>(request: &tonic::Request<T>) -> Option<u32> {
    let info = request.extensions().get::<UdsConnectInfo>()?;
    info.peer_cred.map(|peer| peer.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_what_they_print() {
        for text in ["unix:/run/w.sock", "127.0.0.1:7400", "[::1]:7400", "node-1.lan:1"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("http://a:1".parse(), Ok(Target::Tcp("a:1".to_owned())));
        for wrong in ["", "a", "a:0", "a:70000", ":1", "unix:w.sock", "a b:1", "[x]:1", "::1:1"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_and_outlives_a_dead_process_only() {
        let dir = std::env::temp_dir().join(format!("warren-wire-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("w.sock");

        let listener = listen_unix(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = listen_unix(&path).await.unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);

        drop(listener);
        assert!(path.exists(), "a dead process leaves its socket behind");
        drop(listen_unix(&path).await.unwrap());

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        let file = listen_unix(&path).await.unwrap_err();
        assert_eq!(file.kind(), io::ErrorKind::InvalidInput);
        let long = dir.join("x".repeat(120));
        assert_eq!(listen_unix(&long).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
