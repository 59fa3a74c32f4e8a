//! openraft's messages by [`Post`], and what is done with them where they arrive.

use crate::campaign::{self, Ballot, Elections};
use crate::post::{self, Post, VERSION};
use crate::raft::Shared;
use crate::transport::{Rpc, TransportError};
use crate::types::{LogId, Peer, TypeConfig};
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::iter::{once, repeat};
use std::time::Duration;
use tokio::time::Instant;
use warren_core::id::NodeId;

/// A message that means nothing here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Another format than this build speaks.
    #[error(
        "the message has format {found:?} and this build speaks {VERSION}: run the same version on all managers"
    )]
    Version {
        /// What it has; none if it is empty.
        found: Option<u8>,
    },
    /// It cannot be read.
    #[error("the message cannot be read: {0}")]
    Meaning(String),
}

/// How long a manager that cannot be reached is left alone.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(500);

fn pauses(heartbeat: Duration) -> impl Iterator<Item = Duration> + Send + 'static {
    once(heartbeat).chain(repeat(UNREACHABLE_PAUSE))
}

/// Makes a [`Link`] to each other manager.
pub(crate) struct Links {
    pub(crate) me: NodeId,
    /// Between two signs of life of a leader.
    pub(crate) heartbeat: Duration,
    pub(crate) post: Post,
    pub(crate) elections: Elections,
}

/// The way to one other manager.
pub(crate) struct Link {
    me: NodeId,
    node: NodeId,
    heartbeat: Duration,
    address: String,
    post: Post,
    elections: Elections,
}

/// Handles a message from another manager and returns the bytes of the answer.
///
/// # Errors
/// The message cannot be read.
pub(crate) async fn receive(
    shared: &Shared,
    rpc: Rpc,
    message: &[u8],
) -> Result<Vec<u8>, ReceiveError> {
    let agreed = |node| {
        let raft = shared.core.metrics();
        let raft = raft.borrow();
        let peer = raft.membership_config.membership().get_node(&node);
        peer.map(|peer| peer.address.clone())
    };
    let body = match shared.post.open(message, agreed)? {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal),
    };
    match rpc {
        Rpc::Append => {
            let request: AppendEntriesRequest<TypeConfig> = post::read(body)?;
            // Its leader lives: many entries may take the disk longer than a silence that means something.
            if shared.core.metrics().borrow().vote == request.vote {
                shared.elections.lock().heard(Instant::now());
            }
            let answer = shared.core.append_entries(request).await;
            if !matches!(answer, Ok(AppendEntriesResponse::HigherVote(_)) | Err(_)) {
                shared.elections.lock().heard(Instant::now());
            }
            shared.post.answer(&answer)
        }
        Rpc::Snapshot => {
            let request: InstallSnapshotRequest<TypeConfig> = post::read(body)?;
            let vote = request.vote;
            let answer = shared.core.install_snapshot(request).await;
            if answer.as_ref().is_ok_and(|answer| vote >= answer.vote) {
                shared.elections.lock().heard(Instant::now());
            }
            shared.post.answer(&answer)
        }
        Rpc::Vote => shared.post.answer(&campaign::vote(shared, post::read(body)?).await),
        Rpc::PreVote => shared.post.answer(&campaign::opinion(shared, &post::read(body)?).await),
        Rpc::Campaign => shared.post.answer(&campaign::campaign(shared, &post::read(body)?).await),
    }
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Link {
        Link {
            me: self.me,
            node: NodeId(target),
            heartbeat: self.heartbeat,
            address: node.address.clone(),
            post: self.post.clone(),
            elections: self.elections.clone(),
        }
    }
}

impl Link {
    async fn call<Q, A, E>(
        &self,
        rpc: Rpc,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, RPCError<u64, Peer, RaftError<u64, E>>>
    where
        Q: Serialize,
        A: DeserializeOwned,
        E: Error + DeserializeOwned,
    {
        let sent = self.post.call(self.node, &self.address, rpc, request, timeout).await;
        let answer: Result<A, RaftError<u64, E>> =
            sent.map_err(|error| self.failed(rpc, &error))?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.node.0, error)))
    }

    /// openraft takes a log that became shorter for an error of its own, and stops: it is not told. Nothing more is
    /// said to that manager.
    fn has_lost<E: Error>(&self, entry: u64) -> RPCError<u64, Peer, E> {
        let node = self.node;
        tracing::error!(
            %node,
            address = self.address,
            entry,
            "a manager has lost entries that it had acknowledged"
        );
        self.post.starts().has_lost(node.0, entry);
        let why = format!("its log ends before entry {entry}, which it had acknowledged");
        let address = self.address.clone();
        RPCError::Unreachable(Unreachable::new(&TransportError::Unreachable { node, address, why }))
    }

    fn failed<E: Error>(&self, rpc: Rpc, error: &TransportError) -> RPCError<u64, Peer, E> {
        match error {
            TransportError::Unreachable { .. } => RPCError::Unreachable(Unreachable::new(error)),
            TransportError::Refused { .. } => RPCError::Network(NetworkError::new(error)),
            TransportError::Timeout { timeout, .. } => {
                let action = match rpc {
                    Rpc::Append => RPCTypes::AppendEntries,
                    Rpc::Vote | Rpc::PreVote | Rpc::Campaign => RPCTypes::Vote,
                    Rpc::Snapshot => RPCTypes::InstallSnapshot,
                };
                let (id, target, timeout) = (self.me.0, self.node.0, *timeout);
                RPCError::Timeout(Timeout { action, id, target, timeout })
            }
        }
    }
}

impl RaftNetwork<TypeConfig> for Link {
    /// A connection that broke is made anew before the leader's time is over; who cannot be reached is left alone for
    /// longer.
    fn backoff(&self) -> Backoff {
        Backoff::new(pauses(self.heartbeat))
    }

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, Peer, RaftError<u64>>> {
        let (node, term) = (self.node.0, request.vote.leader_id().term);
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let prev = index(request.prev_log_id);
        let last = index(request.entries.last().map(|entry| entry.log_id)).or(prev);
        // What it acknowledges while this is on its way says nothing of when it was answered.
        let before = self.post.starts().acknowledged(node, term);
        let answer = self.call(Rpc::Append, &request, option.hard_ttl()).await?;
        let has = match answer {
            AppendEntriesResponse::Success => last,
            AppendEntriesResponse::PartialSuccess(upto) => index(upto),
            AppendEntriesResponse::Conflict => match before {
                Some(entry) if prev <= before => return Err(self.has_lost(entry)),
                Some(_) | None => None,
            },
            AppendEntriesResponse::HigherVote(_) => None,
        };
        if let Some(entry) = has {
            self.post.starts().acknowledges(node, term, entry);
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<u64>,
        RPCError<u64, Peer, RaftError<u64, InstallSnapshotError>>,
    > {
        let answer: InstallSnapshotResponse<u64> =
            self.call(Rpc::Snapshot, &request, option.hard_ttl()).await?;
        let taken = request.done && answer.vote == request.vote;
        if let (true, Some(upto)) = (taken, request.meta.last_log_id) {
            let term = request.vote.leader_id().term;
            self.post.starts().acknowledges(self.node.0, term, upto.index);
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Peer, RaftError<u64>>> {
        let vacant = self.elections.lock().is_vacant(request.vote.leader_id.term);
        self.call(Rpc::Vote, &Ballot { request, vacant }, option.hard_ttl()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TIMERS;

    #[test]
    fn a_connection_that_breaks_once_does_not_end_the_time_of_a_leader() {
        let mut pauses = pauses(TIMERS.heartbeat);
        let since_heard = TIMERS.heartbeat + pauses.next().unwrap();
        assert!(since_heard < TIMERS.election_min);
        assert_eq!(pauses.take(9).min(), Some(UNREACHABLE_PAUSE), "it may be gone for long");
    }
}
