//! One agent's session: how it begins, what is heard in it, and when it diverges.

use super::{Done, Event, Hub, REGISTRATIONS_MAX, RESYNC_AFTER, RESYNC_HELD_AFTER, SESSIONS_MAX};
use crate::dispatcher::{self, Position, Stops};
use crate::metrics;
use crate::reports::Ack;
use crate::telling::{Parts, Telling};
use futures::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use tonic::{Code, Status, Streaming};
use warren_core::State;
use warren_core::command::{Applied, Command, Rejection};
use warren_core::id::NodeId;
use warren_core::level::{self, Level};
use warren_core::node::{Node, Role};
use warren_core::traffic::TrafficView;
use warren_raft::ProposeError;
use warren_wire::convert;
use warren_wire::status::ApiError;
use warren_wire::v1::agent_message::Message as FromAgent;
use warren_wire::v1::manager_message::Message as ToAgent;
use warren_wire::v1::{self, AgentMessage, ManagerMessage};

/// The version of the session protocol that this manager speaks.
const PROTOCOL: u32 = 1;
/// Messages that wait for one agent. One that is so far behind is better told everything anew.
const CONTROL_QUEUED: usize = 256;
/// Requests that wait for one agent, 64 KiB each at most. Their callers wait when it is full.
const LANE_QUEUED: usize = 16;

/// An agent that has said Hello and waits for its session.
pub(crate) struct Arrival {
    pub(crate) hello: v1::Hello,
    pub(crate) inbound: Streaming<AgentMessage>,
    pub(crate) reply: oneshot::Sender<Result<Outbound, Status>>,
}

impl Arrival {
    fn refuse(self, reason: &'static str, error: ApiError) {
        metrics::session_refused(reason);
        tracing::info!(hostname = self.hello.hostname, %error, "session refused");
        if self.reply.send(Err(error.into())).is_err() {
            tracing::debug!("a refused agent did not wait");
        }
    }
}

/// Why a session was closed.
#[derive(Clone, Copy)]
pub(super) enum Closed {
    /// The agent, or the way to it.
    Gone,
    /// A newer session of the same node.
    Replaced,
    /// The agent does not take its messages.
    Slow,
    /// The agent broke the protocol.
    Protocol,
    /// The node is none of the cluster any more.
    Removed,
}

impl Closed {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Replaced => "replaced",
            Self::Slow => "slow",
            Self::Protocol => "protocol",
            Self::Removed => "removed",
        }
    }
}

/// An open session.
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) boot: u64,
    pub(super) control: mpsc::Sender<ManagerMessage>,
    pub(super) lane: mpsc::Sender<ManagerMessage>,
    pub(super) reader: AbortHandle,
    /// The assignments that the node has once it has taken over what was sent.
    pub(super) at: Position,
    /// When assignments were last sent.
    pub(super) sent: Instant,
    /// Whether the node holds a Full back.
    pub(super) held: bool,
    /// When the agent last said something.
    pub(super) heard: Instant,
}

/// What goes to an agent: control messages first, then where traffic goes, requests when there is nothing else. It
/// ends with the session.
///
/// Traffic is no queue: whenever the agent has room, it gets what differs from what it was told last. A slow agent
/// skips what came in between.
pub(crate) struct Outbound {
    control: mpsc::Receiver<ManagerMessage>,
    views: WatchStream<Option<Arc<Telling>>>,
    told: Option<Arc<TrafficView>>,
    /// The fingerprint of the view that the agent had when it came.
    held: Vec<u8>,
    /// What is left of the messages that lead to `told`.
    parts: Parts,
    lane: mpsc::Receiver<ManagerMessage>,
}

impl Outbound {
    /// The next message of where traffic goes, from the view that is told now.
    fn next_part(&mut self) -> Option<ManagerMessage> {
        let part = self.parts.next()?;
        metrics::sent("traffic");
        Some(ManagerMessage { message: Some(ToAgent::Traffic(part)) })
    }

    fn begin(&mut self, telling: &Telling) {
        self.parts = telling.from(self.told.as_ref(), &self.held);
        self.told = Some(Arc::clone(telling.view()));
    }
}

impl Stream for Outbound {
    type Item = Result<ManagerMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(message) = self.control.poll_recv(cx) {
            return Poll::Ready(message.map(Ok));
        }
        loop {
            if let Some(message) = self.next_part() {
                return Poll::Ready(Some(Ok(message)));
            }
            match Pin::new(&mut self.views).poll_next(cx) {
                Poll::Ready(Some(Some(telling))) => self.begin(&telling),
                Poll::Ready(Some(None)) => {}
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        match self.lane.poll_recv(cx) {
            Poll::Ready(Some(message)) => Poll::Ready(Some(Ok(message))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Hub {
    pub(super) fn arrive(&mut self, arrival: Box<Arrival>) {
        if let Err(error) = self.check(&arrival.hello) {
            return arrival.refuse("invalid", error);
        }
        if self.sessions.len() >= SESSIONS_MAX || self.work.len() >= REGISTRATIONS_MAX {
            let error = ApiError::unavailable("too many nodes are registering: try again shortly");
            return arrival.refuse("busy", error);
        }
        let mut register = match convert::node::registration(arrival.hello.clone()) {
            Ok(register) => register,
            Err(error) => return arrival.refuse("invalid", error.into()),
        };
        let known = self.state.node_with_key(&arrival.hello.key);
        if let Some(node) = known {
            keep_name(&self.state, node, &mut register);
        }
        if let Some(why) = known.and_then(|node| self.is_elsewhere(node, &arrival.hello)) {
            let error = ApiError::new(Code::FailedPrecondition, why);
            return arrival.refuse("copied", error);
        }
        let was_down = known.is_some_and(|node| !node.up);
        if let Some(node) = known
            && says_nothing_new(node, &register)
        {
            let id = node.id;
            return self.admit(*arrival, id, was_down);
        }
        let raft = self.raft.clone();
        self.work.spawn(async move {
            let outcome = raft.propose(vec![register]).await;
            Done::Registered { arrival, was_down, outcome }
        });
    }

    /// Why a node is not let in whose session another process has at this time: two machines with one identity would
    /// take each other's tasks away. A process that has ended leaves its session at once, or with its lease where its
    /// machine went with it.
    fn is_elsewhere(&self, node: &Node, hello: &v1::Hello) -> Option<String> {
        let session = self.sessions.get(&node.id)?;
        let lease = Duration::from_millis(self.lease_ms());
        (session.boot != hello.boot && session.heard.elapsed() < lease).then(|| {
            format!(
                "{} ({}) has a session already, at {}, and this is another process, at {}: was its data directory \
                 copied? Stop one of the two and join it anew with an empty data directory. Where the other has just \
                 ended, this one is let in within {} s",
                node.id,
                node.facts.hostname,
                node.facts.address,
                hello.address,
                lease.as_secs().max(1)
            )
        })
    }

    fn check(&self, hello: &v1::Hello) -> Result<(), ApiError> {
        let wrong = |problem: String| Err(ApiError::new(Code::FailedPrecondition, problem));
        let Some(cluster) = self.state.cluster() else {
            return wrong("there is no cluster yet: run `warren up`".to_owned());
        };
        if hello.cluster_id != 0 && hello.cluster_id != cluster.id.0 {
            let id = warren_core::ClusterId(hello.cluster_id);
            return wrong(format!(
                "this node belongs to cluster {id} and this is {}: join it anew, with an empty \
                 data directory",
                cluster.id
            ));
        }
        if hello.cluster_id != 0 && hello.epoch > cluster.epoch {
            return wrong(format!(
                "this node is in epoch {} of its cluster, and this manager in epoch {}: the manager was left behind when \
                 the cluster was restored; stop it, move its data directory away and join it anew",
                hello.epoch, cluster.epoch
            ));
        }
        let level = Level(hello.feature_level);
        if let Some(why) = level::too_old(level, cluster.level, &hello.version) {
            return wrong(why);
        }
        if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL) {
            return wrong(format!(
                "this manager speaks session protocol {PROTOCOL} and the agent {} to {}: upgrade \
                 the older of the two",
                hello.protocol_min, hello.protocol_max
            ));
        }
        Ok(())
    }

    pub(super) fn registered(
        &mut self,
        arrival: Box<Arrival>,
        was_down: bool,
        outcome: Result<Vec<Result<Applied, Rejection>>, ProposeError>,
    ) {
        // The state that shows the node is there, whether its news have come or not.
        self.follow();
        match outcome.map(|mut applied| applied.pop()) {
            Ok(Some(Ok(Applied::Node { id }))) => self.admit(*arrival, id, was_down),
            Ok(Some(Err(rejection))) => arrival.refuse("rejected", rejection.into()),
            Ok(Some(Ok(_)) | None) => {
                let error = ApiError::new(Code::Internal, "the registration gave no node");
                arrival.refuse("rejected", error);
            }
            Err(error) => arrival.refuse("busy", ApiError::unavailable(error.to_string())),
        }
    }

    /// Opens the session of `node`; an older one of the same node ends.
    fn admit(&mut self, arrival: Arrival, node: NodeId, was_down: bool) {
        self.close(node, Closed::Replaced);
        let Arrival { hello, inbound, reply } = arrival;
        let (control, control_out) = mpsc::channel(CONTROL_QUEUED);
        let (lane, lane_out) = mpsc::channel(LANE_QUEUED);
        self.last_session += 1;
        let id = self.last_session;
        let reader = self.readers.spawn(read(inbound, node, id, self.sender.clone()));
        let digest = dispatcher::digest(&self.state, node);
        let at = Position { revision: hello.revision, digest };
        let (boot, sent) = (hello.boot, Instant::now());
        let session =
            Session { id, boot, control, lane, reader, at, sent, held: false, heard: sent };
        self.sessions.insert(node, session);
        metrics::sessions(self.sessions.len());
        self.observer.connected(node, true);
        self.observer.heard(node, self.raft.now());
        tracing::info!(%node, session = id, hostname = hello.hostname, "session opened");
        self.welcome(node);
        if hello.digest != digest {
            let epoch = self.state.cluster().map_or(0, |cluster| cluster.epoch);
            let restored = hello.cluster_id != 0 && hello.epoch != epoch;
            self.send_full(node, Stops::after(was_down, restored));
        }
        // Last, so that the welcome is in it already.
        let views = WatchStream::new(self.views.subscribe());
        let outbound = Outbound {
            control: control_out,
            views,
            told: None,
            held: hello.traffic_digest,
            parts: Parts::default(),
            lane: lane_out,
        };
        if reply.send(Ok(outbound)).is_err() {
            self.close(node, Closed::Gone);
        }
    }

    fn welcome(&mut self, node: NodeId) {
        let Some(cluster) = self.state.cluster() else { return };
        let status = self.raft.status();
        let managers = status.voters.into_values().chain(status.learners.into_values());
        let welcome = v1::Welcome {
            node_id: node.to_string(),
            cluster_id: cluster.id.0,
            epoch: cluster.epoch,
            term: self.term,
            lease_ms: self.lease_ms(),
            subnet: self.state.node(node).map(|node| node.subnet.to_string()).unwrap_or_default(),
            zone: cluster.zone.clone(),
            protocol: PROTOCOL,
            managers: managers.filter(|address| !address.is_empty()).collect(),
            role: self.role_of(node),
        };
        self.send(node, ToAgent::Welcome(welcome));
    }

    /// What the node is to be. A manager that is demoted stays one until Raft counts it no more: before that, others
    /// may need what it has on its disk.
    fn role_of(&self, node: NodeId) -> String {
        let status = self.raft.status();
        let counted = status.voters.contains_key(&node) || status.learners.contains_key(&node);
        let role = self.state.node(node).map(|node| node.role);
        match role {
            Some(Role::Worker) if counted => Role::Manager.to_string(),
            Some(role) => role.to_string(),
            None => String::new(),
        }
    }

    fn send_full(&mut self, node: NodeId, stops: Stops) {
        let (full, at) = dispatcher::full(&self.state, node, stops);
        if let Some(session) = self.sessions.get_mut(&node) {
            session.at = at;
            session.sent = Instant::now();
        }
        metrics::sent("full");
        self.send(node, ToAgent::Full(full));
    }

    /// What an agent says in its session.
    pub(super) fn listen(&mut self, node: NodeId, message: FromAgent) {
        if let Some(session) = self.sessions.get_mut(&node) {
            session.heard = Instant::now();
        }
        match message {
            FromAgent::Hello(_) => {
                tracing::warn!(%node, "session is closed: a second hello came in it");
                self.close(node, Closed::Protocol);
            }
            FromAgent::Applied(applied) => {
                if let Some(session) = self.sessions.get_mut(&node) {
                    session.held = !applied.held.is_empty();
                }
                if !applied.held.is_empty() {
                    tracing::warn!(%node, why = applied.held, "node holds its assignments back");
                }
                self.compare(node, applied.revision, &applied.digest);
            }
            FromAgent::Status(status) => self.take_status(node, status),
            FromAgent::Beat(beat) => {
                self.observer.acked(node, beat.traffic_epoch, self.raft.now());
                self.observer.troubled(node, beat.problems);
                // A beat that is answered without a Full says that the node holds what it should.
                self.compare(node, beat.revision, &beat.digest);
                let (lease_ms, role) = (self.lease_ms(), self.role_of(node));
                let traffic_epoch = self.state.traffic_epoch();
                let ack = v1::BeatAck { lease_ms, role, traffic_epoch };
                self.send(node, ToAgent::BeatAck(ack));
            }
            FromAgent::RelayReply(reply) => {
                if let Some(message) = self.relays.reply(node, reply) {
                    self.send_message(node, message);
                }
            }
            FromAgent::Probed(probed) => self.take_probed(node, &probed),
            FromAgent::TrafficApplied(applied) => {
                self.observer.acked(node, applied.epoch, self.raft.now());
            }
        }
    }

    /// Sends everything again to a node that has something else than it should, or does not take over what was sent.
    fn compare(&mut self, node: NodeId, revision: u64, digest: &[u8]) {
        let Some(session) = self.sessions.get(&node) else { return };
        if session.at.digest == digest {
            return;
        }
        let patience = if session.held { RESYNC_HELD_AFTER } else { RESYNC_AFTER };
        let on_its_way = revision != session.at.revision || session.held;
        if on_its_way && session.sent.elapsed() < patience {
            return;
        }
        tracing::warn!(%node, revision, at = session.at.revision, "node has diverged, sending all");
        metrics::resync();
        self.send_full(node, Stops::Named);
    }

    fn take_status(&mut self, node: NodeId, status: v1::Status) {
        let Some(session) = self.sessions.get(&node) else { return };
        let ack = Ack { node, session: session.id, seq: status.seq };
        if self.reports.is_new(node, session.boot, status.seq) {
            let count = status.tasks.len();
            let (now, state) = (self.raft.now(), Arc::clone(&self.state));
            let mut foreign = 0;
            for task in status.tasks {
                let report = match convert::task::parse(task) {
                    Ok(report) => report,
                    Err(error) => {
                        tracing::warn!(%node, %error, "a status of a task cannot be read");
                        foreign += 1;
                        continue;
                    }
                };
                if self.observer.report(&state, node, &report, now) {
                    self.reports.add(&state, node, report, Instant::now());
                } else {
                    foreign += 1;
                }
            }
            metrics::status("taken", count - foreign);
            metrics::status("foreign", foreign);
        } else {
            metrics::status("duplicate", status.tasks.len());
        }
        self.reports.acknowledge(ack);
    }
}

/// A node that comes back with the name of another keeps its own: people drain and remove nodes by their names.
fn keep_name(state: &State, node: &Node, register: &mut Command) {
    let Command::RegisterNode { facts, .. } = register else { return };
    let asked = &facts.hostname;
    let other = state.nodes().find(|other| other.id != node.id && other.facts.hostname == *asked);
    if let Some(other) = other {
        let (id, keeps) = (node.id, &node.facts.hostname);
        let taken_by = other.id;
        tracing::warn!(node = %id, %asked, %taken_by, %keeps, "a node keeps its name: another has the new one");
        facts.hostname = keeps.clone();
    }
}

/// Whether a registration would change nothing: then nothing is written for a node that only comes back.
fn says_nothing_new(node: &Node, register: &Command) -> bool {
    let Command::RegisterNode { role, facts, labels, .. } = register else { return false };
    node.up
        && node.role == *role
        && node.facts == **facts
        && labels.iter().all(|(key, value)| node.labels.get(key) == Some(value))
}

/// Hands what an agent says to the hub, until its stream ends.
async fn read(
    mut inbound: Streaming<AgentMessage>,
    node: NodeId,
    session: u64,
    hub: mpsc::Sender<Event>,
) {
    let why = loop {
        match inbound.message().await {
            // A message that a newer agent knows and we do not.
            Ok(Some(AgentMessage { message: None })) => {}
            Ok(Some(AgentMessage { message: Some(message) })) => {
                let message = Box::new(message);
                if hub.send(Event::Message { node, session, message }).await.is_err() {
                    return;
                }
            }
            Ok(None) => break "the agent ended it".to_owned(),
            Err(status) if status.code() == Code::Cancelled => break "it was cut".to_owned(),
            Err(status) => break status.message().to_owned(),
        }
    };
    if hub.send(Event::Gone { node, session, why }).await.is_err() {
        tracing::debug!(%node, session, "a session ended with the hub");
    }
}
