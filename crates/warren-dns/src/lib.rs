//! Answers DNS questions from a published view.
//!
//! A question for an address of the zone, which is nearly every question, is answered in place:
//! read off the socket with its neighbours, looked up, drawn, written into a buffer and sent back
//! with theirs, on a thread that does nothing else, without a lock. Everything else (other types, other
//! names, TCP, odd packets) takes the slow path through hickory, with a limit on how much of it
//! runs at once. What to answer is decided by [`warren_core::answer`] in both.
//!
//! # What this crate must not know
//! Raft, sessions, containers, where views come from and who waits for an acknowledgement.

mod batch;
mod error;
mod fast;
mod forward;
mod limit;
pub mod metrics;
mod options;
mod publish;
mod server;
mod slow;
mod tcp;
mod udp;

pub use error::BindError;
pub use options::{Options, upstreams_of};
pub use publish::{Readiness, Views};
pub use server::Server;
