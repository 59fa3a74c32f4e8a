//! A manager that says what a test has it say, over the real service on a unix socket.

use super::within;
use std::collections::BTreeMap;
use std::path::Path;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use warren_core::assignment::{Assignment, Assignments, digest};
use warren_core::id::TaskId;
use warren_core::traffic::TrafficView;
use warren_wire::channel::listen_unix;
use warren_wire::convert::{assignment, traffic};
use warren_wire::v1::agent_message::Message as FromAgent;
use warren_wire::v1::manager_message::Message as ToAgent;
use warren_wire::v1::relay::Request as Ask;
use warren_wire::v1::relay_reply::Reply;
use warren_wire::v1::sessions_server::{Sessions, SessionsServer};
use warren_wire::v1::{self, AgentMessage, ManagerMessage};

/// A manager that listens. Dropped, it is gone, and so are its sessions.
pub(crate) struct Manager {
    _server: JoinSet<()>,
    sessions: mpsc::Receiver<Raw>,
}

struct Raw {
    from: Streaming<AgentMessage>,
    to: mpsc::Sender<Result<ManagerMessage, Status>>,
}

struct Service(mpsc::Sender<Raw>);

#[tonic::async_trait]
impl Sessions for Service {
    type AttachStream = ReceiverStream<Result<ManagerMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (to, queue) = mpsc::channel(64);
        let raw = Raw { from: request.into_inner(), to };
        self.0.send(raw).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(queue)))
    }

    /// Has every config but one, and says which is meant.
    async fn fetch_file(
        &self,
        request: Request<v1::FetchFileRequest>,
    ) -> Result<Response<v1::FetchFileResponse>, Status> {
        let v1::FetchFileRequest { task_id, name, version, .. } = request.into_inner();
        if name == "missing" {
            return Err(Status::permission_denied("nobody has it"));
        }
        let content = format!("{task_id} {name} {version}").into_bytes();
        Ok(Response::new(v1::FetchFileResponse { content }))
    }
}

/// One agent's session, with what was heard of it so far.
pub(crate) struct Session {
    raw: Raw,
    pub(crate) hello: v1::Hello,
    pub(crate) statuses: BTreeMap<String, v1::TaskStatus>,
    /// Every phase that was heard of each task, in order.
    pub(crate) phases: BTreeMap<String, Vec<String>>,
    pub(crate) applied: Option<v1::Assigned>,
    pub(crate) beat: Option<v1::Beat>,
    pub(crate) traffic: Option<u64>,
    pub(crate) replies: Vec<v1::RelayReply>,
    pub(crate) acks: bool,
}

impl Manager {
    pub(crate) async fn listen(socket: &Path) -> Self {
        let listener = listen_unix(socket).await.unwrap();
        let (sender, sessions) = mpsc::channel(4);
        let mut server = JoinSet::new();
        let router = Server::builder().add_service(SessionsServer::new(Service(sender)));
        server.spawn(async move {
            router.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        Self { _server: server, sessions }
    }

    /// The next session, up to the agent's Hello.
    pub(crate) async fn accept(&mut self) -> Session {
        within("an agent dials", async {
            let mut raw = self.sessions.recv().await.unwrap();
            let first = raw.from.message().await.unwrap().unwrap().message;
            let Some(FromAgent::Hello(hello)) = first else { panic!("{first:?} is no hello") };
            Session {
                raw,
                hello,
                statuses: BTreeMap::new(),
                phases: BTreeMap::new(),
                applied: None,
                beat: None,
                traffic: None,
                replies: Vec::new(),
                acks: true,
            }
        })
        .await
    }

    /// The next session, welcomed to cluster 7 as n1.
    pub(crate) async fn welcome(&mut self) -> Session {
        let session = self.accept().await;
        session.send(ToAgent::Welcome(welcome(1))).await;
        session
    }
}

/// All of an otherwise empty view, or a change that claims to lead to it.
pub(crate) fn told(epoch: u64, full: bool) -> ToAgent {
    let view = TrafficView { epoch, zone: "warren".to_owned(), ..TrafficView::default() };
    let message = v1::Traffic { full, ..traffic::full(&view, view.digest()) };
    ToAgent::Traffic(traffic::encode(message).remove(0))
}

pub(crate) fn welcome(epoch: u32) -> v1::Welcome {
    v1::Welcome {
        node_id: "n1".to_owned(),
        cluster_id: 7,
        epoch,
        term: 1,
        lease_ms: 3_000,
        subnet: "10.210.0.0/24".to_owned(),
        zone: "warren".to_owned(),
        protocol: 1,
        managers: Vec::new(),
        role: "worker".to_owned(),
    }
}

impl Session {
    pub(crate) async fn send(&self, message: ToAgent) {
        let message = ManagerMessage { message: Some(message) };
        self.raw.to.send(Ok(message)).await.unwrap();
    }

    pub(crate) async fn full(&self, revision: u64, tasks: &[Assignment], allowance: Option<u32>) {
        let all = tasks.iter().map(|task| (task.task, task.clone())).collect();
        self.send(ToAgent::Full(v1::Full {
            revision,
            tasks: tasks.iter().map(assignment::render).collect(),
            digest: digest(&all).to_vec(),
            stop_allowance: allowance,
        }))
        .await;
    }

    /// A change from `old` at `revision` to `new` at the next.
    pub(crate) async fn change(&self, revision: u64, old: &[Assignment], new: &[Assignment]) {
        let all = |tasks: &[Assignment]| -> Assignments {
            tasks.iter().map(|task| (task.task, task.clone())).collect()
        };
        let (old, new) = (all(old), all(new));
        let set = new.values().filter(|task| old.get(&task.task) != Some(task));
        let gone: Vec<&TaskId> = old.keys().filter(|task| !new.contains_key(task)).collect();
        self.send(ToAgent::Assign(v1::Assign {
            applies_to: revision,
            results_in: revision + 1,
            set: set.map(assignment::render).collect(),
            remove: gone.iter().map(ToString::to_string).collect(),
            digest: digest(&new).to_vec(),
        }))
        .await;
    }

    pub(crate) async fn relay(&self, id: u64, request: Ask) {
        self.send(ToAgent::Relay(v1::Relay { id, request: Some(request) })).await;
    }

    pub(crate) async fn credit(&self, id: u64, replies: u32) {
        self.relay(id, Ask::Credit(v1::RelayCredit { replies })).await;
    }

    /// Listens, and answers what must be answered, until `condition` holds.
    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        within(what, async {
            while !condition(self) {
                let message = self.raw.from.message().await.unwrap().expect("the session lasts");
                self.hear(message.message.unwrap()).await;
            }
        })
        .await;
    }

    pub(crate) async fn until_status(
        &mut self,
        task: u64,
        what: &str,
        condition: impl Fn(&v1::TaskStatus) -> bool,
    ) -> v1::TaskStatus {
        let id = format!("t{task}");
        self.until(what, |session| session.statuses.get(&id).is_some_and(&condition)).await;
        self.statuses[&id].clone()
    }

    pub(crate) async fn until_ready(&mut self, task: u64) {
        self.until_status(task, "a task is ready", |status| status.ready).await;
    }

    /// So many tasks, assigned as revision 1, once all of them are ready.
    pub(crate) async fn ready_tasks(&mut self, count: u64) -> Vec<Assignment> {
        let tasks: Vec<_> = (1..=count).map(|id| super::task(id, 5)).collect();
        self.full(1, &tasks, None).await;
        for id in 1..=count {
            self.until_ready(id).await;
        }
        tasks
    }

    /// All replies to a request, up to its last.
    pub(crate) async fn answer(&mut self, id: u64) -> Vec<Reply> {
        let last = |session: &Self| {
            session.replies.iter().any(|reply| {
                let last =
                    matches!(reply.reply, Some(Reply::Pinned(_) | Reply::Error(_) | Reply::End(_)));
                reply.id == id && last
            })
        };
        self.until("a request is answered", last).await;
        let replies = self.replies.iter().filter(|reply| reply.id == id);
        replies.map(|reply| reply.reply.clone().unwrap()).collect()
    }

    async fn hear(&mut self, message: FromAgent) {
        match message {
            FromAgent::Hello(_) => panic!("a second hello"),
            FromAgent::Applied(applied) => self.applied = Some(applied),
            FromAgent::Status(status) => {
                for task in status.tasks {
                    let phases = self.phases.entry(task.task_id.clone()).or_default();
                    if phases.last() != Some(&task.phase) {
                        phases.push(task.phase.clone());
                    }
                    self.statuses.insert(task.task_id.clone(), task);
                }
                if self.acks {
                    self.send(ToAgent::StatusAck(v1::StatusAck { seq: status.seq })).await;
                }
            }
            FromAgent::Beat(beat) => {
                self.beat = Some(beat);
                self.send(ToAgent::BeatAck(v1::BeatAck {
                    lease_ms: 3_000,
                    ..v1::BeatAck::default()
                }))
                .await;
            }
            FromAgent::RelayReply(reply) => self.replies.push(reply),
            FromAgent::Probed(_) => {}
            FromAgent::TrafficApplied(applied) => self.traffic = Some(applied.epoch),
        }
    }
}
