//! The way between managers: Raft's messages by gRPC, over TLS with each node's own certificate. Snapshots go by a
//! connection of their own, so that their pieces do not hold up heartbeats.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use warren_core::id::NodeId;
use warren_raft::{Presence, Raft, Reply, Rpc, Transport, TransportError};
use warren_wire::channel::{Dialer, Target};
use warren_wire::status::EPOCH;
use warren_wire::trust::node_name;
use warren_wire::v1::raft_client::RaftClient;
use warren_wire::v1::raft_server::RaftServer;
use warren_wire::v1::{self, RaftMessage};

/// The largest message: 256 entries of a log whose batches have at most 1 MiB are cut by bytes to less than half of it,
/// and a piece of a snapshot has 1 MiB.
const RAFT_BYTES_MAX: usize = 64 << 20;

/// Which connection a message takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Lane {
    Log,
    Snapshot,
}

/// The connections to the other managers.
pub struct Peers {
    dialer: Dialer,
    channels: Mutex<BTreeMap<(NodeId, Lane), (String, Channel)>>,
    /// The newest epoch that one of them said it is in when it refused to speak with this manager.
    left_behind: watch::Sender<u32>,
}

impl Peers {
    /// By these connections.
    #[must_use]
    pub fn new(dialer: Dialer) -> Arc<Self> {
        let left_behind = watch::channel(0).0;
        Arc::new(Self { dialer, channels: Mutex::default(), left_behind })
    }

    /// The newest epoch in which another manager goes on without this one; 0 where none has said so.
    pub fn left_behind(&self) -> watch::Receiver<u32> {
        self.left_behind.subscribe()
    }

    fn hear_refusal(&self, status: &Status) {
        let told = status.metadata().get(EPOCH).and_then(|epoch| epoch.to_str().ok()?.parse().ok());
        if let Some(told) = told {
            self.left_behind.send_if_modified(|known| {
                let news = *known < told;
                *known = told.max(*known);
                news
            });
        }
    }

    fn channel(&self, node: NodeId, address: &str, lane: Lane) -> Result<Channel, String> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, channel)) = channels.get(&(node, lane))
            && known == address
        {
            return Ok(channel.clone());
        }
        let target = Target::Tcp(address.to_owned());
        let endpoint = self.dialer.endpoint(&target, &node_name(&node.to_string()));
        let channel = endpoint.map_err(|error| error.to_string())?.connect_lazy();
        channels.insert((node, lane), (address.to_owned(), channel.clone()));
        Ok(channel)
    }

    /// The next message makes a new connection, with the newest certificate.
    fn forget(&self, node: NodeId, lane: Lane) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(&(node, lane));
    }
}

impl Transport for Peers {
    fn call<'a>(
        &'a self,
        node: NodeId,
        address: &'a str,
        rpc: Rpc,
        body: Vec<u8>,
        limit: Duration,
    ) -> Reply<'a> {
        Box::pin(async move {
            let lane = if rpc == Rpc::Snapshot { Lane::Snapshot } else { Lane::Log };
            let unreachable =
                |why| TransportError::Unreachable { node, address: address.to_owned(), why };
            let channel = self.channel(node, address, lane).map_err(unreachable)?;
            let mut client = RaftClient::new(channel)
                .max_decoding_message_size(RAFT_BYTES_MAX)
                .max_encoding_message_size(RAFT_BYTES_MAX);
            let message = RaftMessage { payload: body, ..RaftMessage::default() };
            let sent = async {
                match rpc {
                    Rpc::Append => client.append(message).await,
                    Rpc::Vote => client.vote(message).await,
                    Rpc::PreVote => client.pre_vote(message).await,
                    Rpc::Campaign => client.campaign(message).await,
                    Rpc::Snapshot => client.install_snapshot(message).await,
                }
            };
            match timeout(limit, sent).await {
                Ok(Ok(answer)) => Ok(answer.into_inner().payload),
                Ok(Err(status)) => Err(match status.code() {
                    Code::PermissionDenied => {
                        self.hear_refusal(&status);
                        TransportError::Refused { node, why: status.message().to_owned() }
                    }
                    Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Unauthenticated => {
                        self.forget(node, lane);
                        unreachable(status.message().to_owned())
                    }
                    _ => TransportError::Refused { node, why: status.message().to_owned() },
                }),
                Err(_) => Err(TransportError::Timeout { node, timeout: limit }),
            }
        })
    }

    fn listens<'a>(&'a self, _node: NodeId, address: &'a str, limit: Duration) -> Presence<'a> {
        Box::pin(async move {
            let tried = timeout(limit, TcpStream::connect(address)).await;
            !matches!(tried, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
        })
    }
}

/// The other end: hands what other managers send to Raft. Who may send is checked before.
#[derive(Clone)]
pub struct RaftPort {
    raft: Raft,
}

impl RaftPort {
    /// The service in front of `raft`, to be added to a server.
    #[must_use]
    pub fn server(raft: Raft) -> RaftServer<Self> {
        RaftServer::new(Self { raft })
            .max_decoding_message_size(RAFT_BYTES_MAX)
            .max_encoding_message_size(RAFT_BYTES_MAX)
    }

    async fn take(
        &self,
        rpc: Rpc,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        let answer = self.raft.receive(rpc, &request.into_inner().payload).await;
        let payload = answer.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(RaftMessage { payload, ..RaftMessage::default() }))
    }
}

#[tonic::async_trait]
impl v1::raft_server::Raft for RaftPort {
    async fn append(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        self.take(Rpc::Append, request).await
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        self.take(Rpc::Vote, request).await
    }

    async fn pre_vote(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        self.take(Rpc::PreVote, request).await
    }

    async fn campaign(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        self.take(Rpc::Campaign, request).await
    }

    async fn install_snapshot(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        self.take(Rpc::Snapshot, request).await
    }
}
