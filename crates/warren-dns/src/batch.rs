//! Many packets with one system call.

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// How many packets are read at once: enough that the calls cost little beside the answers, few
/// enough that the first of them does not wait long for the last (64 · 2 µs).
pub(crate) const PACKETS_MAX: usize = 64;
/// The longest query that is read from UDP: what any client may send without fragments. A question
/// with its longest name is a quarter of it.
pub(crate) const QUERY_BYTES_MAX: usize = 1232;
/// The longest answer that is written in place.
pub(crate) const ANSWER_BYTES_MAX: usize = 512;

/// The buffers of one reading.
pub(crate) struct Batch {
    receiving: MultiHeaders<SockaddrStorage>,
    sending: MultiHeaders<SockaddrStorage>,
    /// One byte longer than the longest query, so that a longer one is seen as such.
    queries: Vec<[u8; QUERY_BYTES_MAX + 1]>,
    received: Vec<(usize, Option<SockaddrStorage>)>,
    answers: Vec<[u8; ANSWER_BYTES_MAX]>,
    /// The length of each answer, and where it goes.
    lengths: Vec<usize>,
    receivers: Vec<Option<SockaddrStorage>>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            receiving: MultiHeaders::preallocate(PACKETS_MAX, None),
            sending: MultiHeaders::preallocate(PACKETS_MAX, None),
            queries: vec![[0; QUERY_BYTES_MAX + 1]; PACKETS_MAX],
            received: Vec::with_capacity(PACKETS_MAX),
            answers: vec![[0; ANSWER_BYTES_MAX]; PACKETS_MAX],
            lengths: Vec::with_capacity(PACKETS_MAX),
            receivers: Vec::with_capacity(PACKETS_MAX),
        }
    }

    /// Waits for a packet and reads what has arrived, at most [`PACKETS_MAX`] packets.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn receive(&mut self, socket: RawFd) -> io::Result<()> {
        self.received.clear();
        let mut slices: Vec<_> =
            self.queries.iter_mut().map(|query| [IoSliceMut::new(query)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let messages = recvmmsg(socket, &mut self.receiving, slices.iter_mut(), flags, None)?;
        self.received.extend(messages.map(|message| (message.bytes, message.address)));
        Ok(())
    }

    /// Hands each packet with its sender to `answer`, which returns the length of the answer that
    /// it wrote, or `None` where there is none, or not yet; then sends the answers. Returns how many
    /// could not be sent.
    pub(crate) fn answer(
        &mut self,
        socket: RawFd,
        mut answer: impl FnMut(&[u8], SocketAddr, &mut [u8; ANSWER_BYTES_MAX]) -> Option<usize>,
    ) -> usize {
        self.lengths.clear();
        self.receivers.clear();
        for (query, (length, sender)) in self.queries.iter().zip(&self.received) {
            let Some(client) = sender.as_ref().and_then(socket_address) else { continue };
            if *length > QUERY_BYTES_MAX {
                continue;
            }
            let out = &mut self.answers[self.lengths.len()];
            if let Some(length) = answer(&query[..*length], client, out) {
                self.lengths.push(length);
                self.receivers.push(*sender);
            }
        }
        self.send(socket)
    }

    fn send(&mut self, socket: RawFd) -> usize {
        let mut lost = 0;
        let mut next = 0;
        while next < self.lengths.len() {
            let answers = self.answers.iter().zip(&self.lengths).skip(next);
            let slices: Vec<_> =
                answers.map(|(answer, length)| [IoSlice::new(&answer[..*length])]).collect();
            let receivers = &self.receivers[next..];
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(socket, &mut self.sending, &slices, receivers, [], flags) {
                Ok(sent) => next += sent.count(),
                // The first of them cannot be sent (no route, a full buffer): the next ones may.
                Err(_) => {
                    lost += 1;
                    next += 1;
                }
            }
        }
        lost
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    let address =
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))?;
    // An answer to port 0 cannot be delivered.
    (address.port() != 0).then_some(address)
}
