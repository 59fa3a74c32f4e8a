//! Requests of managers into this node: what an image means, what tasks have written, a command to run in a task. Each
//! has a loop of its own; none gets in the way of the others or of the session.

mod exec;
mod logs;

use crate::metrics;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::timeout;
use tonic::Code;
use warren_core::id::TaskId;
use warren_core::spec::{Image, PullPolicy};
use warren_drivers::runtime::{ContainerRef, ContainerRuntime, RuntimeError};
use warren_wire::v1::relay::Request;
use warren_wire::v1::relay_reply::Reply;
use warren_wire::v1::{self, AgentMessage, agent_message};

/// Requests under way at once. Each may hold 64 chunks of 64 KiB.
const RELAYS_MAX: usize = 64;
/// Input of a command that waits to be read by it: 64 chunks of 64 KiB. A caller that sends more is cut off.
const INPUT_QUEUED: usize = 64;
/// A registry may be slow, and a caller waits.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(90);
/// The most credit a request may have: what a manager gives at once, many times over.
const CREDIT_MAX: usize = 1 << 16;

/// Where a task's container is, for requests that name the task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub(crate) container: ContainerRef,
    /// The task as people call it, as in `web.3`.
    pub(crate) title: String,
    /// The run under way.
    pub(crate) run: Option<u64>,
}

/// All containers of this node, by task.
pub(crate) type Places = watch::Receiver<Arc<BTreeMap<TaskId, Placed>>>;

/// The requests under way.
pub(crate) struct Relays {
    loops: JoinSet<()>,
    open: BTreeMap<u64, Open>,
    places: Places,
}

struct Open {
    handle: AbortHandle,
    credit: Arc<Semaphore>,
    input: Option<mpsc::Sender<v1::ExecRequest>>,
}

/// Where replies of one request go, as fast as the caller takes them.
#[derive(Clone)]
pub(crate) struct Replies {
    id: u64,
    credit: Arc<Semaphore>,
    outbound: mpsc::Sender<AgentMessage>,
}

/// Why a request failed, in a gRPC code and a sentence.
#[derive(Debug)]
pub(crate) struct Failed {
    code: Code,
    message: String,
}

/// Nobody listens any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Relays {
    pub(crate) fn new(places: Places) -> Self {
        Self { loops: JoinSet::new(), open: BTreeMap::new(), places }
    }

    /// Takes a request, or more of one.
    pub(crate) fn handle(
        &mut self,
        relay: v1::Relay,
        runtime: Option<&Arc<dyn ContainerRuntime>>,
        outbound: &mpsc::Sender<AgentMessage>,
    ) {
        let id = relay.id;
        match relay.request {
            Some(Request::Credit(credit)) => {
                if let Some(open) = self.open.get(&id) {
                    let room = CREDIT_MAX.saturating_sub(open.credit.available_permits());
                    open.credit.add_permits((credit.replies as usize).min(room));
                }
            }
            Some(Request::Cancel(_)) => self.close(id),
            Some(Request::Exec(more)) if self.open.contains_key(&id) => {
                self.input(id, more, outbound);
            }
            Some(request @ (Request::Resolve(_) | Request::Logs(_) | Request::Exec(_))) => {
                self.begin(id, request, runtime, outbound);
            }
            // A request of a newer manager.
            None => {
                refuse(outbound, id, Code::Unimplemented, "this node is older than the request")
            }
        }
    }

    fn begin(
        &mut self,
        id: u64,
        request: Request,
        runtime: Option<&Arc<dyn ContainerRuntime>>,
        outbound: &mpsc::Sender<AgentMessage>,
    ) {
        let Some(runtime) = runtime.cloned() else {
            let why = "the container runtime of this node does not answer";
            return refuse(outbound, id, Code::Unavailable, why);
        };
        if self.open.len() >= RELAYS_MAX {
            let why = "this node answers as many requests as it can: end some, or try again later";
            return refuse(outbound, id, Code::ResourceExhausted, why);
        }
        let credit = Arc::new(Semaphore::new(0));
        let replies = Replies { id, credit: Arc::clone(&credit), outbound: outbound.clone() };
        let places = self.places.clone();
        let (input, handle) = match request {
            Request::Resolve(ask) => (None, self.loops.spawn(resolve(ask, runtime, replies))),
            Request::Logs(ask) => {
                let work = logs::run(ask, runtime, places, replies.clone());
                (None, self.loops.spawn(finish(replies, work)))
            }
            Request::Exec(start) => {
                let (input, queue) = mpsc::channel(INPUT_QUEUED);
                let work = exec::run(start, queue, runtime, places, replies.clone());
                (Some(input), self.loops.spawn(finish(replies, work)))
            }
            Request::Cancel(_) | Request::Credit(_) => return,
        };
        self.open.insert(id, Open { handle, credit, input });
        metrics::relays(self.open.len());
    }

    fn input(&mut self, id: u64, more: v1::ExecRequest, outbound: &mpsc::Sender<AgentMessage>) {
        let Some(input) = self.open.get(&id).and_then(|open| open.input.as_ref()) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = input.try_send(more) {
            self.close(id);
            let why = "input comes faster than the command reads it";
            refuse(outbound, id, Code::ResourceExhausted, why);
        }
    }

    fn close(&mut self, id: u64) {
        if let Some(open) = self.open.remove(&id) {
            open.handle.abort();
            metrics::relays(self.open.len());
        }
    }

    /// Ends all requests: their session is gone.
    pub(crate) fn clear(&mut self) {
        self.loops.abort_all();
        self.open.clear();
        metrics::relays(0);
    }

    /// Waits for the next request to end; for ever where there is none.
    pub(crate) async fn ended(&mut self) -> Id {
        match self.loops.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => std::future::pending().await,
        }
    }

    /// Forgets a request that [`ended`](Self::ended).
    pub(crate) fn forget(&mut self, ended: Id) {
        self.open.retain(|_, open| open.handle.id() != ended);
        metrics::relays(self.open.len());
    }
}

impl Replies {
    /// Sends a reply once there is credit for it.
    pub(crate) async fn send(&self, reply: Reply) -> Result<(), Gone> {
        let permit = self.credit.acquire().await.map_err(|_| Gone)?;
        permit.forget();
        self.last(reply).await
    }

    /// Sends the last reply, which takes no credit.
    async fn last(&self, reply: Reply) -> Result<(), Gone> {
        let message = message(self.id, reply);
        self.outbound.send(message).await.map_err(|_| Gone)
    }
}

/// Tells the end of a request.
async fn finish(replies: Replies, work: impl Future<Output = Result<Result<(), Failed>, Gone>>) {
    let last = match work.await {
        Ok(Ok(())) => Reply::End(v1::RelayEnd {}),
        Ok(Err(Failed { code, message })) => {
            Reply::Error(v1::RelayError { code: code.into(), message })
        }
        Err(Gone) => return,
    };
    // Where nobody listens any more there is nobody to tell.
    let _ = replies.last(last).await;
}

async fn resolve(ask: v1::ResolveImage, runtime: Arc<dyn ContainerRuntime>, replies: Replies) {
    let pull = match ask.pull() {
        v1::PullPolicy::Missing => PullPolicy::Missing,
        v1::PullPolicy::Always => PullPolicy::Always,
        v1::PullPolicy::Never => PullPolicy::Never,
    };
    let resolved = async {
        let image = Image::parse(&ask.image)
            .map_err(|error| Failed { code: Code::InvalidArgument, message: error.to_string() })?;
        let asked = timeout(RESOLVE_TIMEOUT, runtime.resolve(&image, pull, None)).await;
        let late = |_| Failed {
            code: Code::DeadlineExceeded,
            message: format!("nobody said within {RESOLVE_TIMEOUT:?} what {image} is"),
        };
        asked.map_err(late)?.map_err(|error| failed(&error))
    };
    let last = match resolved.await {
        Ok(pinned) => Reply::Pinned(pinned.0),
        Err(Failed { code, message }) => {
            Reply::Error(v1::RelayError { code: code.into(), message })
        }
    };
    // Where nobody listens any more there is nobody to tell.
    let _ = replies.last(last).await;
}

fn message(id: u64, reply: Reply) -> AgentMessage {
    let reply = v1::RelayReply { id, reply: Some(reply) };
    AgentMessage { message: Some(agent_message::Message::RelayReply(reply)) }
}

fn refuse(outbound: &mpsc::Sender<AgentMessage>, id: u64, code: Code, why: &str) {
    let error = v1::RelayError { code: code.into(), message: why.to_owned() };
    // Where the session is full of replies already, the caller's own deadline tells it.
    let _ = outbound.try_send(message(id, Reply::Error(error)));
}

/// A runtime's refusal in the code that the caller of the API gets.
fn failed(error: &RuntimeError) -> Failed {
    let code = match error {
        RuntimeError::Unavailable { .. } => Code::Unavailable,
        RuntimeError::NotFound { .. } | RuntimeError::ImageMissing { .. } => Code::NotFound,
        RuntimeError::Conflict { .. } | RuntimeError::Refused { .. } => Code::FailedPrecondition,
        RuntimeError::Timeout { .. } => Code::DeadlineExceeded,
    };
    Failed { code, message: error.to_string() }
}
