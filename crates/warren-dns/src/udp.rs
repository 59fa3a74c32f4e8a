//! One UDP socket.

use crate::batch::{Batch, PACKETS_MAX};
use crate::fast::{self, Outcome};
use crate::limit::{Limiter, Verdict};
use crate::metrics::{Dropped, Tally};
use crate::server::Shared;
use crate::slow;
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

thread_local! {
    /// The buffers of the thread's current reading: they are used between two waits only, so that
    /// the sockets that a thread serves share them.
    static BATCH: RefCell<Batch> = RefCell::new(Batch::new());
}

/// Answers what arrives at one socket.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    limiter: Limiter,
    /// Seeds the draws, one after the other.
    draw: u64,
    tally: Tally,
    /// Queries on the slow path; at most as many as there are permits.
    slow: JoinSet<()>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, socket: UdpSocket) -> Self {
        let rate = shared.options.foreign_answers_per_second;
        let limiter = Limiter::new(rate, shared.options.workers.get(), Instant::now());
        let draw = RandomState::new().hash_one(0);
        let socket = Arc::new(socket);
        Self { shared, socket, limiter, draw, tally: Tally::new(), slow: JoinSet::new() }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(_) = self.slow.join_next(), if !self.slow.is_empty() => continue,
                ready = self.socket.readable() => {
                    if let Err(error) = ready {
                        tracing::error!(%error, "dns socket is lost, its queries go unanswered");
                        return;
                    }
                }
            }
            // A full batch says that more is waiting: others of this thread come first.
            if self.read_and_answer() == PACKETS_MAX {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads one batch and answers it. Returns how many packets it had.
    fn read_and_answer(&mut self) -> usize {
        let fd = self.socket.as_raw_fd();
        let socket = self.socket.clone();
        BATCH.with_borrow_mut(|batch| {
            match socket.try_io(Interest::READABLE, || batch.receive(fd)) {
                Ok(count) => {
                    let now = Instant::now();
                    let lost = self.answer(batch, now);
                    self.tally.dropped(Dropped::Unsendable, lost);
                    self.tally.flush(now.elapsed());
                    count
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => {
                    tracing::debug!(%error, "cannot read a dns query");
                    0
                }
            }
        })
    }

    fn answer(&mut self, batch: &mut Batch, now: Instant) -> usize {
        let published = self.shared.published.load();
        batch.answer(self.socket.as_raw_fd(), |packet, client, out| {
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
            let recursion = self.shared.forwarder.is_some();
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
        self.slow.spawn(async move {
            let answer = slow::respond(&shared, packet, client, slow::Transport::Udp, draw).await;
            if let Some(answer) = answer
                && let Err(error) = socket.send_to(&answer, client).await
            {
                tracing::debug!(%error, %client, "cannot send a dns answer");
            }
            drop(permit);
        });
    }
}
