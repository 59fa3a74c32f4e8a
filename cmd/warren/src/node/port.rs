//! The one port of a manager: TLS for everything that other machines say to it.

use crate::failure::{Exit, Failure, Outcome};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use warren_wire::trust::{Credentials, HANDSHAKE_TIMEOUT, Hot, TrustError, acceptor};

/// Handshakes under way at once: each takes a millisecond of a core, and a thousand nodes that come back together are
/// through in seconds. More wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 128;

/// Connections that stand at once: 5,000 nodes, their managers and clients, with room. More are closed at once.
const CONNECTIONS_MAX: usize = 12_000;

/// The pause after the kernel refuses to give a connection, as where the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that is served, counted until it ends.
pub struct Secured {
    stream: TlsStream<TcpStream>,
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// Takes the port.
///
/// # Errors
/// It is taken or not ours, with what to do.
pub async fn bind(address: SocketAddr) -> Outcome<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(Exit::Failed, format!("cannot serve other nodes on {address}: {why}"))
            .hint("choose another address with --listen (port 0 takes a free one)")
    })
}

/// Accepts connections until `shutdown` and hands those on that speak TLS. `credentials` are what it shows; they may be
/// renewed meanwhile.
///
/// # Errors
/// The certificate cannot be used.
pub async fn accept(
    listener: TcpListener,
    credentials: watch::Receiver<Option<Credentials>>,
    served: mpsc::Sender<io::Result<Secured>>,
    shutdown: CancellationToken,
) -> Result<(), TrustError> {
    let Some(mut shown) = credentials.borrow().clone() else {
        return Err(TrustError::Handshake("this node has no certificate".to_owned()));
    };
    let hot = Hot::new(&shown)?;
    let acceptor = acceptor(&shown.authority, hot.clone())?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut renewed = credentials;
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Ok(()) = renewed.changed() => {
                if let Some(new) = renewed.borrow_and_update().clone() {
                    hot.replace(&new)?;
                    shown = new;
                    tracing::debug!(bytes = shown.certificate.len(), "certificate replaced");
                }
            }
            Some(_) = handshakes.join_next(), if !handshakes.is_empty() => {}
            accepted = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => match accepted {
                Ok((stream, from)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        tracing::warn!(%from, max = CONNECTIONS_MAX, "too many connections, one is closed");
                        continue;
                    };
                    let (acceptor, served) = (acceptor.clone(), served.clone());
                    handshakes.spawn(async move {
                        if let Some(stream) = shake(&acceptor, stream, from).await {
                            // A server that has ended takes no more.
                            let _ = served.send(Ok(Secured { stream, _place: place })).await;
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn shake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    from: SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    // Small messages are not held back; where the kernel refuses that, they are only later.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "no TLS with a connection");
            None
        }
        Err(_) => {
            tracing::debug!(%from, "a connection said nothing");
            None
        }
    }
}

mod io_impl {
    //! A [`Secured`] is its stream.

    use super::Secured;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};

    impl Connected for Secured {
        type ConnectInfo = TlsConnectInfo<TcpConnectInfo>;

        fn connect_info(&self) -> Self::ConnectInfo {
            self.stream.connect_info()
        }
    }

    impl AsyncRead for Secured {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Secured {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}
