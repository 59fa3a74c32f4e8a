//! Whether a port accepts a connection.

use std::net::SocketAddr;
use tokio::net::TcpStream;

pub(super) async fn look(target: SocketAddr) -> Result<(), String> {
    connect(target).await.map(drop)
}

pub(super) async fn connect(target: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(target).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("nothing listens on {target}"),
        _ => format!("connecting to {target}: {error}"),
    })
}
