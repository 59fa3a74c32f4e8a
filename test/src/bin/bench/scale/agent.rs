//! One simulated node: the agent's side of the session over a real connection, with tasks that only say that they run.
//!
//! It keeps its assignments and checks their digest, answers every change, tells how its tasks do until that is
//! acknowledged, and beats. What it leaves out is the node's own work: no runtime, no probes, no resolver; of where
//! traffic goes it takes the bytes and reads the epoch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use prost::bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use warren_core::assignment::{Assignments, Want, digest};
use warren_core::id::TaskId;
use warren_wire::channel::{Dialer, SESSION_BYTES_MAX, Target, connect_stranger};
use warren_wire::convert;
use warren_wire::status::LEADER;
use warren_wire::trust::{Credentials, MANAGER_NAME, NodeKey, random};
use warren_wire::v1::agent_message::Message as Say;
use warren_wire::v1::membership_client::MembershipClient;
use warren_wire::v1::{self, AgentMessage};

use super::fleet::{LABEL, Shared};

/// As the real agent's: the times that statuses are gathered and may be unacknowledged, and the waits before a manager
/// is tried again.
const COALESCE: Duration = Duration::from_millis(200);
const RESEND: Duration = Duration::from_secs(5);
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// As the real agent's: what a manager may take to answer Hello, and after what a session counts as a good one.
const WELCOME_TIME_MAX: Duration = Duration::from_secs(20);
const SETTLED: Duration = Duration::from_secs(10);
/// Longer than a join takes while thousands join.
const JOIN_TIME_MAX: Duration = Duration::from_secs(20);
/// Messages that may wait for the network.
const OUTBOUND: usize = 64;
/// Statuses in one message, as the real agent's.
const STATUSES_AT_ONCE: usize = 1_000;

/// What a manager says, with the bytes of traffic as they came.
#[derive(Clone, PartialEq, prost::Message)]
struct Heard {
    #[prost(oneof = "What", tags = "1, 2, 3, 4, 5, 6, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    Welcome(v1::Welcome),
    #[prost(message, tag = "2")]
    Full(v1::Full),
    #[prost(message, tag = "3")]
    Assign(v1::Assign),
    #[prost(bytes = "bytes", tag = "4")]
    Traffic(Bytes),
    #[prost(message, tag = "5")]
    StatusAck(v1::StatusAck),
    #[prost(message, tag = "6")]
    BeatAck(v1::BeatAck),
    #[prost(message, tag = "7")]
    Relay(v1::Relay),
}

/// What a `Traffic` says of itself; the rest is skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct TrafficHead {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(bool, tag = "8")]
    more: bool,
    #[prost(bytes = "bytes", tag = "9")]
    digest: Bytes,
}

/// See the module's documentation.
pub(super) struct Agent {
    shared: Arc<Shared>,
    dialer: Dialer,
    hello: v1::Hello,
    /// Keeps the certificate in the dialer.
    _credentials: watch::Sender<Option<Credentials>>,
    held: Assignments,
    /// How many of them it has counted.
    assigned: usize,
    revision: u64,
    digest: [u8; 32],
    /// Tasks of which the leader has not been told in this session.
    untold: BTreeSet<TaskId>,
    /// Messages with statuses that are not acknowledged, and what they were about.
    told: Vec<(u64, Vec<TaskId>)>,
    /// Tasks that the leader of this session knows to run.
    acknowledged: BTreeSet<TaskId>,
    /// When what is not acknowledged is told again.
    again_at: Option<Instant>,
    seq: u64,
    /// Whether a leader has welcomed it in this session.
    open: bool,
    traffic_epoch: u64,
}

impl Agent {
    /// Joins as the `number`th, through another manager at each attempt.
    pub(super) async fn join(
        shared: Arc<Shared>,
        number: usize,
        attempt: usize,
    ) -> anyhow::Result<Self> {
        let key = NodeKey::generate()?;
        let mut hello = v1::Hello {
            key: key.fingerprint().to_string(),
            boot: u64::from_le_bytes(random()?),
            protocol_min: 1,
            protocol_max: 1,
            hostname: format!("sim-{number}"),
            address: "127.0.0.1".to_owned(),
            platform: "linux/amd64".to_owned(),
            cpu_milli: 64_000,
            memory_bytes: 256 << 30,
            runtime: "docker simulated".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level: warren_core::level::Level::OURS.0,
            labels: [(LABEL.0.to_owned(), LABEL.1.to_owned())].into(),
            ..v1::Hello::default()
        };
        let request = v1::JoinRequest {
            secret: shared.secret.clone(),
            certificate_request: key.request()?,
            hello: Some(hello.clone()),
        };
        let address = &shared.managers[(number + attempt) % shared.managers.len()];
        let joined = timeout(JOIN_TIME_MAX, async {
            let channel = connect_stranger(address, &shared.authority).await?;
            anyhow::Ok(MembershipClient::new(channel).join(request).await?.into_inner())
        });
        let joined = joined.await.context("no answer to a join")??;
        hello.cluster_id = joined.cluster_id;
        hello.epoch = joined.epoch;
        let shown = key.credentials(shared.authority.clone(), joined.certificate);
        let (credentials, receiver) = watch::channel(Some(shown));
        Ok(Self {
            dialer: Dialer::new(receiver),
            shared,
            hello,
            _credentials: credentials,
            held: Assignments::new(),
            assigned: 0,
            revision: 0,
            digest: digest(&Assignments::new()),
            untold: BTreeSet::new(),
            told: Vec::new(),
            acknowledged: BTreeSet::new(),
            again_at: None,
            seq: 0,
            open: false,
            traffic_epoch: 0,
        })
    }

    /// Keeps a session, and looks for the leader as the real agent does.
    pub(super) async fn run(mut self) {
        let (mut wait, mut turn, mut leader) = (RETRY.0, 0_usize, None::<String>);
        loop {
            let began = Instant::now();
            let target = leader.take().unwrap_or_else(|| {
                turn += 1;
                self.shared.managers[turn % self.shared.managers.len()].clone()
            });
            let ended = self.session(&target).await;
            self.left();
            if let Err(error) = ended {
                leader = leader_named(&error);
                self.shared.trouble(&error);
            }
            wait = if began.elapsed() >= SETTLED { RETRY.0 } else { (wait * 2).min(RETRY.1) };
            let draw = random::<1>().map_or(128, |[byte]| u32::from(byte));
            sleep(wait / 2 + wait / 2 * draw / 255).await;
        }
    }

    async fn session(&mut self, target: &str) -> anyhow::Result<()> {
        let (say, mut inbound, mut lease) = self.attach(target).await?;
        let now = Instant::now();
        self.untold = self.held.keys().copied().collect();
        let (mut beat_at, mut tell_at) = (now + lease / 3, Some(now + COALESCE));
        loop {
            let tell = tell_at.unwrap_or_else(|| Instant::now() + lease);
            let heard = tokio::select! {
                heard = timeout(lease, inbound.message()) => heard.context("silence")??,
                () = sleep_until(beat_at) => {
                    beat_at = Instant::now() + lease / 3;
                    say.send(message(self.beat())).await?;
                    continue;
                }
                () = sleep_until(tell), if tell_at.is_some() => {
                    tell_at = None;
                    for status in self.statuses() {
                        say.send(message(Say::Status(status))).await?;
                    }
                    continue;
                }
            };
            let what = heard.context("the manager ended the session")?.what;
            if let Some(What::BeatAck(ack)) = &what {
                lease = Duration::from_millis(ack.lease_ms.max(100));
            }
            if let Some(answer) = self.hear(what)? {
                say.send(message(answer)).await?;
            }
            if tell_at.is_none() {
                let soon = (!self.untold.is_empty()).then(|| Instant::now() + COALESCE);
                tell_at = soon.or(self.again_at);
            }
        }
    }

    async fn attach(
        &mut self,
        target: &str,
    ) -> anyhow::Result<(mpsc::Sender<AgentMessage>, Streaming<Heard>, Duration)> {
        let channel = self.dialer.connect(&Target::Tcp(target.to_owned()), MANAGER_NAME).await?;
        let mut grpc = Grpc::new(channel)
            .max_decoding_message_size(SESSION_BYTES_MAX)
            .max_encoding_message_size(SESSION_BYTES_MAX);
        let (say, queue) = mpsc::channel(OUTBOUND);
        (self.hello.revision, self.hello.digest) = (self.revision, self.digest.to_vec());
        say.send(message(Say::Hello(self.hello.clone()))).await?;
        let attached = timeout(WELCOME_TIME_MAX, async {
            grpc.ready().await?;
            let path = PathAndQuery::from_static("/warren.v1.Sessions/Attach");
            let codec = ProstCodec::<AgentMessage, Heard>::default();
            let request = Request::new(ReceiverStream::new(queue));
            let mut inbound = grpc.streaming(request, path, codec).await?.into_inner();
            let Some(Heard { what: Some(What::Welcome(welcome)) }) = inbound.message().await?
            else {
                bail!("no welcome");
            };
            Ok((inbound, welcome))
        });
        let (inbound, welcome) = attached.await.context("no welcome in time")??;
        self.open = true;
        self.shared.counts.sessions.fetch_add(1, Ordering::Relaxed);
        self.hello.epoch = welcome.epoch;
        Ok((say, inbound, Duration::from_millis(welcome.lease_ms.max(100))))
    }

    /// The session is over, or was never one: nothing is known to be acknowledged any more.
    fn left(&mut self) {
        let counts = &self.shared.counts;
        counts.acknowledged.fetch_sub(self.acknowledged.len(), Ordering::Relaxed);
        if std::mem::take(&mut self.open) {
            counts.sessions.fetch_sub(1, Ordering::Relaxed);
        }
        self.acknowledged.clear();
        self.told.clear();
        self.again_at = None;
    }

    fn hear(&mut self, what: Option<What>) -> anyhow::Result<Option<Say>> {
        Ok(match what {
            None | Some(What::BeatAck(_)) => None,
            Some(What::Welcome(_)) => bail!("a second welcome"),
            Some(What::Full(full)) => {
                let assignments = convert::assignment::parse_all(full.tasks)?;
                Some(self.take(assignments, full.revision, &full.digest)?)
            }
            Some(What::Assign(change)) => {
                let (from, held) = (change.applies_to, self.revision);
                ensure!(from == held, "a change of {from} came, {held} is held");
                let mut next = std::mem::take(&mut self.held);
                for task in change.remove {
                    next.remove(&task.parse()?);
                }
                for task in change.set {
                    let task = convert::assignment::parse(task)?;
                    next.insert(task.task, task);
                }
                Some(self.take(next, change.results_in, &change.digest)?)
            }
            Some(What::Traffic(bytes)) => {
                self.shared.counts.traffic_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
                let TrafficHead { epoch, more, digest } = prost::Message::decode(bytes)?;
                if !more {
                    self.traffic_epoch = epoch;
                    // Believed, not computed: the views themselves are not kept.
                    self.hello.traffic_digest = digest.to_vec();
                }
                (!more).then_some(Say::TrafficApplied(v1::TrafficApplied { epoch }))
            }
            Some(What::StatusAck(ack)) => {
                self.settle(ack.seq);
                None
            }
            Some(What::Relay(relay)) => {
                use v1::relay_reply::Reply;
                let message = "a simulated node runs nothing".to_owned();
                let error = v1::RelayError { code: Code::Unimplemented.into(), message };
                Some(Say::RelayReply(v1::RelayReply {
                    id: relay.id,
                    reply: Some(Reply::Error(error)),
                }))
            }
        })
    }

    /// Takes assignments over, as the real agent: only where they are what the leader means.
    fn take(&mut self, next: Assignments, revision: u64, wanted: &[u8]) -> anyhow::Result<Say> {
        let digest = digest(&next);
        ensure!(digest == wanted, "the digest of revision {revision} does not match");
        let counts = &self.shared.counts;
        let gone: Vec<TaskId> =
            self.acknowledged.iter().filter(|task| !next.contains_key(task)).copied().collect();
        for task in &gone {
            self.acknowledged.remove(task);
        }
        counts.acknowledged.fetch_sub(gone.len(), Ordering::Relaxed);
        counts.assigned.fetch_add(next.len(), Ordering::Relaxed);
        counts.assigned.fetch_sub(self.assigned, Ordering::Relaxed);
        self.assigned = next.len();
        let on_its_way: BTreeSet<TaskId> =
            self.told.iter().flat_map(|(_, tasks)| tasks).copied().collect();
        let is_news =
            |task: &TaskId| !self.acknowledged.contains(task) && !on_its_way.contains(task);
        self.untold = next.keys().copied().filter(is_news).collect();
        (self.held, self.revision, self.digest) = (next, revision, digest);
        Ok(Say::Applied(v1::Assigned { revision, digest: digest.to_vec(), held: String::new() }))
    }

    /// The leader has what was told up to `seq`.
    fn settle(&mut self, seq: u64) {
        let mut news = 0;
        for (_, tasks) in self.told.extract_if(.., |(sent, _)| *sent <= seq) {
            let held = tasks.into_iter().filter(|task| self.held.contains_key(task));
            news += held.filter(|task| self.acknowledged.insert(*task)).count();
        }
        self.shared.counts.acknowledged.fetch_add(news, Ordering::Relaxed);
        if self.told.is_empty() {
            self.again_at = None;
        }
    }

    /// What the leader has not been told yet, or has not acknowledged in time.
    fn statuses(&mut self) -> Vec<v1::Status> {
        if self.again_at.is_some_and(|at| at <= Instant::now()) {
            self.untold.extend(self.told.drain(..).flat_map(|(_, tasks)| tasks));
            self.again_at = None;
        }
        let untold: Vec<TaskId> = std::mem::take(&mut self.untold).into_iter().collect();
        let mut messages = Vec::new();
        for part in untold.chunks(STATUSES_AT_ONCE) {
            let tasks = part.iter().filter_map(|task| Some((task, self.held.get(task)?.want)));
            let tasks = tasks.map(|(task, want)| status(*task, want)).collect();
            self.seq += 1;
            messages.push(v1::Status { seq: self.seq, tasks });
            self.told.push((self.seq, part.to_vec()));
            self.again_at.get_or_insert_with(|| Instant::now() + RESEND);
        }
        messages
    }

    fn beat(&self) -> Say {
        Say::Beat(v1::Beat {
            digest: self.digest.to_vec(),
            revision: self.revision,
            traffic_epoch: self.traffic_epoch,
            cpu_milli: 100,
            memory_bytes: 1 << 30,
            ..v1::Beat::default()
        })
    }
}

/// A task runs and is ready as soon as it is wanted, and ends as soon as it is not.
fn status(task: TaskId, want: Want) -> v1::TaskStatus {
    let runs = want == Want::Run;
    v1::TaskStatus {
        task_id: task.to_string(),
        phase: if runs { "running" } else { "stopped" }.to_owned(),
        ready: runs,
        health: if runs { "healthy" } else { "" }.to_owned(),
        end: (!runs).then(v1::TaskEnd::default),
        ..v1::TaskStatus::default()
    }
}

fn message(say: Say) -> AgentMessage {
    AgentMessage { message: Some(say) }
}

fn leader_named(error: &anyhow::Error) -> Option<String> {
    let status = error.downcast_ref::<Status>()?;
    let named = status.metadata().get(LEADER)?.to_str().ok()?;
    (status.code() == Code::FailedPrecondition).then(|| named.to_owned())
}
