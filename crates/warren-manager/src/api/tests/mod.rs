//! The API over a real unix socket, on a real Raft of one, with nodes that are played.

mod events;
mod history;
mod reach;
mod rollouts;
mod server;
mod services;
mod watches;

use super::{Api, Backend, Info, Input, Reach, Replies, router, server};
use crate::leader::Published;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use warren_core::command::{Applied, Command, Placing};
use warren_core::id::{Generation, NodeId, RevisionNumber, ServiceId, Slot, TaskId};
use warren_core::lease::Suspect;
use warren_core::observed::Observed;
use warren_core::report::Report;
use warren_core::rollout::Move;
use warren_core::spec::{Image, PinnedImage, PullPolicy};
use warren_core::task::Phase;
use warren_raft::{Alone, Leadership, Options, Raft, SNAPSHOTS, StoreKind, TIMERS};
use warren_wire::channel::{Target, connect, listen_unix};
use warren_wire::status::ApiError;
use warren_wire::v1;
use warren_wire::v1::relay_reply::Reply;

/// Everything in a test must happen within this time, on a machine that does much else.
const SOON: Duration = Duration::from_secs(20);

/// A manager's API in a directory of its own.
struct Cluster {
    raft: Raft,
    api: Api,
    channel: Channel,
    nodes: Arc<Played>,
    published: watch::Sender<Option<Arc<Published>>>,
    shutdown: CancellationToken,
    running: JoinSet<()>,
    target: Target,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            data_dir: dir.path().to_owned(),
            store: StoreKind::Redb,
            node: NodeId(1),
            address: String::new(),
            timers: TIMERS,
            snapshots: SNAPSHOTS,
            transport: Arc::new(Alone),
        };
        let (raft, runner) = warren_raft::start(options).await.unwrap();
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        let stop = shutdown.clone();
        running.spawn(async move { runner.run(stop).await.unwrap() });
        raft.init_single("").await.unwrap();
        let mut leadership = raft.leadership();
        let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
        timeout(SOON, leads).await.unwrap().unwrap();

        let (published, seen) = watch::channel(None);
        let nodes = Arc::new(Played::default());
        let api = Api::new(Backend {
            raft: raft.clone(),
            published: seen,
            reach: Arc::clone(&nodes) as Arc<dyn Reach>,
            info: Info { version: "1.2.3".to_owned(), dns_addresses: watch::channel(Vec::new()).1 },
            vault: crate::Vault::default(),
            shutdown: shutdown.clone(),
        });
        let served = router(&api).unwrap();
        running.spawn(served.health.run(shutdown.clone()));
        let path = dir.path().join("api.sock");
        let incoming = UnixListenerStream::new(listen_unix(&path).await.unwrap());
        let stopped = shutdown.clone().cancelled_owned();
        let serving = server().add_routes(served.routes);
        let serving = serving.serve_with_incoming_shutdown(incoming, stopped);
        running.spawn(async move { serving.await.unwrap() });
        let target = Target::Unix(path);
        let channel = connect(&target).await.unwrap();
        let cluster =
            Self { raft, api, channel, nodes, published, shutdown, running, target, _dir: dir };
        cluster.init().await;
        cluster
    }

    async fn init(&self) {
        let pool = "10.210.0.0/16".parse().unwrap();
        let id = warren_core::ClusterId(7);
        self.propose(Command::InitCluster { id, zone: "warren".to_owned(), pool }).await;
    }

    async fn propose(&self, command: Command) -> Applied {
        self.raft.propose(vec![command]).await.unwrap().remove(0).unwrap()
    }

    /// A node that is up.
    async fn node(&self, name: &str) -> NodeId {
        self.node_with(name, "played").await
    }

    async fn node_with(&self, name: &str, runtime: &str) -> NodeId {
        let hello = v1::Hello {
            key: name.to_owned(),
            hostname: name.to_owned(),
            address: "127.0.0.1".to_owned(),
            platform: "linux/amd64".to_owned(),
            cpu_milli: 4000,
            memory_bytes: 4 << 30,
            runtime: runtime.to_owned(),
            version: "1.2.3".to_owned(),
            feature_level: warren_core::level::Level::OURS.0,
            ..Default::default()
        };
        let command = warren_wire::convert::node::registration(hello).unwrap();
        match self.propose(command).await {
            Applied::Node { id } => id,
            other => panic!("{other:?}"),
        }
    }

    /// A service that exists, without asking the API.
    async fn service(&self, name: &str) -> v1::Service {
        let request =
            v1::CreateServiceRequest { spec: Some(spec(name, "web:v1")), skip_resolve: true };
        self.services().create_service(request).await.unwrap().into_inner().service.unwrap()
    }

    /// A task of `service` in `slot` on `node`, that runs.
    async fn task(&self, service: &v1::Service, slot: u32, node: NodeId) -> TaskId {
        let placements =
            vec![Placing { slot: Slot(slot), revision: RevisionNumber(service.revision), node }];
        let service: ServiceId = service.id.parse().unwrap();
        let expect = self.raft.state().borrow().service(service).unwrap().generation;
        let placed = self.propose(Command::PlaceTasks { service, expect, placements }).await;
        let Applied::Tasks(made) = placed else { panic!("{placed:?}") };
        let edge =
            warren_core::command::TaskEdge { task: made[0], phase: Phase::Running, end: None };
        self.propose(Command::ReportTasks { node, edges: vec![edge] }).await;
        made[0]
    }

    /// Lets the API see what a leader's round would have made of `observed`.
    fn publish(&self, observed: Observed, report: Report) {
        self.publish_with(observed, report, Vec::new());
    }

    fn publish_with(&self, observed: Observed, report: Report, suspects: Vec<Suspect>) {
        let state = Arc::clone(&self.raft.state().borrow());
        let at = self.raft.now();
        self.published.send_replace(Some(Arc::new(Published {
            term: 1,
            state,
            observed,
            report,
            suspects,
            held: None,
            at,
        })));
    }

    fn services(&self) -> v1::services_client::ServicesClient<Channel> {
        v1::services_client::ServicesClient::new(self.channel.clone())
    }

    fn rollouts(&self) -> v1::rollouts_client::RolloutsClient<Channel> {
        v1::rollouts_client::RolloutsClient::new(self.channel.clone())
    }

    /// A client that comes by TCP, so that it is no user of this machine.
    async fn outside(&mut self) -> v1::rollouts_client::RolloutsClient<Channel> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = router(&self.api).unwrap();
        let stopped = self.shutdown.clone().cancelled_owned();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let serving = server().add_routes(served.routes);
        let serving = serving.serve_with_incoming_shutdown(incoming, stopped);
        self.running.spawn(async move { serving.await.unwrap() });
        let target: Target = address.to_string().parse().unwrap();
        v1::rollouts_client::RolloutsClient::new(connect(&target).await.unwrap())
    }

    /// Moves the release of `service` on, as a plan would.
    async fn moved(&self, service: &v1::Service, to: Move) {
        let service: ServiceId = service.id.parse().unwrap();
        let state = Arc::clone(&self.raft.state().borrow());
        let live = state.service(service).unwrap().rollout.clone().unwrap();
        let (rollout, seq) = (live.id, live.seq);
        self.propose(Command::MoveRollout { service, rollout, seq, to }).await;
    }

    /// Accepts what the release of `service` brings in, and ends it.
    async fn accepted(&self, service: &v1::Service) {
        self.moved(service, Move::Accept).await;
        self.moved(service, Move::Finish).await;
    }

    fn tasks(&self) -> v1::tasks_client::TasksClient<Channel> {
        v1::tasks_client::TasksClient::new(self.channel.clone())
    }

    fn nodes(&self) -> v1::nodes_client::NodesClient<Channel> {
        v1::nodes_client::NodesClient::new(self.channel.clone())
    }

    fn events(&self) -> v1::events_client::EventsClient<Channel> {
        v1::events_client::EventsClient::new(self.channel.clone())
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = timeout(SOON, self.running.join_next()).await.unwrap() {
            ended.unwrap();
        }
    }
}

/// A spec with nothing but what it must have.
fn spec(name: &str, image: &str) -> v1::ServiceSpec {
    let template = v1::TaskTemplate { image: image.to_owned(), ..Default::default() };
    v1::ServiceSpec { name: name.to_owned(), template: Some(template), ..Default::default() }
}

fn create(name: &str, image: &str) -> v1::CreateServiceRequest {
    v1::CreateServiceRequest { spec: Some(spec(name, image)), skip_resolve: false }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> ApiError {
    result.unwrap_err().into()
}

async fn next<T>(stream: &mut tonic::Streaming<T>) -> Option<Result<T, ApiError>> {
    let message = timeout(SOON, stream.message()).await.expect("nothing came in time");
    message.map_err(ApiError::from).transpose()
}

/// Nodes as a test wants them.
#[derive(Default)]
struct Played {
    /// Images that nodes know, with what they are pinned to.
    images: Mutex<BTreeMap<String, String>>,
    /// Images that nodes were asked about.
    asked: Mutex<Vec<String>>,
    /// What was asked of nodes' logs, and where to write what they answer.
    logs: Mutex<BTreeMap<NodeId, mpsc::Sender<Result<Reply, ApiError>>>>,
}

impl Played {
    fn has(&self, image: &str, pinned: &str) {
        self.images.lock().unwrap().insert(image.to_owned(), pinned.to_owned());
    }

    fn log(&self, node: NodeId, task: TaskId, line: &str) {
        let task_id = task.to_string();
        let line = v1::LogsResponse { task_id, line: line.into(), ..Default::default() };
        let logs = self.logs.lock().unwrap();
        logs[&node].try_send(Ok(Reply::Log(line))).unwrap();
    }

    fn end_logs(&self) {
        self.logs.lock().unwrap().clear();
    }
}

struct Answers(mpsc::Receiver<Result<Reply, ApiError>>);

struct Echo(mpsc::Sender<Result<Reply, ApiError>>);

#[async_trait]
impl Reach for Played {
    async fn resolve(&self, image: &Image, _: PullPolicy) -> Result<PinnedImage, ApiError> {
        self.asked.lock().unwrap().push(image.to_string());
        let known = self.images.lock().unwrap().get(image.as_str()).cloned();
        let missing = || ApiError::new(Code::NotFound, format!("no such image: {image}"));
        known.map(PinnedImage).ok_or_else(missing)
    }

    async fn logs(&self, node: NodeId, ask: v1::RelayLogs) -> Result<Box<dyn Replies>, ApiError> {
        if !ask.follow && node == NodeId(2) {
            return Err(ApiError::unavailable("n2 is not connected"));
        }
        let (sender, answers) = mpsc::channel(16);
        self.logs.lock().unwrap().insert(node, sender);
        Ok(Box::new(Answers(answers)))
    }

    async fn exec(
        &self,
        _: NodeId,
        start: v1::ExecStart,
    ) -> Result<(Box<dyn Input>, Box<dyn Replies>), ApiError> {
        let (sender, answers) = mpsc::channel(16);
        let greeting = v1::exec_response::Message::Stdout(start.task_id.into_bytes());
        let greeting = v1::ExecResponse { message: Some(greeting) };
        sender.try_send(Ok(Reply::Exec(greeting))).unwrap();
        Ok((Box::new(Echo(sender)), Box::new(Answers(answers))))
    }
}

#[async_trait]
impl Replies for Answers {
    async fn next(&mut self) -> Option<Result<Reply, ApiError>> {
        self.0.recv().await
    }
}

#[async_trait]
impl Input for Echo {
    async fn send(&self, more: v1::ExecRequest) -> Result<(), ApiError> {
        use v1::exec_request::Message as In;
        use v1::exec_response::Message as Out;
        let out = match more.message {
            Some(In::Stdin(piece)) => Out::Stdout(piece),
            Some(In::StdinEnd(_)) => Out::ExitCode(3),
            Some(In::Start(_) | In::Resize(_)) | None => return Ok(()),
        };
        let reply = Reply::Exec(v1::ExecResponse { message: Some(out) });
        self.0.send(Ok(reply)).await.map_err(|_| ApiError::unavailable("gone"))
    }
}

fn generation(service: &v1::Service) -> Generation {
    Generation(service.generation)
}
