//! Requests into a node: to resolve an image, to read logs, to run a command in a task. They travel in the node's
//! session beside everything else, without getting in its way: requests have a lane of their own that is filled no
//! faster than the node takes them, and the node sends no more replies than it has credit for.

use crate::leader::Term;
use crate::metrics;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use warren_core::State;
use warren_core::id::NodeId;
use warren_core::observed::Observed;
use warren_core::spec::{Image, PinnedImage, PullPolicy};
use warren_raft::Raft;
use warren_wire::v1::manager_message::Message;
use warren_wire::v1::relay::Request;
use warren_wire::v1::relay_reply::Reply;
use warren_wire::v1::{self, ManagerMessage};

/// Replies that a node may send before its caller has taken any: 64 log lines or chunks of 64 KiB bound a relay's
/// memory
/// to 4 MiB, and keep a round trip of 10 ms busy at 400 MiB/s.
pub(crate) const CREDIT: u32 = 64;
/// What fits between hub and caller: the credit, and the news that the session is lost.
const REPLIES_QUEUED: usize = CREDIT as usize + 1;
/// Requests into nodes that are open at once, on this manager.
pub(crate) const RELAYS_MAX: usize = 1_024;
/// How long a request may wait for its turn in a node's lane: a node that takes nothing for so long is stuck.
const LANE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node may take to resolve an image: a registry may be slow, and the caller waits.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(120);
/// Nodes that are asked for an image, one after the other. An image that three do not find is missing.
const RESOLVE_NODES_MAX: usize = 3;

/// Why a request into a node was not answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayError {
    /// Sessions are with the leader.
    #[error("this manager does not lead: ask the leader")]
    NotLeading,
    /// The node has no session.
    #[error("{node} is not connected to the leader: look at `warren node ls`")]
    NotConnected {
        /// Which.
        node: NodeId,
    },
    /// No node can be asked.
    #[error("no node is up, active and connected: look at `warren node ls`")]
    NoNode,
    /// Too many requests are open.
    #[error("{RELAYS_MAX} requests into nodes are open: end some, or try again later")]
    Busy,
    /// The session ended before the answer did.
    #[error("the connection to {node} was lost before it had answered: try again")]
    Lost {
        /// Which.
        node: NodeId,
    },
    /// The node did not take the request, or did not answer it, in time.
    #[error("{node} did not answer within {} s", after.as_secs())]
    Late {
        /// Which.
        node: NodeId,
        /// How long it had.
        after: Duration,
    },
    /// The node answered with an error.
    #[error("{message}")]
    Refused {
        /// Which.
        node: NodeId,
        /// The gRPC code that the caller is to get.
        code: i32,
        /// What the node said.
        message: String,
    },
}

/// Asks nodes. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    pub(crate) term: watch::Receiver<Option<Term>>,
    pub(crate) raft: Raft,
}

/// What the hub gives to the caller of a request.
pub(crate) struct Opened {
    pub(crate) id: u64,
    pub(crate) node: NodeId,
    pub(crate) lane: mpsc::Sender<ManagerMessage>,
    pub(crate) replies: mpsc::Receiver<Result<Reply, RelayError>>,
}

impl Relay {
    /// Has a node say what `image` means now. Nodes that run the image already are asked first, then others, until one
    /// answers.
    ///
    /// # Errors
    /// No node could be asked, or the last one that was asked refused.
    pub async fn resolve(
        &self,
        image: &Image,
        pull: PullPolicy,
    ) -> Result<PinnedImage, RelayError> {
        let nodes = {
            let term = self.term.borrow();
            let term = term.as_ref().ok_or(RelayError::NotLeading)?;
            let observed = term.observed.borrow();
            candidates(&self.raft.state().borrow(), &observed, image)
        };
        let mut last = RelayError::NoNode;
        for node in nodes {
            match self.resolve_on(node, image, pull).await {
                Ok(pinned) => return Ok(pinned),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn resolve_on(
        &self,
        node: NodeId,
        image: &Image,
        pull: PullPolicy,
    ) -> Result<PinnedImage, RelayError> {
        let pull = match pull {
            PullPolicy::Missing => v1::PullPolicy::Missing,
            PullPolicy::Always => v1::PullPolicy::Always,
            PullPolicy::Never => v1::PullPolicy::Never,
        };
        let ask = v1::ResolveImage { image: image.to_string(), pull: pull.into() };
        let mut replies = self.open(node, "resolve", Request::Resolve(ask)).await?;
        let reply = timeout(RESOLVE_TIMEOUT, replies.next()).await;
        match reply.map_err(|_| RelayError::Late { node, after: RESOLVE_TIMEOUT })? {
            Some(Ok(Reply::Pinned(pinned))) => Ok(PinnedImage(pinned)),
            Some(Err(error)) => Err(error),
            Some(Ok(Reply::Log(_) | Reply::Exec(_) | Reply::Error(_) | Reply::End(_))) | None => {
                Err(RelayError::Lost { node })
            }
        }
    }

    /// Reads the output of tasks of `node`.
    ///
    /// # Errors
    /// The node cannot be asked.
    pub async fn logs(&self, node: NodeId, ask: v1::RelayLogs) -> Result<RelayReplies, RelayError> {
        self.open(node, "logs", Request::Logs(ask)).await
    }

    /// Runs a command in a task of `node`.
    ///
    /// # Errors
    /// The node cannot be asked.
    pub async fn exec(
        &self,
        node: NodeId,
        start: v1::ExecStart,
    ) -> Result<(RelayInput, RelayReplies), RelayError> {
        let start = v1::ExecRequest { message: Some(v1::exec_request::Message::Start(start)) };
        let replies = self.open(node, "exec", Request::Exec(start)).await?;
        let (id, lane) = (replies.id, replies.lane.clone());
        Ok((RelayInput { id, node, lane }, replies))
    }

    async fn open(
        &self,
        node: NodeId,
        kind: &'static str,
        request: Request,
    ) -> Result<RelayReplies, RelayError> {
        let hub = self.term.borrow().as_ref().map(|term| term.hub.clone());
        let hub = hub.ok_or(RelayError::NotLeading)?;
        let (reply, opened) = oneshot::channel();
        let asked = hub.send(crate::hub::Event::Open { node, reply });
        asked.await.map_err(|_| RelayError::NotLeading)?;
        let opened = opened.await.map_err(|_| RelayError::NotLeading)??;
        metrics::relay_opened(kind);
        let Opened { id, node, lane, replies } = opened;
        push(&lane, node, id, request).await?;
        push(&lane, node, id, Request::Credit(v1::RelayCredit { replies: CREDIT })).await?;
        Ok(RelayReplies { id, node, lane, replies, taken: 0, ended: false })
    }
}

/// The nodes to ask for `image`, best first.
fn candidates(state: &State, observed: &Observed, image: &Image) -> Vec<NodeId> {
    let connected =
        |node: NodeId| observed.nodes.get(&node).is_some_and(|observed| observed.connected);
    let mut having = BTreeSet::new();
    for service in state.services().filter(|service| service.spec.template.image == *image) {
        having.extend(state.tasks_of(service.id).filter(|t| t.is_live()).map(|task| task.node));
    }
    let open = state.nodes().filter(|node| node.is_open() && connected(node.id));
    let mut nodes: Vec<_> = open.map(|node| (!having.contains(&node.id), node.id)).collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|(_, node)| node).take(RESOLVE_NODES_MAX).collect()
}

async fn push(
    lane: &mpsc::Sender<ManagerMessage>,
    node: NodeId,
    id: u64,
    request: Request,
) -> Result<(), RelayError> {
    let message = message(id, request);
    match timeout(LANE_TIMEOUT, lane.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(RelayError::Lost { node }),
        Err(_) => Err(RelayError::Late { node, after: LANE_TIMEOUT }),
    }
}

fn message(id: u64, request: Request) -> ManagerMessage {
    let relay = v1::Relay { id, request: Some(request) };
    ManagerMessage { message: Some(Message::Relay(relay)) }
}

/// More of a request, as a command's input. Dropping it ends nothing: [`RelayReplies`] does.
pub struct RelayInput {
    id: u64,
    node: NodeId,
    lane: mpsc::Sender<ManagerMessage>,
}

impl RelayInput {
    /// Sends more, as fast as the node takes it.
    ///
    /// # Errors
    /// The session is lost, or the node takes nothing.
    pub async fn send(&self, more: v1::ExecRequest) -> Result<(), RelayError> {
        push(&self.lane, self.node, self.id, Request::Exec(more)).await
    }
}

/// The replies to a request. Dropping it tells the node to stop.
pub struct RelayReplies {
    id: u64,
    node: NodeId,
    lane: mpsc::Sender<ManagerMessage>,
    replies: mpsc::Receiver<Result<Reply, RelayError>>,
    /// Replies taken since the node last got credit.
    taken: u32,
    ended: bool,
}

impl RelayReplies {
    /// The node that answers.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The next reply: a pinned image, a log line or a piece of output, or why there is no more. `None` after the last.
    /// Cancelling loses no reply.
    pub async fn next(&mut self) -> Option<Result<Reply, RelayError>> {
        if self.ended {
            return None;
        }
        let node = self.node;
        self.give_credit().await;
        match self.replies.recv().await {
            Some(Ok(Reply::End(_))) => {
                self.ended = true;
                None
            }
            Some(Ok(Reply::Error(v1::RelayError { code, message }))) => {
                self.ended = true;
                Some(Err(RelayError::Refused { node, code, message }))
            }
            Some(Ok(reply @ (Reply::Pinned(_) | Reply::Log(_) | Reply::Exec(_)))) => {
                self.taken += 1;
                Some(Ok(reply))
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None => {
                self.ended = true;
                Some(Err(RelayError::Lost { node }))
            }
        }
    }

    async fn give_credit(&mut self) {
        if self.taken < CREDIT / 2 {
            return;
        }
        let credit = Request::Credit(v1::RelayCredit { replies: self.taken });
        match push(&self.lane, self.node, self.id, credit).await {
            Ok(()) => self.taken = 0,
            // The replies end by themselves when the session does.
            Err(error) => tracing::debug!(node = %self.node, %error, "credit was not taken"),
        }
    }
}

/// The open requests. Owned by the hub.
#[derive(Default)]
pub(crate) struct Relays {
    last: u64,
    open: BTreeMap<u64, Open>,
}

struct Open {
    node: NodeId,
    replies: mpsc::Sender<Result<Reply, RelayError>>,
}

impl Relays {
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn open(
        &mut self,
        node: NodeId,
        lane: mpsc::Sender<ManagerMessage>,
    ) -> Result<Opened, RelayError> {
        if self.open.len() >= RELAYS_MAX {
            return Err(RelayError::Busy);
        }
        self.last += 1;
        let (sender, replies) = mpsc::channel(REPLIES_QUEUED);
        self.open.insert(self.last, Open { node, replies: sender });
        metrics::relays(self.open.len());
        Ok(Opened { id: self.last, node, lane, replies })
    }

    /// Hands a reply of `node` on. Returns what the node is to be told: to stop, where nobody listens any more.
    pub(crate) fn reply(&mut self, node: NodeId, reply: v1::RelayReply) -> Option<ManagerMessage> {
        let id = reply.id;
        let cancel = || Some(message(id, Request::Cancel(v1::RelayCancel {})));
        let Some(open) = self.open.get(&id).filter(|open| open.node == node) else {
            return cancel();
        };
        let reply = reply.reply?;
        let last = matches!(reply, Reply::Pinned(_) | Reply::Error(_) | Reply::End(_));
        let sent = open.replies.try_send(Ok(reply));
        if let Err(mpsc::error::TrySendError::Full(_)) = &sent {
            tracing::warn!(%node, id, "a node sent more replies than it had credit for");
        }
        if last || sent.is_err() {
            self.close(id);
        }
        if sent.is_err() { cancel() } else { None }
    }

    /// Ends the requests into a node whose session is gone.
    pub(crate) fn lost(&mut self, node: NodeId) {
        let lost: Vec<u64> =
            self.open.iter().filter(|(_, open)| open.node == node).map(|(id, _)| *id).collect();
        for id in lost {
            // Dropping the sender says that the session is lost.
            self.close(id);
        }
    }

    /// Takes away the requests that nobody waits for any more, with what to tell their nodes.
    pub(crate) fn sweep(&mut self) -> Vec<(NodeId, ManagerMessage)> {
        let left = self.open.iter().filter(|(_, open)| open.replies.is_closed());
        let left: Vec<_> = left.map(|(id, open)| (*id, open.node)).collect();
        let told = left.into_iter().map(|(id, node)| {
            self.close(id);
            (node, message(id, Request::Cancel(v1::RelayCancel {})))
        });
        told.collect()
    }

    fn close(&mut self, id: u64) {
        self.open.remove(&id);
        metrics::relays(self.open.len());
    }
}
