//! The way from one manager to another: bytes there, bytes back. What they mean is this crate's business; how they
//! travel is the transport's.

mod local;

pub use local::{LocalNetwork, Weather};

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use warren_core::id::NodeId;

/// What a message asks for. A transport may give each kind its own channel, so that a snapshot does not delay votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rpc {
    /// Take these log entries, or just hear that there is a leader.
    Append,
    /// Vote for me.
    Vote,
    /// Take this piece of a snapshot.
    Snapshot,
    /// Would you let me stand for election? Changes nothing where it arrives.
    PreVote,
    /// I lead, and I would like you to: begin an election now.
    Campaign,
}

impl Rpc {
    /// The word for it, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Vote => "vote",
            Self::Snapshot => "snapshot",
            Self::PreVote => "pre_vote",
            Self::Campaign => "campaign",
        }
    }
}

/// Why a message did not get an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// The other end cannot be reached; it is asked again after a pause.
    #[error("{node} at {address:?} cannot be reached: {why}")]
    Unreachable {
        /// Who.
        node: NodeId,
        /// Where it should be.
        address: String,
        /// What happened.
        why: String,
    },
    /// No answer in time.
    #[error("{node} did not answer within {} ms", timeout.as_millis())]
    Timeout {
        /// Who.
        node: NodeId,
        /// How long it had.
        timeout: Duration,
    },
    /// It answered with an error.
    #[error("{node} refused: {why}")]
    Refused {
        /// Who.
        node: NodeId,
        /// What it said.
        why: String,
    },
}

/// The answer to a message, in time.
pub type Reply<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, TransportError>> + Send + 'a>>;

/// Whether somebody may be there.
pub type Presence<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Carries messages to other managers. The other end hands them to [`crate::Raft::receive`].
pub trait Transport: Send + Sync + 'static {
    /// Sends `body` to `node` at `address` and waits at most `timeout` for the answer.
    ///
    /// A message is at most a few MiB. It may arrive twice or late; Raft does not mind.
    fn call<'a>(
        &'a self,
        node: NodeId,
        address: &'a str,
        rpc: Rpc,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Reply<'a>;

    /// Whether `node` may be running at `address`. Only where the machine there answers that nobody listens is it sure
    /// that it does not; silence for as long as `timeout` is no answer.
    fn listens<'a>(&'a self, node: NodeId, address: &'a str, timeout: Duration) -> Presence<'a>;
}

/// No other managers: for a cluster of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Transport for Alone {
    fn call<'a>(
        &'a self,
        node: NodeId,
        address: &'a str,
        _rpc: Rpc,
        _body: Vec<u8>,
        _timeout: Duration,
    ) -> Reply<'a> {
        let address = address.to_owned();
        let why = "this manager runs alone".to_owned();
        Box::pin(async move { Err(TransportError::Unreachable { node, address, why }) })
    }

    fn listens<'a>(&'a self, _node: NodeId, _address: &'a str, _timeout: Duration) -> Presence<'a> {
        Box::pin(std::future::ready(true))
    }
}
