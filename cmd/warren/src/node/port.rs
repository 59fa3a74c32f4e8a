//! The one port of a node: TLS for everything that other machines say to a manager. A worker only proves there that it
//! lives.

use crate::failure::{Exit, Failure, Outcome};
use crate::tasks::{TaskKind, Tasks};
use nix::sys::resource::{Resource, getrlimit};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use warren_manager::access::{Limits, Line, Visitors};
use warren_manager::metrics;
use warren_wire::trust::{Credentials, HANDSHAKE_TIMEOUT, Hot, TrustError, acceptor};

/// The pause after the kernel refuses to give a connection, as where the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that have shaken hands and are about to end.
const PROVED_QUEUED: usize = 16;

/// How often those are looked for that rest for too long.
const LOOK: Duration = Duration::from_secs(1);

/// A connection that is served, counted until it ends.
pub struct Secured {
    stream: TlsStream<TcpStream>,
    line: Line,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
}

/// Everybody who is connected, for all that come and go.
#[derive(Clone)]
struct Hall(Arc<Mutex<Visitors>>);

impl Hall {
    fn all(&self) -> MutexGuard<'_, Visitors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among everybody who is connected.
struct Place {
    hall: Hall,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hall.all().leave(self.id);
    }
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
    let hall = Hall(Arc::new(Mutex::new(Visitors::new(Limits::for_files(files_max())))));
    let door = Door { acceptor, served };
    let mut renewed = credentials;
    // As many as there may be guests: what is not shaken yet is one.
    let mut newcomers = JoinSet::new();
    let mut turned_away = Turned::default();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            Some(_) = newcomers.join_next(), if !newcomers.is_empty() => {}
            _ = look.tick() => {
                turned_away.tell(&hall);
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let entered = hall.all().enter(from, Instant::now());
                    match entered {
                        Ok((id, line)) => {
                            let place = Place { hall: hall.clone(), id };
                            newcomers.spawn(door.clone().receive(stream, line, place));
                        }
                        Err(full) => {
                            metrics::connections_cut(full.word(), 1);
                            turned_away.note(from, full.word());
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Lets other nodes see that this one lives, which serves them nothing: every connection ends with its handshake.
pub fn prove(
    listener: TcpListener,
    credentials: watch::Receiver<Option<Credentials>>,
    tasks: &mut Tasks,
) {
    let (shaken, mut proved) = mpsc::channel(PROVED_QUEUED);
    tasks.spawn(TaskKind::Port, |stop| accept(listener, credentials, shaken, stop));
    // It ends with the port.
    tasks.spawn_simple(TaskKind::Remote, |_| async move { while proved.recv().await.is_some() {} });
}

/// Connections that were not taken since it was told last: one line a second says it, whatever is thrown at the port.
#[derive(Default)]
struct Turned {
    count: usize,
    last: Option<(SocketAddr, &'static str)>,
}

impl Turned {
    fn note(&mut self, from: SocketAddr, full: &'static str) {
        self.count += 1;
        self.last = Some((from, full));
    }

    fn tell(&mut self, hall: &Hall) {
        let (idle, displaced, (nodes, guests)) = {
            let mut all = hall.all();
            (all.cut_idle(Instant::now()), all.take_displaced(), all.count())
        };
        metrics::connections_cut("idle", idle);
        metrics::connections_cut("displaced", displaced);
        metrics::connections(nodes, guests);
        if let Some((from, full)) = self.last.take() {
            let count = std::mem::take(&mut self.count);
            tracing::warn!(%from, full, count, nodes, guests, "too many connections, new ones are closed");
        }
    }
}

/// So many files may this process have open.
fn files_max() -> u64 {
    // Where the kernel does not say, it is what most shells give.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// Where connections become secure.
#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    served: mpsc::Sender<io::Result<Secured>>,
}

impl Door {
    async fn receive(self, stream: TcpStream, line: Line, place: Place) {
        let from = line.peer();
        // Small messages are not held back; where the kernel refuses that, they are only later.
        let _ = stream.set_nodelay(true);
        // Until it is through it counts as one that rests: half a handshake makes room for a new one.
        let shaken = tokio::select! {
            () = line.ends().cancelled() => return,
            shaken = timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => {
                if stream.get_ref().1.peer_certificates().is_some() {
                    place.hall.all().is_node(place.id);
                }
                let cut = Box::pin(line.ends().clone().cancelled_owned());
                // A server that has ended takes no more.
                let _ = self.served.send(Ok(Secured { stream, line, cut, _place: place })).await;
            }
            Ok(Err(error)) => tracing::debug!(%from, %error, "no TLS with a connection"),
            Err(_) => tracing::debug!(%from, "a connection did not finish its handshake"),
        }
    }
}

mod io_impl {
    //! A [`Secured`] is its stream, until it is cut.

    use super::Secured;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tonic::transport::server::Connected;
    use warren_manager::access::Remote;

    impl Connected for Secured {
        type ConnectInfo = Remote;

        fn connect_info(&self) -> Remote {
            let shown = self.stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            Remote { line: self.line.clone(), shown: shown.map(|shown| shown.as_ref().into()) }
        }
    }

    impl AsyncRead for Secured {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
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
