//! The service that agents attach to. It reads the Hello and hands the stream to the hub; nothing else happens here.

use crate::access::Caller;
use crate::hub::{Arrival, Event};
use crate::leader::Term;
use crate::metrics;
use crate::vault::Vault;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};
use warren_raft::{Leadership, Raft};
use warren_wire::channel::SESSION_BYTES_MAX;
use warren_wire::status::LEADER;
use warren_wire::v1::agent_message::Message;
use warren_wire::v1::sessions_server::SessionsServer;
use warren_wire::v1::{self, AgentMessage, ManagerMessage};

/// How long an agent may take to say Hello: a connection that says nothing is cut.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a registration may take: a little more than Raft gives a proposal.
const ADMIT_TIMEOUT: Duration = Duration::from_secs(15);
/// The `Sessions` service of this manager, whether it leads or not.
#[derive(Clone)]
pub struct Sessions {
    pub(crate) term: watch::Receiver<Option<Term>>,
    pub(crate) raft: Raft,
    pub(crate) vault: Vault,
}

impl Sessions {
    /// The service, to be added to a server.
    #[must_use]
    pub fn into_server(self) -> SessionsServer<Self> {
        SessionsServer::new(self)
            .max_decoding_message_size(SESSION_BYTES_MAX)
            .max_encoding_message_size(SESSION_BYTES_MAX)
    }

    /// The refusal of a manager that does not lead: its metadata say where the leader is, if that is known.
    fn not_leading(&self) -> Status {
        metrics::session_refused("not_leading");
        let status = self.raft.status();
        let Leadership::Follower { leader } = status.leadership else {
            return Status::unavailable("there is no leader at the moment: try again shortly");
        };
        let mut refusal =
            Status::failed_precondition(format!("this manager does not lead, {leader} does"));
        let address = status.voters.get(&leader).map(MetadataValue::try_from);
        if let Some(Ok(address)) = address {
            refusal.metadata_mut().insert(LEADER, address);
        }
        refusal
    }
}

#[tonic::async_trait]
impl v1::sessions_server::Sessions for Sessions {
    type AttachStream = BoxStream<'static, Result<ManagerMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let hub = self.term.borrow().as_ref().map(|term| term.hub.clone());
        let Some(hub) = hub else { return Err(self.not_leading()) };
        let caller = request.extensions().get::<Caller>().cloned();
        let mut inbound = request.into_inner();
        let first = timeout(HELLO_TIMEOUT, inbound.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("the first message of a session is hello"));
        };
        if let Some(Caller::Node { key, .. }) = caller
            && hello.key != key.to_string()
        {
            return Err(Status::permission_denied(
                "the session is of another node than the certificate: was the data directory copied?",
            ));
        }
        let (reply, admitted) = oneshot::channel();
        let arrival = Event::Arrival(Box::new(Arrival { hello, inbound, reply }));
        // The hub may end at any point: another leader is asked then.
        hub.send(arrival).await.map_err(|_| self.not_leading())?;
        // Boxed so that the future of each call stays small.
        let admitted = timeout(ADMIT_TIMEOUT, admitted).boxed().await;
        let admitted =
            admitted.map_err(|_| Status::unavailable("the registration took too long"))?;
        let outbound = admitted.map_err(|_| self.not_leading())??;
        Ok(Response::new(outbound.boxed()))
    }

    async fn fetch_file(
        &self,
        request: Request<v1::FetchFileRequest>,
    ) -> Result<Response<v1::FetchFileResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let request = request.into_inner();
        let (state, own) = (Arc::clone(&self.raft.state().borrow()), self.raft.status().node);
        let content = self.vault.hand_out(&state, caller.as_ref(), own, &request);
        metrics::file_fetched(content.is_ok());
        let mut content = content?;
        Ok(Response::new(v1::FetchFileResponse { content: std::mem::take(&mut *content) }))
    }
}
