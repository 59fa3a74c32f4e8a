//! One UDP socket, served by a thread of its own: a blocking read that returns with all that has
//! arrived costs half of what readiness and a read do.

use crate::batch::Batch;
use crate::fast::{self, Outcome};
use crate::limit::{Limiter, Verdict};
use crate::metrics::{Dropped, Tally};
use crate::server::Shared;
use crate::slow::{self, Transport};
use nix::sys::socket::MsgFlags;
use socket2::Socket;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long to wait after a failed read, so that a socket in trouble does not keep a core busy.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// The threads of all sockets, which end when this is dropped.
#[derive(Default)]
pub(crate) struct Workers {
    stop: CancellationToken,
    sockets: Vec<Arc<Socket>>,
}

impl Workers {
    /// Starts a thread for a socket.
    pub(crate) fn start(
        &mut self,
        shared: &Arc<Shared>,
        socket: Arc<Socket>,
        threads: &mut JoinSet<()>,
    ) {
        let worker = Worker::new(shared.clone(), socket.clone(), Handle::current());
        let stop = self.stop.clone();
        threads.spawn_blocking(move || worker.run(&stop));
        self.sockets.push(socket);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for socket in &self.sockets {
            // Linux wakes who reads, and lets nobody wait again, although a socket without a peer
            // cannot be shut down: that is the error which is left aside.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Answers what arrives at one socket.
struct Worker {
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    limiter: Limiter,
    /// Seeds the draws, one after the other.
    draw: u64,
    tally: Tally,
    /// Queries on the slow path; at most as many as there are permits.
    slow: JoinSet<()>,
    runtime: Handle,
}

impl Worker {
    fn new(shared: Arc<Shared>, socket: Arc<Socket>, runtime: Handle) -> Self {
        let rate = shared.options.foreign_answers_per_second;
        let limiter = Limiter::new(rate, shared.options.workers.get(), Instant::now());
        let draw = RandomState::new().hash_one(0);
        Self { shared, socket, limiter, draw, tally: Tally::new(), slow: JoinSet::new(), runtime }
    }

    fn run(mut self, stop: &CancellationToken) {
        let mut batch = Batch::new();
        loop {
            let received = batch.receive(self.socket.as_raw_fd());
            if stop.is_cancelled() {
                return;
            }
            match received {
                Ok(()) => {
                    let now = Instant::now();
                    let lost = self.answer(&mut batch, now);
                    self.tally.dropped(Dropped::Unsendable, lost);
                    self.tally.flush(now.elapsed());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot read dns queries");
                    std::thread::park_timeout(ERROR_PAUSE);
                }
            }
        }
    }

    fn answer(&mut self, batch: &mut Batch, now: Instant) -> usize {
        let published = self.shared.published.load();
        let socket = self.socket.clone();
        let recursion = self.shared.forwarder.load().is_some();
        let holds = self.shared.holds(now);
        batch.answer(socket.as_raw_fd(), |packet, client, out| {
            if !holds {
                self.tally.dropped(Dropped::Outdated, 1);
                return None;
            }
            let verdict = if self.shared.options.is_local(client.ip()) {
                Verdict::Answer
            } else {
                self.limiter.check(client.ip(), now)
            };
            match verdict {
                Verdict::Answer => {}
                Verdict::Truncate => {
                    self.tally.dropped(Dropped::Limited, 1);
                    return fast::truncated(packet, out);
                }
                Verdict::Drop => {
                    self.tally.dropped(Dropped::Limited, 1);
                    return None;
                }
            }
            self.draw = self.draw.wrapping_add(1);
            match fast::answer(packet, &published, recursion, self.draw, out) {
                Outcome::Answered(answered) => {
                    self.tally.answered(answered);
                    Some(answered.length)
                }
                Outcome::Slow => {
                    self.hand_over(packet, client);
                    None
                }
            }
        })
    }

    /// Gives a packet to the slow path, unless too many are there.
    fn hand_over(&mut self, packet: &[u8], client: SocketAddr) {
        while self.slow.try_join_next().is_some() {}
        let Ok(permit) = self.shared.slow.clone().try_acquire_owned() else {
            self.tally.dropped(Dropped::Busy, 1);
            return;
        };
        let (shared, socket) = (self.shared.clone(), self.socket.clone());
        let (packet, draw) = (packet.to_vec(), self.draw);
        let answering = async move {
            if let Some(answer) = slow::respond(&shared, packet, client, Transport::Udp, draw).await
            {
                let flags = MsgFlags::MSG_DONTWAIT.bits();
                if let Err(error) = socket.send_to_with_flags(&answer, &client.into(), flags) {
                    tracing::debug!(%error, %client, "cannot send a dns answer");
                }
            }
            drop(permit);
        };
        self.slow.spawn_on(answering, &self.runtime);
    }
}
