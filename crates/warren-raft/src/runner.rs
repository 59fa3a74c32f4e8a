//! The one task behind a [`Raft`] handle: gathers proposals into entries, follows who leads, keeps the clock, folds the
//! log into snapshots, and ends in order.

use crate::campaign::{self, standing};
use crate::dir;
use crate::error::{HandOverError, ProposeError, StorageFault};
use crate::handover::{self, HAND_OVER_MAX};
use crate::log_store::LogStore;
use crate::metrics;
use crate::options::{SnapshotPolicy, StoreKind};
use crate::pulse;
use crate::raft::{Leadership, Shared, leadership, not_leader};
use crate::types::{Batch, Metrics, Outcomes, TypeConfig, Vote};
use openraft::ServerState;
use openraft::error::ClientWriteError;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use warren_core::command::Command;
use warren_core::time::WallTime;

/// The most commands in one entry: a follower applies an entry in one go, and 1,000 commands take it some milliseconds.
pub(crate) const BATCH_COMMANDS_MAX: usize = 1_000;

/// The most bytes of commands in one entry: it travels to followers in one message, which gRPC limits to 4 MiB.
pub(crate) const BATCH_BYTES_MAX: usize = 1 << 20;

/// Entries on their way at once: one is being written while the next is replicated. More would only make them smaller.
const IN_FLIGHT_MAX: usize = 2;

/// How often the clock, the metrics and the need for a snapshot are looked at: well within the clock's two seconds.
const TICK: Duration = Duration::from_millis(250);

/// Between two tries of a leader with a full disk to give the lead away. Meanwhile all writes are refused, so it is
/// short; a try that finds nobody costs one message to each manager.
const MAKE_WAY_PAUSE: Duration = Duration::from_secs(2);

/// How long a stop waits for entries in flight and for files to be closed.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Commands of one caller, who waits for the answer.
pub(crate) struct Proposal {
    pub(crate) commands: Vec<Command>,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Result<Outcomes, ProposeError>>,
    /// The room it takes in the queue until it is answered.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// The task behind a [`crate::Raft`] handle. Without it running, nothing is written and nobody leads.
pub struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: mpsc::Receiver<Proposal>,
    pub(crate) handing: watch::Receiver<bool>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) log: LogStore,
    pub(crate) released: mpsc::Receiver<Infallible>,
    pub(crate) store: StoreKind,
    pub(crate) path: PathBuf,
    pub(crate) snapshots: SnapshotPolicy,
}

enum Event {
    Stop,
    Metrics { open: bool },
    Proposals { open: bool },
    Answered,
    Handing,
    Tick,
}

/// What the loop waits for, besides proposals and their answers.
struct Signals {
    shutdown: CancellationToken,
    raft: watch::Receiver<Metrics>,
    handing: watch::Receiver<bool>,
    tick: Interval,
}

/// What the loop remembers between events.
struct Progress {
    waiting: VecDeque<Proposal>,
    in_flight: JoinSet<()>,
    /// When a majority last answered, if one has since this manager leads.
    heard: Option<Instant>,
    /// Since when this manager leads, while it does.
    since: Option<Instant>,
    /// The last entry there was when this manager began to lead, while it does.
    fence: Option<u64>,
    /// Bytes in the log when it was last folded into a snapshot.
    snapshot_bytes: u64,
    /// Up to where a snapshot was last asked for.
    snapshot_asked: u64,
    /// The try to give the lead away because the disk is full: one at most.
    making_way: JoinSet<()>,
    /// Not again before then.
    make_way_at: Option<Instant>,
}

impl Runner {
    /// Runs until `shutdown`, or until durable state fails. On return the files are closed and the directory is free.
    ///
    /// # Errors
    /// The fault of the storage that stopped it. The node cannot go on: end the process and show the error.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), StorageFault> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let raft = self.shared.core.metrics();
        let mut signals = Signals { shutdown, raft, handing: self.handing.clone(), tick };
        let mut elections = JoinSet::new();
        let ended = CancellationToken::new();
        elections.spawn(campaign::run(Arc::clone(&self.shared), ended.clone()));
        elections.spawn(pulse::run(Arc::clone(&self.shared), ended.clone()));
        let mut progress = Progress {
            waiting: VecDeque::new(),
            in_flight: JoinSet::new(),
            heard: None,
            since: None,
            fence: None,
            snapshot_bytes: 0,
            snapshot_asked: 0,
            making_way: JoinSet::new(),
            make_way_at: None,
        };
        loop {
            match next(&mut signals, &mut self.queue, &mut progress).await {
                Event::Stop | Event::Metrics { open: false } | Event::Proposals { open: false } => {
                    break;
                }
                Event::Metrics { open: true } => {
                    let raft = signals.raft.borrow_and_update().clone();
                    if raft.running_state.is_err() {
                        break;
                    }
                    self.follow(&raft, &mut progress, true);
                    let members = raft.membership_config.membership();
                    self.shared.post.starts().retain(|node| members.get_node(&node).is_some());
                }
                Event::Handing => {
                    let raft = signals.raft.borrow().clone();
                    self.follow(&raft, &mut progress, false);
                }
                Event::Tick => {
                    let raft = signals.raft.borrow().clone();
                    self.follow(&raft, &mut progress, false);
                    self.step_down(&raft, &progress).await;
                    self.make_way(&raft, &mut progress);
                    self.measure(&raft);
                    self.fold(&raft, &mut progress).await;
                }
                Event::Proposals { open: true } | Event::Answered => {}
            }
            self.write(&mut progress).await;
        }
        ended.cancel();
        while elections.join_next().await.is_some() {}
        self.stop(progress).await
    }

    /// Updates who leads; `fresh` says that the metrics have just come.
    fn follow(&self, raft: &Metrics, progress: &mut Progress, fresh: bool) {
        let now = Instant::now();
        match raft.state {
            ServerState::Leader => {
                progress.since = progress.since.or(Some(now));
                progress.fence = progress.fence.or(raft.last_log_index);
                if let (true, Some(silence)) = (fresh, raft.millis_since_quorum_ack) {
                    let heard = now.checked_sub(Duration::from_millis(silence)).unwrap_or(now);
                    progress.heard = Some(heard);
                    self.shared.elections.lock().heard(heard);
                }
            }
            ServerState::Learner
            | ServerState::Follower
            | ServerState::Candidate
            | ServerState::Shutdown => {
                (progress.heard, progress.since, progress.fence) = (None, None, None);
            }
        }
        let alone = standing(raft).alone;
        let silence = match progress.heard {
            _ if alone => Duration::ZERO,
            Some(heard) => now.saturating_duration_since(heard),
            None => Duration::MAX,
        };
        let found = match *self.handing.borrow() {
            true => Leadership::None,
            false => leadership(raft, progress.fence, silence, self.shared.timers.election_min),
        };
        self.leadership.send_if_modified(|known| {
            let changed = *known != found;
            if changed {
                tracing::info!(from = ?known, to = ?found, "leadership changed");
                self.set_clock(found, now);
                *known = found;
            }
            changed
        });
        // Keeps the clock's strides short.
        self.shared.now(now);
    }

    /// A leader that hears no majority for long gives up, so that others, who may hear it still, can elect one whom
    /// they can answer.
    async fn step_down(&self, raft: &Metrics, progress: &Progress) {
        let Some(since) = progress.heard.max(progress.since) else { return };
        let silence = Instant::now().saturating_duration_since(since);
        if standing(raft).alone || silence < self.shared.timers.election_max * 2 {
            return;
        }
        tracing::warn!(
            term = raft.current_term,
            "no majority answers, so this manager leads no more"
        );
        // Node 0 is nobody, and comes before everybody: whoever stands in that term gets its vote.
        let vote = Vote::new(raft.current_term + 1, 0);
        let released = campaign::release(&self.shared.core, vote);
        if timeout(TICK, released).await.is_err() {
            tracing::debug!("consensus is busy, to be tried again");
        }
    }

    /// A leader whose disk is full refuses every write; it gives the lead to a manager that has room.
    fn make_way(&self, raft: &Metrics, progress: &mut Progress) {
        let full = self.check_space().is_err();
        self.shared.full.store(full, Ordering::Relaxed);
        while progress.making_way.try_join_next().is_some() {}
        let (here, now) = (standing(raft), Instant::now());
        let early = progress.make_way_at.is_some_and(|at| now < at);
        if !full || !here.leads || here.alone || early || !progress.making_way.is_empty() {
            return;
        }
        progress.make_way_at = Some(now + MAKE_WAY_PAUSE);
        let shared = Arc::clone(&self.shared);
        progress.making_way.spawn(async move { handover::make_way(&shared).await });
    }

    fn set_clock(&self, leadership: Leadership, now: Instant) {
        let committed = self.shared.state.borrow().time();
        let mut clock = self.shared.clock.lock().unwrap_or_else(PoisonError::into_inner);
        match leadership {
            Leadership::Leader { .. } => clock.lead(committed, now),
            Leadership::Follower { .. } | Leadership::None => clock.follow(),
        }
    }

    fn measure(&self, raft: &Metrics) {
        let index = |id: Option<crate::types::LogId>| id.map_or(0, |id| id.index);
        let leading = matches!(*self.leadership.borrow(), Leadership::Leader { .. });
        let last = raft.last_log_index.unwrap_or(0);
        let (applied, snapshot) = (index(raft.last_applied), index(raft.snapshot));
        metrics::position(raft.current_term, last, applied, snapshot, leading);
        if let Some(free) = dir::free_bytes(&self.path) {
            metrics::disk_free(free);
        }
    }

    /// Asks for a snapshot when the log has grown enough, and the disk has room for one.
    async fn fold(&self, raft: &Metrics, progress: &mut Progress) {
        let applied = raft.last_applied.map_or(0, |id| id.index);
        let since = raft.snapshot.map_or(0, |id| id.index).max(progress.snapshot_asked);
        let bytes = self.log.written_bytes();
        let due = applied.saturating_sub(since) >= self.snapshots.entries
            || (bytes - progress.snapshot_bytes >= self.snapshots.bytes && applied > since);
        if !due || self.check_space().is_err() {
            return;
        }
        if self.shared.core.trigger().snapshot().await.is_ok() {
            progress.snapshot_asked = applied;
            progress.snapshot_bytes = bytes;
        }
    }

    fn check_space(&self) -> Result<(), StorageFault> {
        match &self.store {
            StoreKind::Redb | StoreKind::Sled => dir::check_space(&self.path),
            StoreKind::Memory(disk) if disk.is_full() => {
                let error = std::io::ErrorKind::StorageFull.into();
                Err(StorageFault::from_io("write to", &self.path, error))
            }
            StoreKind::Memory(_) => Ok(()),
        }
    }

    /// Sends what waits on its way, as much as may be.
    async fn write(&self, progress: &mut Progress) {
        while progress.in_flight.len() < IN_FLIGHT_MAX && !progress.waiting.is_empty() {
            let proposals = take_batch(&mut progress.waiting);
            if proposals.is_empty() {
                continue;
            }
            if let Err(fault) = self.check_space() {
                answer_all(proposals, &ProposeError::Storage(fault));
                continue;
            }
            let Ok(pass) = Arc::clone(&self.shared.gate).try_acquire_owned() else {
                // This manager is handing over. Nothing of it was written.
                answer_all(proposals, &ProposeError::NotLeader { leader: None });
                continue;
            };
            let mut commands = Vec::new();
            let mut callers = Vec::new();
            for mut proposal in proposals {
                callers.push((proposal.commands.len(), proposal.reply, proposal._room));
                commands.append(&mut proposal.commands);
            }
            metrics::batch(commands.len());
            let at = self.shared.now(Instant::now());
            let batch = Batch { at, wall: wall_now(), commands };
            match self.shared.core.client_write_ff(batch).await {
                Ok(written) => {
                    let shared = Arc::clone(&self.shared);
                    progress.in_flight.spawn(settle(shared, written, callers, pass));
                }
                Err(fatal) => {
                    let error = self.shared.fatal(&fatal);
                    for (_, reply, _room) in callers {
                        tell(reply, Err(error.clone()));
                    }
                }
            }
        }
    }

    async fn stop(mut self, mut progress: Progress) -> Result<(), StorageFault> {
        self.leadership.send_replace(Leadership::None);
        self.set_clock(Leadership::None, Instant::now());
        self.queue.close();
        while let Ok(proposal) = self.queue.try_recv() {
            progress.waiting.push_back(proposal);
        }
        answer_all(progress.waiting.into(), &self.shared.stopped());
        progress.making_way.shutdown().await;
        match handover::hand_over(&self.shared, None, Instant::now() + HAND_OVER_MAX).await {
            Ok(_) | Err(HandOverError::NotLeader | HandOverError::Alone) => {}
            Err(error @ (HandOverError::Busy | HandOverError::NotTaken { .. })) => {
                tracing::warn!(error = %error, "stopping without a successor");
            }
        }
        let settled =
            timeout(STOP_MAX, async { while progress.in_flight.join_next().await.is_some() {} });
        if settled.await.is_err() {
            tracing::warn!("entries in flight were given up");
        }
        if let Err(error) = self.shared.core.shutdown().await {
            tracing::warn!(error = %error, "consensus did not stop in order");
        }
        let Self { log, mut released, shared, .. } = self;
        drop(log);
        if timeout(STOP_MAX, released.recv()).await.is_err() {
            tracing::warn!("the log is still in use");
        }
        shared.faults.fault().map_or(Ok(()), Err)
    }
}

async fn next(
    signals: &mut Signals,
    queue: &mut mpsc::Receiver<Proposal>,
    progress: &mut Progress,
) -> Event {
    let gather = progress.in_flight.len() < IN_FLIGHT_MAX && progress.waiting.is_empty();
    let mut arrived = Vec::new();
    let event = tokio::select! {
        biased;
        () = signals.shutdown.cancelled() => Event::Stop,
        changed = signals.raft.changed() => Event::Metrics { open: changed.is_ok() },
        Ok(()) = signals.handing.changed() => Event::Handing,
        Some(_) = progress.in_flight.join_next() => Event::Answered,
        _ = signals.tick.tick() => Event::Tick,
        count = queue.recv_many(&mut arrived, BATCH_COMMANDS_MAX), if gather => {
            Event::Proposals { open: count > 0 }
        }
    };
    progress.waiting.extend(arrived);
    event
}

/// The proposals that make up the next entry; without those whose callers have given up.
fn take_batch(waiting: &mut VecDeque<Proposal>) -> Vec<Proposal> {
    let (mut bytes, mut commands) = (0, 0);
    let mut batch: Vec<Proposal> = Vec::new();
    while let Some(proposal) = waiting.pop_front() {
        if proposal.reply.is_closed() {
            continue;
        }
        bytes += proposal.bytes;
        commands += proposal.commands.len();
        if !batch.is_empty() && (bytes > BATCH_BYTES_MAX || commands > BATCH_COMMANDS_MAX) {
            waiting.push_front(proposal);
            break;
        }
        batch.push(proposal);
    }
    batch
}

type Caller = (usize, oneshot::Sender<Result<Outcomes, ProposeError>>, OwnedSemaphorePermit);
type Written =
    <openraft::impls::OneshotResponder<TypeConfig> as openraft::raft::responder::Responder<
        TypeConfig,
    >>::Receiver;

/// Waits for an entry to be applied, and gives each caller its part of the answer.
async fn settle(
    shared: Arc<Shared>,
    written: Written,
    callers: Vec<Caller>,
    _pass: OwnedSemaphorePermit,
) {
    let answer = match timeout(shared.timers.propose, written).await {
        Ok(Ok(Ok(response))) => Ok(response.data),
        Ok(Ok(Err(ClientWriteError::ForwardToLeader(forward)))) => Err(not_leader(forward)),
        // Only a membership change is answered so.
        Ok(Ok(Err(ClientWriteError::ChangeMembershipError(_))) | Err(_)) => Err(shared.stopped()),
        Err(_) => Err(ProposeError::Timeout),
    };
    let mut answer = answer.map(Vec::into_iter);
    for (count, reply, _room) in callers {
        tell(reply, answer.as_mut().map(|all| all.take(count).collect()).map_err(|e| e.clone()));
    }
}

fn answer_all(proposals: Vec<Proposal>, error: &ProposeError) {
    for proposal in proposals {
        tell(proposal.reply, Err(error.clone()));
    }
}

fn tell(
    reply: oneshot::Sender<Result<Outcomes, ProposeError>>,
    answer: Result<Outcomes, ProposeError>,
) {
    if reply.send(answer).is_err() {
        tracing::debug!("a caller did not wait for its answer");
    }
}

/// For display only, so a clock before 1970 may read as 1970.
fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(warren_core::time::millis(since))
}
