//! openraft's messages as bytes, over a [`Transport`]: one format byte, then postcard.

use crate::campaign::{self, Ballot, Elections};
use crate::raft::Shared;
use crate::transport::{Rpc, Transport, TransportError};
use crate::types::{Peer, TypeConfig};
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use warren_core::id::NodeId;

/// The format of messages between managers. Both ends must agree; a newer build keeps the older ones for one version.
const VERSION: u8 = 1;

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

/// Makes a [`Link`] to each other manager.
pub(crate) struct Links {
    pub(crate) me: NodeId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) elections: Elections,
}

/// The way to one other manager.
pub(crate) struct Link {
    me: NodeId,
    node: NodeId,
    address: String,
    transport: Arc<dyn Transport>,
    elections: Elections,
}

/// Handles a message from another manager and returns the bytes of the answer.
///
/// # Errors
/// The message cannot be read.
pub(crate) async fn receive(
    shared: &Shared,
    rpc: Rpc,
    body: &[u8],
) -> Result<Vec<u8>, ReceiveError> {
    match rpc {
        Rpc::Append => {
            let answer = shared.core.append_entries(decode(body)?).await;
            if !matches!(answer, Ok(AppendEntriesResponse::HigherVote(_)) | Err(_)) {
                shared.elections.lock().heard(Instant::now());
            }
            encode(&answer)
        }
        Rpc::Snapshot => {
            let request: InstallSnapshotRequest<TypeConfig> = decode(body)?;
            let vote = request.vote;
            let answer = shared.core.install_snapshot(request).await;
            if answer.as_ref().is_ok_and(|answer| vote >= answer.vote) {
                shared.elections.lock().heard(Instant::now());
            }
            encode(&answer)
        }
        Rpc::Vote => encode(&campaign::vote(shared, decode(body)?).await),
        Rpc::PreVote => encode(&campaign::opinion(shared, &decode(body)?)),
        Rpc::Campaign => encode(&campaign::campaign(shared, &decode(body)?).await),
    }
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Link {
        Link {
            me: self.me,
            node: NodeId(target),
            address: node.address.clone(),
            transport: Arc::clone(&self.transport),
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
        let network = |error: ReceiveError| RPCError::Network(NetworkError::new(&error));
        let body = encode(request).map_err(network)?;
        let answer = self.transport.call(self.node, &self.address, rpc, body, timeout).await;
        let bytes = answer.map_err(|error| self.failed(rpc, &error))?;
        let answer: Result<A, RaftError<u64, E>> = decode(&bytes).map_err(network)?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.node.0, error)))
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
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, Peer, RaftError<u64>>> {
        self.call(Rpc::Append, &request, option.hard_ttl()).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<u64>,
        RPCError<u64, Peer, RaftError<u64, InstallSnapshotError>>,
    > {
        self.call(Rpc::Snapshot, &request, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Peer, RaftError<u64>>> {
        let handed = self.elections.lock().is_handed(request.vote.leader_id.term);
        self.call(Rpc::Vote, &Ballot { request, handed }, option.hard_ttl()).await
    }
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ReceiveError> {
    postcard::to_extend(message, vec![VERSION])
        .map_err(|error| ReceiveError::Meaning(error.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReceiveError> {
    match bytes.split_first() {
        Some((&VERSION, payload)) => {
            postcard::from_bytes(payload).map_err(|error| ReceiveError::Meaning(error.to_string()))
        }
        other => Err(ReceiveError::Version { found: other.map(|(version, _)| *version) }),
    }
}
