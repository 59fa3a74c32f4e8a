//! One connection of the port, as its listener and the gate see it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A connection: where it comes from, what is done on it, and how it is cut.
#[derive(Clone, Debug)]
pub struct Line {
    peer: SocketAddr,
    usage: Arc<Mutex<Usage>>,
    cut: CancellationToken,
}

/// What every call on the port brings with it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its connection.
    pub line: Line,
    /// The certificate that was shown on it, in DER, which the authority has signed; a stranger shows none.
    pub shown: Option<Arc<[u8]>>,
}

#[derive(Debug)]
struct Usage {
    /// Calls that are under way.
    open: usize,
    /// Whether there has been a call.
    called: bool,
    /// Since when nothing is under way.
    since: Instant,
}

/// How a connection rests on which nothing is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rest {
    /// For how long.
    pub lasts: Duration,
    /// Whether there has been a call before.
    pub called: bool,
}

/// A call that is under way on a connection, until it is dropped.
#[derive(Debug)]
pub struct Busy(Line);

impl Line {
    /// A connection from `peer` that has just been made.
    #[must_use]
    pub fn new(peer: SocketAddr, now: Instant) -> Self {
        let usage = Arc::new(Mutex::new(Usage { open: 0, called: false, since: now }));
        Self { peer, usage, cut: CancellationToken::new() }
    }

    /// Where it comes from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// A call begins.
    #[must_use]
    pub fn call(&self) -> Busy {
        let mut usage = self.usage();
        usage.called = true;
        usage.open += 1;
        drop(usage);
        Busy(self.clone())
    }

    /// How it rests; `None` while a call is under way.
    #[must_use]
    pub fn rest(&self, now: Instant) -> Option<Rest> {
        let usage = self.usage();
        let lasts = now.saturating_duration_since(usage.since);
        (usage.open == 0).then_some(Rest { lasts, called: usage.called })
    }

    /// Ends it.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// What is cancelled once it is to end.
    #[must_use]
    pub fn ends(&self) -> &CancellationToken {
        &self.cut
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut usage = self.0.usage();
        usage.open -= 1;
        usage.since = Instant::now();
    }
}
