//! DNS over TCP: messages with their length in front, one after the other.
//!
//! The accept loop is ours because hickory's accepts without limit.

use crate::server::Shared;
use crate::slow::{self, Transport};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The most connections of one listener. TCP is for the rare answer that UDP cannot carry, and
/// each connection holds a few KiB.
const CONNECTIONS_MAX: usize = 128;
/// The most connections of one client: half, so that no single one keeps all others out.
const CONNECTIONS_OF_CLIENT_MAX: usize = CONNECTIONS_MAX / 2;
/// How long a connection may be silent, or an answer unread: RFC 7766 asks for seconds, and 128
/// silent strangers must not keep others out for long.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// The longest query over TCP. No client of ours sends more than a question and a few options.
const QUERY_BYTES_MAX: u16 = 4096;
/// The most queries of one connection, so that clients move on and none stays for ever.
const QUERIES_MAX: usize = 1000;
/// How long to wait after a refused accept, which means that file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves one listener.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut clients: BTreeMap<IpAddr, usize> = BTreeMap::new();
    loop {
        // The next one is accepted only when there is room for it; until then the kernel holds it.
        let accepted = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accepted => accepted,
        };
        while let Some(ended) = connections.try_join_next() {
            if let Ok(client) = ended {
                forget(&mut clients, client);
            }
        }
        match accepted {
            Ok((stream, client)) => {
                let count = clients.entry(client.ip()).or_default();
                if *count >= CONNECTIONS_OF_CLIENT_MAX {
                    tracing::debug!(%client, "too many dns connections of one client");
                    continue;
                }
                *count += 1;
                let shared = shared.clone();
                connections.spawn(async move {
                    if let Err(error) = serve(&shared, stream, client).await {
                        tracing::debug!(%error, %client, "dns connection ended");
                    }
                    drop(permit);
                    client.ip()
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a dns connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn forget(clients: &mut BTreeMap<IpAddr, usize>, client: IpAddr) {
    if let Some(count) = clients.get_mut(&client) {
        *count -= 1;
        if *count == 0 {
            clients.remove(&client);
        }
    }
}

async fn serve(shared: &Shared, mut stream: TcpStream, client: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let first = RandomState::new().hash_one(client);
    for draw in (0..QUERIES_MAX as u64).map(|count| first.wrapping_add(count)) {
        let length = timeout(IDLE_MAX, stream.read_u16()).await??;
        if length > QUERY_BYTES_MAX {
            let message = format!("a query of {length} bytes is above {QUERY_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut query = vec![0; usize::from(length)];
        timeout(IDLE_MAX, stream.read_exact(&mut query)).await??;
        let answer = {
            let permit = shared.slow.acquire().await;
            let answer = slow::respond(shared, query, client, Transport::Tcp, draw).await;
            drop(permit);
            answer
        };
        // What is no query ends the connection: its next bytes mean nothing.
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [length.to_be_bytes().as_slice(), &answer].concat();
        timeout(IDLE_MAX, stream.write_all(&framed)).await??;
    }
    Ok(())
}
