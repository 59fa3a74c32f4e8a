//! The server: its sockets and the loops that serve them.

use crate::error::BindError;
use crate::forward::Forwarder;
use crate::options::Options;
use crate::publish::{Published, Publisher, Readiness, Views, Word};
use crate::tcp;
use crate::udp::Workers;
use arc_swap::{ArcSwap, ArcSwapOption};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warren_core::id::TaskId;
use warren_core::time::millis;
use warren_core::traffic::TrafficView;

/// How many queries may be on the slow path at a time, over all sockets. One takes some tens of
/// microseconds unless it waits for an upstream; above this number clients do better to ask again.
const SLOW_MAX: usize = 256;
/// How many TCP connections may wait to be accepted.
const BACKLOG: i32 = 128;
/// How often to try for a port that is free for both UDP and TCP, where any port will do.
const FREE_PORT_TRIES: usize = 16;
/// The receive buffer to ask for: a burst of some thousand queries while both cores are busy. The
/// kernel gives less where `net.core.rmem_max` is lower.
const RECEIVE_BYTES: usize = 1 << 20;
/// How long to wait before an address that could not be taken is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(5);

/// Answers DNS questions about the cluster, from a view that it is kept up to date with.
pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    publisher: Publisher,
    acked: watch::Receiver<u64>,
    later: watch::Receiver<Vec<SocketAddr>>,
}

/// What all sockets share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) published: ArcSwap<Published>,
    pub(crate) forwarder: ArcSwapOption<Forwarder>,
    pub(crate) slow: Arc<Semaphore>,
    /// Until when what is published may be answered from, in milliseconds of a clock that began at `begun`.
    until: AtomicU64,
    begun: std::time::Instant,
}

struct Listener {
    address: SocketAddr,
    tcp: TcpListener,
    udp: Vec<Arc<Socket>>,
}

impl Server {
    /// Takes the addresses. Nothing is answered before [`Server::run`].
    ///
    /// # Errors
    /// The first address that cannot be listened on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(options: Options, views: Views, readiness: Readiness) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(options.listen.len());
        for address in &options.listen {
            listeners.push(Listener::bind(*address, options.workers.get())?);
        }
        let shared = Arc::new(Shared::new(options, &views.borrow(), &readiness.borrow()));
        shared.forward_around(&addresses_of(&listeners));
        let (acked, watching) = watch::channel(0);
        let word = Word::Always;
        let publisher = Publisher { views, readiness, word, shared: shared.clone(), acked };
        let (_, later) = watch::channel(Vec::new());
        Ok(Self { shared, listeners, publisher, acked: watching, later })
    }

    /// Has answers fall back to what is stable, as [`TrafficView::cut_off`] says, before the first
    /// word of a leader and from the moment in `word` on, until it moves.
    #[must_use]
    pub fn trusting(mut self, word: watch::Receiver<Option<Instant>>) -> Self {
        self.publisher.word = Word::Until(word);
        self
    }

    /// The addresses that are listened on, in the order of the options, with their ports.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        addresses_of(&self.listeners)
    }

    /// Has the server listen at further addresses as they become known, as that of the node's
    /// bridge, which the cluster gives it. One that cannot be taken is tried again.
    #[must_use]
    pub fn also_at(mut self, addresses: watch::Receiver<Vec<SocketAddr>>) -> Self {
        self.later = addresses;
        self
    }

    /// The newest traffic epoch that is answered from; 0 before the server runs.
    #[must_use]
    pub fn acked(&self) -> watch::Receiver<u64> {
        self.acked.clone()
    }

    /// Answers until `shutdown`, then closes the sockets. Queries on the slow path are dropped.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut loops = JoinSet::new();
        let mut workers = Workers::default();
        let mut bound = self.addresses();
        for listener in self.listeners {
            listener.serve(&self.shared, &mut workers, &mut loops, &shutdown);
        }
        loops.spawn(self.publisher.run(shutdown.clone()));
        loop {
            let wanted = self.later.borrow_and_update().clone();
            for address in &wanted {
                if bound.contains(address) {
                    continue;
                }
                match Listener::bind(*address, self.shared.options.workers.get()) {
                    Ok(listener) => {
                        bound.push(*address);
                        self.shared.forward_around(&bound);
                        listener.serve(&self.shared, &mut workers, &mut loops, &shutdown);
                    }
                    Err(error) => tracing::error!(%error, "cannot listen for dns queries"),
                }
            }
            let missing = wanted.iter().any(|address| !bound.contains(address));
            tokio::select! {
                () = shutdown.cancelled() => break,
                Ok(()) = self.later.changed() => {}
                () = tokio::time::sleep(BIND_PAUSE), if missing => {}
            }
        }
        // This wakes the workers, also where this future is dropped before it comes here.
        drop(workers);
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a dns loop had ended before the server did");
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        view: &TrafficView,
        readiness: &BTreeMap<TaskId, bool>,
    ) -> Self {
        let published = ArcSwap::from_pointee(Published::new(view, readiness, None));
        let slow = Arc::new(Semaphore::new(SLOW_MAX));
        let (forwarder, until) = (ArcSwapOption::empty(), AtomicU64::new(u64::MAX));
        let begun = Instant::now().into_std();
        Self { options, published, forwarder, slow, until, begun }
    }

    /// What is published may be answered from until then; for ever where no moment is given.
    pub(crate) fn holds_until(&self, ends: Option<Instant>) {
        let ends = ends.map(|at| millis(at.into_std().saturating_duration_since(self.begun)));
        self.until.store(ends.unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Whether what is published may be answered from at `now`. A process that was not given the time for a while finds
    /// questions in its queues before it has found out that it is too late to answer them so.
    pub(crate) fn holds(&self, now: std::time::Instant) -> bool {
        millis(now.saturating_duration_since(self.begun)) < self.until.load(Ordering::Acquire)
    }

    /// Forwards to the upstreams that are not at our own addresses: a question must not come back.
    pub(crate) fn forward_around(&self, ours: &[SocketAddr]) {
        let (others, selves): (Vec<_>, Vec<_>) =
            self.options.upstreams.iter().partition(|upstream| !leads_to(**upstream, ours));
        if !selves.is_empty() {
            tracing::warn!(upstreams = ?selves, "upstreams that are this server are not asked");
        }
        self.forwarder.store(Forwarder::new(&others).map(Arc::new));
    }
}

impl Listener {
    fn bind(address: SocketAddr, workers: usize) -> Result<Self, BindError> {
        let mut tries = if address.port() == 0 { FREE_PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            match Self::bind_once(address, workers) {
                Err(error) if tries > 0 && error.source.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
    }

    /// TCP comes first: its port is not shared, so that a second server on this address is refused.
    fn bind_once(address: SocketAddr, workers: usize) -> Result<Self, BindError> {
        let refuse = |transport| move |source| BindError { address, transport, source };
        let tcp = tcp_listener(address).map_err(refuse("tcp"))?;
        let address = tcp.local_addr().map_err(refuse("tcp"))?;
        let udp: io::Result<Vec<_>> = (0..workers).map(|_| udp_socket(address)).collect();
        Ok(Self { address, tcp, udp: udp.map_err(refuse("udp"))? })
    }

    fn serve(
        self,
        shared: &Arc<Shared>,
        workers: &mut Workers,
        loops: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        for socket in self.udp {
            workers.start(shared, socket, loops);
        }
        loops.spawn(tcp::run(shared.clone(), self.tcp, shutdown.clone()));
    }
}

fn addresses_of(listeners: &[Listener]) -> Vec<SocketAddr> {
    listeners.iter().map(|listener| listener.address).collect()
}

fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for connections that its predecessor closed.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn udp_socket(address: SocketAddr) -> io::Result<Arc<Socket>> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    socket.bind(&address.into())?;
    Ok(Arc::new(socket))
}

/// A socket that may be bound to an address before the machine has it.
fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    Ok(socket)
}

/// Whether a question sent to `upstream` would come back to one of our addresses.
fn leads_to(upstream: SocketAddr, ours: &[SocketAddr]) -> bool {
    ours.iter().any(|address| {
        let everywhere = address.ip().is_unspecified() && upstream.ip().is_loopback();
        address.port() == upstream.port() && (address.ip() == upstream.ip() || everywhere)
    })
}
