//! The hub: the one task that owns the sessions of agents, what was heard from them, and what they were told. It lives
//! for one term of leadership.
//!
//! Loop shape: [`Hub::next`] only waits, [`Hub::handle`] and [`Hub::settle`] are synchronous; proposals run as children
//! and come back as events, so that a slow disk does not keep the hub from hearing.

mod probes;
mod session;

use crate::dispatcher;
use crate::metrics;
use crate::options::Options;
use crate::relay::{Opened, RelayError, Relays};
use crate::reports::{Ack, Flush, Reports};
use crate::telling::Telling;
use crate::traffic::Traffic;
use session::{Closed, Session};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::command::{Applied, Rejection};
use warren_core::id::NodeId;
use warren_core::observed::Observed;
use warren_core::observer::Observer;
use warren_core::time::millis;
use warren_core::traffic::TrafficView;
use warren_raft::{ProposeError, Raft};
use warren_wire::v1::agent_message::Message as FromAgent;
use warren_wire::v1::manager_message::Message as ToAgent;
use warren_wire::v1::{self, ManagerMessage};

pub(crate) use session::Arrival;

/// Events that wait for the hub: a few rounds of beats of a large cluster. A full queue slows the readers down.
pub(crate) const EVENTS_QUEUED: usize = 4_096;
/// Events taken at once, before what follows from them is sent: keeps readiness on its way within milliseconds.
const EVENTS_AT_ONCE: usize = 1_024;
/// Registrations that are being written at once: more than one batch of Raft holds would only wait longer.
const REGISTRATIONS_MAX: usize = 512;
/// Sessions of one manager; beyond the largest cluster that is tested.
const SESSIONS_MAX: usize = 10_000;
/// How often requests whose callers are gone are looked for, while there are requests.
const SWEEP: Duration = Duration::from_millis(250);
/// How often signs of life are shown where nothing else was heard: well within a lease. Each time costs a copy of what
/// changed.
const SHOW: Duration = Duration::from_millis(250);
/// What telling one node of one endpoint may take of the leader's time and network: 64 bytes at 64 MB/s.
const ENDPOINT: Duration = Duration::from_micros(1);
/// The longest that a change of traffic waits because the one before was large: readiness stays below a second.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A node that has not taken its assignments over in this time is sent all of them again.
const RESYNC_AFTER: Duration = Duration::from_secs(3);
/// The same while the node says that it holds them back: an operator has to look.
const RESYNC_HELD_AFTER: Duration = Duration::from_secs(30);

/// What comes to the hub.
pub(crate) enum Event {
    /// An agent wants a session.
    Arrival(Box<Arrival>),
    /// A session's agent said something.
    Message { node: NodeId, session: u64, message: Box<FromAgent> },
    /// A session's stream has ended.
    Gone { node: NodeId, session: u64, why: String },
    /// Somebody asks a node for something.
    Open { node: NodeId, reply: oneshot::Sender<Result<Opened, RelayError>> },
}

/// What a proposal led to.
enum Done {
    Registered {
        arrival: Box<Arrival>,
        was_down: bool,
        outcome: Result<Vec<Result<Applied, Rejection>>, ProposeError>,
    },
    Reported {
        edges: usize,
        outcome: Result<Vec<Result<Applied, Rejection>>, ProposeError>,
    },
}

/// What the hub shows to others.
pub(crate) struct Outlets {
    pub(crate) observed: watch::Sender<Observed>,
    pub(crate) traffic: watch::Sender<Arc<TrafficView>>,
    /// Touched at each round, for the watchdog.
    pub(crate) alive: watch::Sender<Instant>,
}

/// See the module's documentation.
pub(crate) struct Hub {
    raft: Raft,
    options: Options,
    term: u64,
    /// What every session has been told about.
    state: Arc<State>,
    states: watch::Receiver<Arc<State>>,
    events: mpsc::Receiver<Event>,
    inbox: Vec<Event>,
    /// For the readers of sessions.
    sender: mpsc::Sender<Event>,
    sessions: BTreeMap<NodeId, Session>,
    last_session: u64,
    observer: Observer,
    /// When what was heard was last shown.
    shown: Instant,
    /// When silent nodes were last looked for.
    looked: Instant,
    reports: Reports,
    traffic: Traffic,
    /// When it tells where traffic goes, whoever has not been heard by then.
    warm_at: Instant,
    /// Whether enough has been heard for that.
    warm: bool,
    /// Where traffic goes, for the sessions; nothing until it is warm.
    views: watch::Sender<Option<Arc<Telling>>>,
    /// When traffic may be told again.
    traffic_due: Instant,
    relays: Relays,
    readers: JoinSet<()>,
    work: JoinSet<Done>,
    outlets: Outlets,
}

enum Wake {
    Stop,
    /// A child has panicked: what it was to do is not known to be done.
    Broken,
    State {
        open: bool,
    },
    Events,
    Done(Done),
    Timer,
}

impl Hub {
    pub(crate) fn new(
        raft: Raft,
        options: Options,
        term: u64,
        events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
        outlets: Outlets,
    ) -> Self {
        let states = raft.state();
        let state = Arc::clone(&states.borrow());
        let since = raft.now();
        let warm_up = options.warm_up_for(state.nodes().len());
        let observer = Observer::new(since, since.after(warm_up));
        let traffic = Traffic::new(&state, observer.observed());
        Self {
            raft,
            options,
            term,
            state,
            states,
            events: events.1,
            inbox: Vec::with_capacity(EVENTS_AT_ONCE),
            sender: events.0,
            sessions: BTreeMap::new(),
            last_session: 0,
            observer,
            shown: Instant::now(),
            looked: Instant::now(),
            reports: Reports::default(),
            traffic,
            warm_at: Instant::now() + warm_up,
            warm: false,
            views: watch::Sender::new(None),
            traffic_due: Instant::now(),
            relays: Relays::default(),
            readers: JoinSet::new(),
            work: JoinSet::new(),
            outlets,
        }
    }

    /// Runs until `stop`. Sessions end with it.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.settle();
        loop {
            let wake = self.next(&stop).await;
            self.outlets.alive.send_replace(Instant::now());
            if matches!(wake, Wake::Stop | Wake::Broken | Wake::State { open: false }) {
                break;
            }
            self.handle(wake);
            self.settle();
        }
        for _ in &self.sessions {
            metrics::session_closed("stopped");
        }
        metrics::sessions(0);
    }

    async fn next(&mut self, stop: &CancellationToken) -> Wake {
        let deadline = self.deadline();
        let has_room = self.reports.has_room();
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            changed = self.states.changed() => Wake::State { open: changed.is_ok() },
            Some(done) = self.work.join_next() => done.map_or(Wake::Broken, Wake::Done),
            Some(_) = self.readers.join_next() => Wake::Timer,
            _ = self.events.recv_many(&mut self.inbox, EVENTS_AT_ONCE), if has_room => Wake::Events,
            () = sleep_until(deadline) => Wake::Timer,
        }
    }

    /// How long nodes may be silent, by how many there are.
    fn lease_ms(&self) -> u64 {
        millis(self.options.leases.for_nodes(self.state.nodes().len()).lease)
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        // Without anything to wait for, the watchdog still wants to see a round.
        let mut deadline = now + Duration::from_secs(1);
        if let Some(due) = self.reports.due() {
            deadline = deadline.min(due);
        }
        if !self.relays.is_empty() {
            deadline = deadline.min(now + SWEEP);
        }
        if !self.warm {
            deadline = deadline.min(self.warm_at);
        } else if self.traffic.is_behind() {
            deadline = deadline.min(self.traffic_due);
        }
        deadline
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Stop | Wake::Broken | Wake::Timer => {}
            Wake::State { .. } => self.follow(),
            Wake::Done(done) => self.finish(done),
            Wake::Events => {
                let mut inbox = std::mem::take(&mut self.inbox);
                for event in inbox.drain(..) {
                    self.hear(event);
                }
                self.inbox = inbox;
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Arrival(arrival) => self.arrive(arrival),
            Event::Message { node, session, message } => {
                if self.sessions.get(&node).is_some_and(|open| open.id == session) {
                    self.observer.heard(node, self.raft.now());
                    self.listen(node, *message);
                }
            }
            Event::Gone { node, session, why } => {
                if self.sessions.get(&node).is_some_and(|open| open.id == session) {
                    tracing::info!(%node, session, why, "session ended");
                    self.close(node, Closed::Gone);
                }
            }
            Event::Open { node, reply } => {
                let opened = match self.sessions.get(&node) {
                    Some(session) => self.relays.open(node, session.lane.clone()),
                    None => Err(RelayError::NotConnected { node }),
                };
                if reply.send(opened).is_err() {
                    tracing::debug!(%node, "the caller of a request did not wait");
                }
            }
        }
    }

    /// Takes over what Raft has agreed on since, and tells the nodes whose assignments it changes.
    fn follow(&mut self) {
        let begun = Instant::now();
        let new = Arc::clone(&self.states.borrow_and_update());
        let old = std::mem::replace(&mut self.state, Arc::clone(&new));
        let changes = new.changes_since(&old);
        for (task, _, _) in &changes.tasks {
            if new.task(*task).is_none_or(|task| !task.is_live()) {
                self.observer.forget(*task);
            }
        }
        self.traffic.follow(&old, &new, &changes);
        for node in changes.nodes.iter().filter(|node| new.node(**node).is_none()) {
            self.close(*node, Closed::Removed);
        }
        for node in dispatcher::affected(&old, &new, &changes) {
            let Some(session) = self.sessions.get_mut(&node) else { continue };
            let Some((assign, to)) = dispatcher::change(&old, &new, node, session.at.revision)
            else {
                continue;
            };
            metrics::sent("assign");
            session.at = to;
            session.sent = Instant::now();
            self.send(node, ToAgent::Assign(assign));
        }
        metrics::dispatched(begun.elapsed());
    }

    /// Does what follows from this round: tells where traffic goes first, then everything else.
    fn settle(&mut self) {
        let touched = self.observer.touched();
        self.traffic.touch(touched);
        self.tell_traffic();
        self.probe();
        self.show();
        self.flush();
        for (node, message) in self.relays.sweep() {
            self.send_message(node, message);
        }
    }

    /// Shows what was heard. Mere signs of life wake nobody, and are shown from time to time.
    fn show(&mut self) {
        let news = self.observer.news();
        if !news && self.shown.elapsed() < SHOW {
            return;
        }
        self.shown = Instant::now();
        self.outlets.observed.send_if_modified(|observed| {
            observed.clone_from(self.observer.observed());
            news
        });
    }

    /// Publishes where traffic goes; each session takes the difference to what it told last, at its own pace.
    fn tell_traffic(&mut self) {
        let now = Instant::now();
        let first = !self.warm;
        self.warm = self.warm || now >= self.warm_at || self.observer.is_complete(&self.state);
        if !self.warm || now < self.traffic_due {
            return;
        }
        let changed = self.traffic.refresh(&self.state, self.observer.observed());
        if first {
            self.observer.tells(self.raft.now());
        } else if changed.is_none() {
            return;
        }
        let view = Arc::clone(self.traffic.told());
        self.views.send_replace(Some(Arc::new(Telling::new(Arc::clone(&view)))));
        self.outlets.traffic.send_replace(view);
        self.traffic_due = now + pause(changed.unwrap_or(0), self.sessions.len());
    }

    fn flush(&mut self) {
        match self.reports.flush(Instant::now()) {
            Flush::Nothing => {}
            Flush::Acknowledge(acks) => self.acknowledge(acks),
            Flush::Propose { edges, commands } => {
                let raft = self.raft.clone();
                self.work.spawn(async move {
                    Done::Reported { edges, outcome: raft.propose(commands).await }
                });
            }
        }
    }

    fn acknowledge(&mut self, acks: Vec<Ack>) {
        for Ack { node, session, seq } in acks {
            if self.sessions.get(&node).is_some_and(|open| open.id == session) {
                self.send(node, ToAgent::StatusAck(v1::StatusAck { seq }));
            }
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Registered { arrival, was_down, outcome } => {
                self.registered(arrival, was_down, outcome);
            }
            Done::Reported { edges, outcome } => {
                if let Err(error) = &outcome {
                    tracing::warn!(%error, "task edges could not be written, trying again");
                }
                let written = outcome.is_ok();
                metrics::edges(if written { edges } else { 0 });
                let acks = self.reports.settled(written, Instant::now());
                self.acknowledge(acks);
            }
        }
    }

    fn send(&mut self, node: NodeId, message: ToAgent) {
        self.send_message(node, ManagerMessage { message: Some(message) });
    }

    /// A session that takes nothing any more is closed: its node is told everything again when it comes back.
    fn send_message(&mut self, node: NodeId, message: ManagerMessage) {
        let Some(session) = self.sessions.get(&node) else { return };
        match session.control.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(%node, session = session.id, "session is closed: it does not drain");
                self.close(node, Closed::Slow);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => self.close(node, Closed::Gone),
        }
    }

    fn close(&mut self, node: NodeId, why: Closed) {
        let Some(session) = self.sessions.remove(&node) else { return };
        session.reader.abort();
        self.relays.lost(node);
        self.observer.connected(node, false);
        metrics::session_closed(why.word());
        metrics::sessions(self.sessions.len());
    }
}

/// How long to wait before traffic is told again, after so many endpoints were told to so many nodes.
fn pause(endpoints: usize, nodes: usize) -> Duration {
    let count = u32::try_from(endpoints.saturating_mul(nodes)).unwrap_or(u32::MAX);
    ENDPOINT.saturating_mul(count).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_changes_of_traffic_go_out_at_once_and_large_ones_within_a_second() {
        assert!(pause(10, 3) < Duration::from_millis(1));
        assert_eq!(pause(5_000, 100), Duration::from_millis(500));
        assert_eq!(pause(usize::MAX, usize::MAX), PAUSE_MAX);
    }
}
