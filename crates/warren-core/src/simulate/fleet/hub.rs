//! One term of leadership: what a leader hears, plans and tells. It begins with what is agreed and nothing else. What
//! it decides is decided by [`Observer`], [`round::decide`] and [`traffic::view`], as in a real manager.

use super::agents::{Down, Up, Wants};
use super::log::{Origin, Slot};
use super::{Event, Fleet};
use crate::assignment::want;
use crate::command::{Applied, Command, Rejection, TaskEdge};
use crate::converge::{Status, brake};
use crate::id::{LogIndex, NodeId, TaskId};
use crate::lease::{LEASES, probe};
use crate::observed::Observed;
use crate::observer::Observer;
use crate::round;
use crate::task::Phase;
use crate::time::ClusterTime;
use crate::traffic::{self, TrafficView};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a new leader listens before it tells resolvers where traffic goes, as managers do by default.
const WARM_UP: Duration = Duration::from_secs(10);
/// How long edges are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// The wait before edges that could not be written are tried again.
const RETRY: Duration = Duration::from_millis(200);
/// The least time between two rounds of planning.
const GAP: Duration = Duration::from_millis(10);
/// The first and the longest wait after a round that came to nothing.
const BACK_OFF: (u64, u64) = (100, 5_000);
/// How long an author waits for an answer.
const PROPOSE: Duration = Duration::from_secs(10);
/// A node that has not taken its assignments over in this time is sent all of them again, in milliseconds.
const RESYNC: u64 = 3_000;
/// How often silent nodes are looked for that others are to be asked about, in milliseconds.
const PROBES: u64 = 750;

/// The session of one agent, as the leader has it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    /// What was sent last, and when.
    pub(super) at: u64,
    pub(super) wants: Arc<Wants>,
    pub(super) sent: u64,
}

/// Edges on their way into the log, and whom to tell then.
#[derive(Clone, Debug, Default)]
struct Edges {
    edges: Vec<(NodeId, TaskEdge)>,
    acks: Vec<(NodeId, u64, u64)>,
}

/// What a leader knows and does in its term.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    /// When it began, and cluster time then.
    pub(super) led_from: (u64, ClusterTime),
    pub(super) observer: Observer,
    pub(super) warm: bool,
    pub(super) sessions: BTreeMap<NodeId, Session>,
    /// The newest status of each node: an older one that comes again says nothing.
    newest: BTreeMap<NodeId, u64>,
    /// The round of planning that is on its way into the log.
    planned: Option<u64>,
    failed: u32,
    not_before: u64,
    round_at: Option<u64>,
    /// Since when there is something to plan for.
    late_since: Option<u64>,
    gathered: Edges,
    writing: Option<(u64, Edges)>,
    hooks: bool,
    /// When to look again for nodes to ask about.
    probes_at: u64,
    pub(super) view: Arc<TrafficView>,
    /// What clients wait for.
    pub(super) words: BTreeMap<u64, (Command, u32)>,
    /// What the last round looked at and came to.
    last: Option<(LogIndex, Observed, round::Round)>,
}

impl Fleet {
    /// A manager begins its term: everything that was agreed before is here.
    pub(super) fn take_over(&mut self, manager: usize) {
        let now = self.world.now;
        let found = &mut self.managers[manager];
        let since = found.state.time();
        let Some(lead) = found.lead.as_mut() else { return };
        let term = lead.term;
        let observer = Observer::new(since, since.after(WARM_UP));
        let view = Arc::new(traffic::view(&found.state, observer.observed()));
        lead.hub = Some(Hub {
            led_from: (now, since),
            observer,
            warm: false,
            sessions: BTreeMap::new(),
            newest: BTreeMap::new(),
            planned: None,
            failed: 0,
            not_before: 0,
            round_at: None,
            late_since: None,
            gathered: Edges::default(),
            writing: None,
            hooks: false,
            probes_at: 0,
            view,
            words: BTreeMap::new(),
            last: None,
        });
        self.later(WARM_UP, Event::Warm { manager, term });
        self.follow(manager);
    }

    /// What follows from what this leader has heard or applied: where traffic goes, and a round of planning.
    pub(super) fn settle(&mut self, manager: usize, applied: bool) {
        let (time, now) = (self.time_of(manager), self.world.now);
        let state = self.managers[manager].state.clone();
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        let warms = !hub.warm
            && (hub.observer.is_complete(&state)
                || now >= hub.led_from.0 + crate::time::millis(WARM_UP));
        if warms {
            hub.warm = true;
            hub.observer.tells(time);
        }
        let touched = !hub.observer.touched().is_empty();
        let news = hub.observer.news();
        let mut tell = warms;
        if touched || applied {
            let view = Arc::new(traffic::view(&state, hub.observer.observed()));
            tell |= hub.view != view;
            hub.view = view;
        }
        if hub.warm && tell {
            let nodes: Vec<_> = hub.sessions.keys().copied().collect();
            let view = Arc::clone(&hub.view);
            for node in nodes {
                self.tell(manager, node, Down::View(Arc::clone(&view)));
            }
        }
        if news {
            self.look_again(manager, 0);
        }
    }

    /// The manager has applied more: its agents are told what changes for them.
    pub(super) fn follow(&mut self, manager: usize) {
        let state = self.managers[manager].state.clone();
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        let heard: Vec<_> = hub.observer.observed().tasks.keys().copied().collect();
        for task in heard {
            if state.task(task).is_none_or(|task| !task.is_live()) {
                hub.observer.forget(task);
            }
        }
        let calls = state.notices().len() > 0 && !std::mem::replace(&mut hub.hooks, true);
        let nodes: Vec<_> = hub.sessions.keys().copied().collect();
        for node in nodes {
            let wants = self.wants(manager, node);
            let (at, now) = (state.applied().0, self.world.now);
            let Some(hub) = self.managers[manager].hub_mut() else { return };
            let Some(session) = hub.sessions.get_mut(&node) else { continue };
            if *session.wants != wants {
                let from = std::mem::replace(&mut session.at, at);
                session.wants = Arc::new(wants);
                session.sent = now;
                let wants = Arc::clone(&session.wants);
                self.tell(manager, node, Down::Assign { from, to: at, wants });
            }
        }
        if calls {
            self.later(RETRY, Event::Hooks(manager));
        }
        self.settle(manager, true);
        self.look_again(manager, 0);
    }

    fn wants(&self, manager: usize, node: NodeId) -> Wants {
        let state = &self.managers[manager].state;
        state.tasks_on(node).map(|task| (task.id, want(task))).collect()
    }

    /// An agent wants a session. Returns whether it gets one.
    pub(super) fn arrive(
        &mut self,
        manager: usize,
        node: NodeId,
        id: u64,
        (at, held): (u64, &Wants),
    ) -> bool {
        let (time, now) = (self.time_of(manager), self.world.now);
        let wants = Arc::new(self.wants(manager, node));
        let was_down = self.managers[manager].state.node(node).is_some_and(|node| !node.up);
        let Some(hub) = self.managers[manager].hub_mut() else { return false };
        let session = Session { id, at, wants: Arc::clone(&wants), sent: now };
        hub.sessions.insert(node, session);
        hub.observer.connected(node, true);
        hub.observer.heard(node, time);
        let (warm, view) = (hub.warm, Arc::clone(&hub.view));
        self.tell(manager, node, Down::Welcome);
        if *held != *wants {
            self.send_all(manager, node, was_down);
        }
        if warm {
            self.tell(manager, node, Down::View(view));
        }
        self.settle(manager, false);
        true
    }

    fn send_all(&mut self, manager: usize, node: NodeId, was_down: bool) {
        let wants = Arc::new(self.wants(manager, node));
        let (at, now) = (self.managers[manager].state.applied().0, self.world.now);
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        let Some(session) = hub.sessions.get_mut(&node) else { return };
        (session.at, session.wants, session.sent) = (at, Arc::clone(&wants), now);
        let named = wants.values().filter(|want| **want != crate::assignment::Want::Run).count();
        let allowed = match (was_down, named) {
            (true, _) => Some(usize::MAX),
            (false, 0) => None,
            (false, named) => Some(named + brake(wants.len())),
        };
        self.tell(manager, node, Down::Full { at, wants, allowed });
    }

    /// An agent says something in its session.
    pub(super) fn hear(&mut self, manager: usize, node: NodeId, id: u64, said: Up) {
        let (time, now) = (self.time_of(manager), self.world.now);
        let state = self.managers[manager].state.clone();
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        if hub.sessions.get(&node).is_none_or(|session| session.id != id) {
            return;
        }
        hub.observer.heard(node, time);
        match said {
            Up::Gone => {
                hub.sessions.remove(&node);
                hub.observer.connected(node, false);
            }
            Up::Epoch(epoch) => hub.observer.acked(node, epoch, time),
            Up::Probed(suspect, asked, reached) => {
                hub.observer.probed(suspect, (node, asked), reached);
            }
            Up::Beat { at, wants, epoch, sent } => {
                hub.observer.acked(node, epoch, time);
                let Some(session) = hub.sessions.get(&node) else { return };
                let late = now >= session.sent + RESYNC;
                if session.wants != wants && (at == session.at || late) {
                    self.send_all(manager, node, false);
                }
                let epoch = state.traffic_epoch();
                self.tell(manager, node, Down::BeatAck { sent, epoch });
            }
            Up::Status { seq, tasks } => {
                let newest = hub.newest.entry(node).or_default();
                let is_new = seq > *newest;
                *newest = seq.max(*newest);
                for report in tasks.into_iter().filter(|_| is_new) {
                    if hub.observer.report(&state, node, &report, time) {
                        hub.gathered.add(&state, node, report);
                    }
                }
                hub.gathered.acks.push((node, id, seq));
                self.later(GATHER, Event::Flush(manager));
            }
        }
        self.probe(manager);
        self.settle(manager, false);
    }

    /// Others are asked about the nodes that are silent.
    fn probe(&mut self, manager: usize) {
        let (time, now) = (self.time_of(manager), self.world.now);
        let own = self.world.machines.keys().nth(manager).copied();
        let own = own.unwrap_or(NodeId(0));
        let state = self.managers[manager].state.clone();
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        if now < hub.probes_at {
            return;
        }
        hub.probes_at = now + PROBES;
        let asks = probe::due(&state, hub.observer.observed(), time, LEASES, own);
        for ask in asks {
            let Some(hub) = self.managers[manager].hub_mut() else { return };
            hub.observer.asked(ask.suspect, ask.peers.clone(), time);
            for peer in ask.peers {
                self.tell(manager, peer, Down::Probe(ask.suspect, time));
            }
        }
    }

    /// What was gathered goes into the log.
    pub(super) fn flush(&mut self, manager: usize) {
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        if hub.writing.is_some() {
            return;
        }
        let batch = std::mem::take(&mut hub.gathered);
        if batch.edges.is_empty() {
            return self.acknowledge(manager, batch.acks);
        }
        let mut by_node: BTreeMap<NodeId, Vec<TaskEdge>> = BTreeMap::new();
        for (node, edge) in &batch.edges {
            by_node.entry(*node).or_default().push(edge.clone());
        }
        let commands = by_node.into_iter();
        let commands = commands.map(|(node, edges)| Command::ReportTasks { node, edges }).collect();
        let Some(index) = self.propose(manager, Origin::Report, commands) else { return };
        if let Some(hub) = self.managers[manager].hub_mut() {
            hub.writing = Some((index, batch));
        }
        self.wait_for(manager, index);
    }

    fn acknowledge(&mut self, manager: usize, acks: Vec<(NodeId, u64, u64)>) {
        for (node, id, seq) in acks {
            let sessions = self.managers[manager].hub().map(|hub| &hub.sessions);
            if sessions.and_then(|all| all.get(&node)).is_some_and(|session| session.id == id) {
                self.tell(manager, node, Down::StatusAck(seq));
            }
        }
    }

    /// An author of an entry waits for an answer, not for ever; and sometimes it is not told although all went well.
    fn wait_for(&mut self, manager: usize, index: u64) {
        let Some(term) = self.managers[manager].lead.as_ref().map(|lead| lead.term) else { return };
        let silent = self.silences > 0;
        self.silences = self.silences.saturating_sub(1);
        let wait = if silent { self.chance.span(5, 60) } else { PROPOSE };
        self.later(wait, Event::Untold { manager, term, index });
    }

    /// Nobody tells the author whether its entry was agreed on.
    pub(super) fn untold(&mut self, manager: usize, term: u64, index: u64) {
        let lead = self.managers[manager].lead.as_mut().filter(|lead| lead.term == term);
        let Some(hub) = lead.and_then(|lead| lead.hub.as_mut()) else { return };
        if hub.planned == Some(index) {
            hub.planned = None;
            hub.failed += 1;
            let wait = hub.back_off();
            self.look_again(manager, wait);
        } else if let Some((_, mut batch)) = hub.writing.take_if(|(at, _)| *at == index) {
            batch.edges.append(&mut hub.gathered.edges);
            batch.acks.append(&mut hub.gathered.acks);
            hub.gathered = batch;
            self.later(RETRY, Event::Flush(manager));
        }
    }

    /// An entry was applied: its author goes on.
    pub(super) fn answered(
        &mut self,
        manager: usize,
        slot: &Slot,
        answers: &[Result<Applied, Rejection>],
    ) {
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        hub.words.remove(&slot.index);
        if let Some((_, batch)) = hub.writing.take_if(|(at, _)| *at == slot.index) {
            self.acknowledge(manager, batch.acks);
            self.later(GATHER, Event::Flush(manager));
            return;
        }
        if hub.planned == Some(slot.index) {
            hub.planned = None;
            let refused = !answers.is_empty() && answers.iter().all(Result::is_err);
            hub.failed = if refused { hub.failed + 1 } else { 0 };
            let wait = if refused { hub.back_off() } else { crate::time::millis(GAP) };
            self.look_again(manager, wait);
        }
    }

    /// There will be a round of planning, no earlier than `wait` milliseconds from now.
    pub(super) fn look_again(&mut self, manager: usize, wait: u64) {
        let now = self.world.now;
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        hub.not_before = hub.not_before.max(now + wait);
        hub.late_since.get_or_insert(now);
        let at = hub.not_before.max(now + 1);
        self.round_at(manager, at);
    }

    fn round_at(&mut self, manager: usize, at: u64) {
        let now = self.world.now;
        let Some(lead) = self.managers[manager].lead.as_mut() else { return };
        let (term, Some(hub)) = (lead.term, lead.hub.as_mut()) else { return };
        if hub.planned.is_some() || hub.round_at.is_some_and(|known| known <= at && known >= now) {
            return;
        }
        hub.round_at = Some(at);
        self.later(Duration::from_millis(at - now), Event::Round { manager, term, at });
    }

    /// One round of planning.
    pub(super) fn round(&mut self, manager: usize, term: u64, at: u64) {
        let (time, now) = (self.time_of(manager), self.world.now);
        let found = &mut self.managers[manager];
        let state = found.state.clone();
        let Some(lead) = found.lead.as_mut().filter(|lead| lead.term == term) else { return };
        let Some(hub) = lead.hub.as_mut().filter(|hub| hub.round_at == Some(at)) else { return };
        hub.round_at = None;
        if hub.planned.is_some() {
            return;
        }
        let late = hub.late_since.take();
        let observed = hub.observer.observed().clone();
        let failed = hub.failed > 0;
        let round = round::decide(&state, &observed, time, LEASES);
        if let Some((_, heard, last)) = hub.last.as_ref().filter(|(at, ..)| *at == state.applied())
        {
            let again = round::decide_again((heard, last), &state, &observed, time, LEASES);
            assert_eq!(again, round, "a plan was kept that is not the one of now");
        }
        hub.last = Some((state.applied(), observed.clone(), round.clone()));
        let commands = round.commands(&state, failed);
        let wake_at = round.wake_at(&state);
        self.planned(manager, &state, &round, late);
        if commands.is_empty() {
            if let Some(at) = wake_at {
                let at = self.moment(manager, at).max(now + 1);
                self.round_at(manager, at);
            }
            return;
        }
        let origin = Origin::Plan { base: state.applied().0, observed };
        let Some(index) = self.propose(manager, origin, commands) else { return };
        if let Some(hub) = self.managers[manager].hub_mut() {
            hub.planned = Some(index);
        }
        self.wait_for(manager, index);
    }

    /// Hooks are called, at least once.
    pub(super) fn call_hooks(&mut self, manager: usize) {
        let results = self.world.hooks_called(&self.managers[manager].state);
        let Some(hub) = self.managers[manager].hub_mut() else { return };
        hub.hooks = false;
        if !results.is_empty() {
            hub.hooks = true;
            let _at =
                self.propose(manager, Origin::Hooks, vec![Command::SettleNotices { results }]);
            self.later(Duration::from_secs(1), Event::Hooks(manager));
        }
    }
}

impl Hub {
    pub(super) fn observed(&self) -> &Observed {
        self.observer.observed()
    }

    fn back_off(&self) -> u64 {
        let factor = 1_u64 << self.failed.saturating_sub(1).min(10);
        (BACK_OFF.0 * factor).min(BACK_OFF.1)
    }
}

impl Edges {
    /// Takes an edge in, if the state does not know it yet.
    fn add(&mut self, state: &crate::state::State, node: NodeId, (id, status): (TaskId, Status)) {
        let durable = status.phase == Phase::Running || status.phase.is_final();
        let known = state.task(id).filter(|task| task.node == node && task.is_live());
        if durable && known.is_some_and(|task| task.phase < status.phase) {
            self.edges.push((node, TaskEdge { task: id, phase: status.phase, end: status.end }));
        }
    }
}
