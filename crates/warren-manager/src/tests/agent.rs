//! An agent without containers: it speaks the session as a real one does, and says of its tasks what it is told to say.

use super::site::Site;
use super::soon;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status as Refusal, Streaming};
use warren_core::assignment::{self, Assignments, Want};
use warren_core::converge::Status;
use warren_core::id::TaskId;
use warren_core::node::NodeFacts;
use warren_core::spec::HostName;
use warren_core::task::{End, Phase};
use warren_core::traffic::TrafficView;
use warren_core::units::{Bytes, MilliCpu};
use warren_wire::channel::{Target, connect};
use warren_wire::convert;
use warren_wire::v1::agent_message::Message as FromAgent;
use warren_wire::v1::manager_message::Message as ToAgent;
use warren_wire::v1::sessions_client::SessionsClient;
use warren_wire::v1::{self, AgentMessage, ManagerMessage};

const BEAT: Duration = Duration::from_millis(200);

/// What an agent knows beyond a session.
pub(super) struct Agent {
    pub(super) hello: v1::Hello,
    pub(super) assignments: Assignments,
    pub(super) revision: u64,
    pub(super) statuses: BTreeMap<TaskId, Status>,
    pub(super) view: TrafficView,
    pub(super) seq: u64,
    pub(super) acked: u64,
    /// Messages that came, by kind.
    pub(super) fulls: Vec<v1::Full>,
    pub(super) assigns: usize,
    /// What it is asked about silent nodes.
    pub(super) probes: Vec<v1::Probe>,
    /// What it answers to that.
    pub(super) reaches: bool,
    /// Runs and stops tasks as it is told, at once; otherwise the test does.
    pub(super) obeys: bool,
}

/// An agent with a session.
pub(super) struct Attached {
    pub(super) agent: Agent,
    pub(super) welcome: v1::Welcome,
    pub(super) outbound: mpsc::Sender<AgentMessage>,
    inbound: Streaming<ManagerMessage>,
    next_beat: Instant,
}

/// What a session begins with.
type Answer = Result<tonic::Response<Streaming<ManagerMessage>>, Refusal>;

impl Agent {
    pub(super) fn new(name: &str) -> Self {
        let facts = NodeFacts {
            hostname: HostName::parse(name).unwrap(),
            address: std::net::IpAddr::from([127, 0, 0, 1]),
            port: 0,
            platform: "linux/amd64".to_owned(),
            cpu: MilliCpu(4000),
            memory: Bytes::from_mib(4096),
            runtime: "fake 1".to_owned(),
            version: "0.1.0".to_owned(),
            level: warren_core::level::Level::OURS,
            encryption: warren_core::node::Encryption::default(),
            probe_port: 0,
        };
        let hello = v1::Hello {
            key: format!("key-{name}"),
            boot: 1,
            protocol_min: 1,
            protocol_max: 1,
            ..convert::node::hello(&facts)
        };
        Self {
            hello,
            assignments: Assignments::new(),
            revision: 0,
            statuses: BTreeMap::new(),
            view: TrafficView::default(),
            seq: 0,
            acked: 0,
            fulls: Vec::new(),
            assigns: 0,
            probes: Vec::new(),
            reaches: false,
            obeys: true,
        }
    }

    /// Starts a session; the first status tells all, as to any new leader.
    pub(super) async fn attach(self, site: &Site) -> Attached {
        let mut attached = self.attach_silently(site).await.unwrap();
        let all = attached.agent.statuses.keys().copied().collect();
        attached.send_status(all).await;
        attached
    }

    /// Starts a session and says nothing in it.
    pub(super) async fn attach_silently(mut self, site: &Site) -> Result<Attached, Refusal> {
        self.hello.revision = self.revision;
        self.hello.digest = assignment::digest(&self.assignments).to_vec();
        let begun = Instant::now();
        let (outbound, attached) = loop {
            let (outbound, attached) = self.hello(site).await;
            // As the real one: that its last session has ended is heard within a moment.
            let early = attached.as_ref().is_err_and(|refusal| {
                refusal.message().contains("has a session already")
                    && begun.elapsed() < super::DEADLINE
            });
            if !early {
                break (outbound, attached);
            }
        };
        let mut inbound = attached?.into_inner();
        let first = soon("a welcome", inbound.message()).await?;
        let Some(ToAgent::Welcome(welcome)) = first.and_then(|first| first.message) else {
            panic!("the first message is no welcome");
        };
        Ok(Attached { agent: self, welcome, outbound, inbound, next_beat: Instant::now() })
    }

    /// Says hello, and gives the answer.
    async fn hello(&self, site: &Site) -> (mpsc::Sender<AgentMessage>, Answer) {
        let target = Target::Unix(site.socket().to_owned());
        let channel = connect(&target).await.unwrap();
        let (outbound, queue) = mpsc::channel(64);
        let hello = FromAgent::Hello(self.hello.clone());
        outbound.send(AgentMessage { message: Some(hello) }).await.unwrap();
        let mut client = SessionsClient::new(channel);
        let attached = client.attach(ReceiverStream::new(queue));
        (outbound, soon("an answer to hello", attached).await)
    }

    fn take(&mut self, message: ToAgent) -> Vec<TaskId> {
        match message {
            ToAgent::Welcome(_) => panic!("a second welcome"),
            ToAgent::Full(full) => {
                self.assignments = convert::assignment::parse_all(full.tasks.clone()).unwrap();
                self.revision = full.revision;
                assert_eq!(full.digest, assignment::digest(&self.assignments), "its own digest");
                self.fulls.push(full);
                self.obey()
            }
            ToAgent::Assign(assign) => {
                assert_eq!(assign.applies_to, self.revision, "a chain without gaps");
                assert!(assign.results_in > self.revision, "revisions grow");
                for task in assign.remove {
                    self.assignments.remove(&task.parse().unwrap());
                }
                self.assignments.extend(convert::assignment::parse_all(assign.set).unwrap());
                self.revision = assign.results_in;
                assert_eq!(assign.digest, assignment::digest(&self.assignments), "its own digest");
                self.assigns += 1;
                self.obey()
            }
            ToAgent::Traffic(traffic) => {
                let traffic = convert::traffic::decode(&traffic).unwrap();
                convert::traffic::merge_into(&mut self.view, traffic).unwrap();
                Vec::new()
            }
            ToAgent::StatusAck(ack) => {
                self.acked = self.acked.max(ack.seq);
                Vec::new()
            }
            ToAgent::Probe(probe) => {
                self.probes.push(probe);
                Vec::new()
            }
            ToAgent::BeatAck(_) | ToAgent::Relay(_) => Vec::new(),
        }
    }

    /// Runs what is to run and stops what is to stop. Returns the tasks of which there is news.
    fn obey(&mut self) -> Vec<TaskId> {
        self.statuses.retain(|task, _| self.assignments.contains_key(task));
        if !self.obeys {
            return Vec::new();
        }
        let mut news = Vec::new();
        for (task, assignment) in &self.assignments {
            let status = match assignment.want {
                Want::Run => status(Phase::Running, true),
                Want::Stop => status(Phase::Stopped, false),
                Want::Keep => continue,
            };
            if self.statuses.get(task) != Some(&status) {
                self.statuses.insert(*task, status);
                news.push(*task);
            }
        }
        news
    }
}

pub(crate) fn status(phase: Phase, ready: bool) -> Status {
    Status {
        phase,
        ready,
        healthy: None,
        restarts: 0,
        waiting: false,
        unseen: false,
        detail: String::new(),
        end: phase.is_final().then(End::default),
    }
}

impl Attached {
    /// Lives on until `wanted`: takes what comes, and beats.
    pub(super) async fn until(&mut self, what: &str, wanted: impl Fn(&Agent) -> bool) {
        soon(what, async {
            while !wanted(&self.agent) {
                if let Err(ended) = self.step().await {
                    panic!("the session ended ({ended}) before: {what}");
                }
            }
        })
        .await;
    }

    /// Lives on until `work` is done.
    pub(super) async fn during<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        soon(what, async {
            tokio::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => return done,
                    step = self.step() => {
                        if let Err(ended) = step {
                            panic!("the session ended ({ended}) before: {what}");
                        }
                    }
                }
            }
        })
        .await
    }

    /// Takes the next message, or beats. The error says why the session ended.
    pub(super) async fn step(&mut self) -> Result<(), String> {
        tokio::select! {
            message = self.inbound.message() => {
                let message = message.map_err(|status| status.to_string())?;
                let message = message.ok_or("end of stream")?.message.unwrap();
                self.take(message).await;
            }
            () = sleep_until(self.next_beat) => self.beat().await,
        }
        Ok(())
    }

    /// The next message, as it came.
    pub(super) async fn message(&mut self) -> Option<ToAgent> {
        let message = soon("a message", self.inbound.message()).await;
        message.ok().flatten().and_then(|message| message.message)
    }

    async fn take(&mut self, message: ToAgent) {
        let changed = matches!(message, ToAgent::Full(_) | ToAgent::Assign(_));
        let traffic = matches!(message, ToAgent::Traffic(_));
        if let ToAgent::Probe(v1::Probe { node_id, asked_ms, .. }) = &message {
            let (node_id, reached) = (node_id.clone(), self.agent.reaches);
            let asked_ms = *asked_ms;
            self.send(FromAgent::Probed(v1::Probed { node_id, asked_ms, reached })).await;
        }
        let news = self.agent.take(message);
        if changed {
            let digest = assignment::digest(&self.agent.assignments).to_vec();
            let revision = self.agent.revision;
            let applied = v1::Assigned { revision, digest, held: String::new() };
            self.send(FromAgent::Applied(applied)).await;
        }
        if traffic {
            let epoch = self.agent.view.epoch;
            self.send(FromAgent::TrafficApplied(v1::TrafficApplied { epoch })).await;
        }
        if !news.is_empty() {
            self.send_status(news).await;
        }
    }

    pub(super) async fn beat(&mut self) {
        self.next_beat = Instant::now() + BEAT;
        let beat = v1::Beat {
            digest: assignment::digest(&self.agent.assignments).to_vec(),
            revision: self.agent.revision,
            traffic_epoch: self.agent.view.epoch,
            cpu_milli: 0,
            memory_bytes: 0,
            problems: Vec::new(),
        };
        self.send(FromAgent::Beat(beat)).await;
    }

    /// Says how a task does.
    pub(super) async fn say(&mut self, task: TaskId, status: Status) {
        self.agent.statuses.insert(task, status);
        self.send_status(vec![task]).await;
    }

    /// Says how tasks do, in one new message.
    pub(super) async fn send_status(&mut self, tasks: Vec<TaskId>) {
        self.agent.seq += 1;
        let seq = self.agent.seq;
        self.send_status_as(seq, tasks).await;
    }

    pub(super) async fn send_status_as(&mut self, seq: u64, tasks: Vec<TaskId>) {
        let render = |task: TaskId| convert::task::render(task, &self.agent.statuses[&task]);
        let tasks = tasks.into_iter().map(render).collect();
        self.send(FromAgent::Status(v1::Status { seq, tasks })).await;
    }

    pub(super) async fn send(&self, message: FromAgent) {
        // The session may be gone; the test sees that where it listens.
        let sent = self.outbound.send(AgentMessage { message: Some(message) });
        drop(soon("room for a message", sent).await);
    }

    /// Cuts the session.
    pub(super) fn cut(self) -> Agent {
        self.agent
    }
}
