//! A manager's handle to the agreed state.

use crate::campaign::Elections;
use crate::clock::Clock;
use crate::error::{FaultCell, HandOverError, Leader, MembershipError, ProposeError};
use crate::handover::{self, HAND_OVER_MAX};
use crate::metrics;
use crate::network::{self, ReceiveError};
use crate::options::Timers;
use crate::post::Post;
use crate::runner::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, Proposal};
use crate::starts::Displaced;
use crate::transport::Rpc;
use crate::types::{Core, Metrics, Peer};
use openraft::ChangeMembers;
use openraft::error::{
    CheckIsLeaderError, ClientWriteError, Fatal, ForwardToLeader, InitializeError, RaftError,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use warren_core::State;
use warren_core::command::{Applied, Command, Rejection};
use warren_core::id::{LogIndex, NodeId};
use warren_core::time::ClusterTime;

/// Bytes of commands that wait at once: some seconds of writes on a slow disk. What comes on top is told to come back.
pub(crate) const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Proposals that wait at once, each of a caller that waits for its answer.
pub(crate) const QUEUE_PROPOSALS_MAX: usize = 4_096;

/// A manager with at most so many entries to come counts as caught up: under load a follower is always some entries
/// late, and these take it a few milliseconds.
const CAUGHT_UP_MAX: u64 = 64;

/// A manager's handle to the agreed state. Cheap to clone; all clones are the same manager.
#[derive(Clone)]
pub struct Raft {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) store: &'static str,
    pub(crate) timers: Timers,
    pub(crate) core: Core,
    pub(crate) post: Post,
    pub(crate) elections: Elections,
    /// Whatever is written holds a pass of it; who hands over holds all.
    pub(crate) gate: Arc<Semaphore>,
    /// Whether this manager is handing over at the moment.
    pub(crate) handing: watch::Sender<bool>,
    pub(crate) proposals: mpsc::Sender<Proposal>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) state: watch::Receiver<Arc<State>>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) clock: Mutex<Clock>,
    pub(crate) faults: FaultCell,
    /// Whether the disk was too full for new writes when the runner last looked.
    pub(crate) full: AtomicBool,
}

/// Who leads, as this manager knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leadership {
    /// Nobody, or nobody known: an election is on, or this manager has lost touch.
    #[default]
    None,
    /// This manager leads, everything committed before its term is applied here, and a majority answers it.
    Leader {
        /// In this term. An action begun in one term must not be finished in another. A manager that was restarted
        /// quickly may lead on in the term it led before.
        term: u64,
    },
    /// Another manager leads.
    Follower {
        /// Which.
        leader: NodeId,
    },
}

/// Where a manager's Raft stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// This manager.
    pub node: NodeId,
    /// The engine of its log: `redb`, `sled` or `memory`.
    pub store: &'static str,
    /// The current term.
    pub term: u64,
    /// Who leads.
    pub leadership: Leadership,
    /// The last entry in the log here.
    pub last: LogIndex,
    /// The last entry applied here.
    pub applied: LogIndex,
    /// Up to where the newest snapshot here reaches; 0 without one.
    pub snapshot: LogIndex,
    /// Up to where the log has been cut off here; 0 if never.
    pub purged: LogIndex,
    /// Managers that vote, with their addresses.
    pub voters: BTreeMap<NodeId, String>,
    /// Managers that only follow.
    pub learners: BTreeMap<NodeId, String>,
    /// The voters that a change of them leads to which a leader began and did not end; to be ended by setting them.
    pub changing: Option<BTreeSet<NodeId>>,
    /// While this manager leads: up to where each other manager has the log, as far as it has said.
    pub followers: BTreeMap<NodeId, LogIndex>,
    /// What has failed, if something has; the manager stops then.
    pub fault: Option<String>,
}

impl Status {
    /// Managers that have the log almost to its end. Of the voters it says so too; empty while this manager does not
    /// lead.
    #[must_use]
    pub fn caught_up(&self) -> BTreeSet<NodeId> {
        let near = |matched: &LogIndex| matched.0 + CAUGHT_UP_MAX >= self.last.0;
        self.followers.iter().filter(|(_, matched)| near(matched)).map(|(node, _)| *node).collect()
    }
}

impl Raft {
    /// Makes this manager, reached by the others at `address`, the only voter of a new cluster.
    ///
    /// # Errors
    /// There is a cluster already, or the log cannot be written.
    pub async fn init_single(&self, address: &str) -> Result<(), MembershipError> {
        let peer = Peer { address: address.to_owned() };
        let members = BTreeMap::from([(self.shared.node.0, peer)]);
        match self.shared.core.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                Err(MembershipError::AlreadyInitialised)
            }
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
                Err(MembershipError::Refused(error.to_string()))
            }
            Err(RaftError::Fatal(fatal)) => Err(self.shared.fatal(&fatal).into()),
        }
    }

    /// Whether this data directory holds a cluster already.
    ///
    /// # Errors
    /// This manager is stopping.
    pub async fn is_initialised(&self) -> Result<bool, ProposeError> {
        let initialised = self.shared.core.is_initialized().await;
        initialised.map_err(|fatal| self.shared.fatal(&fatal))
    }

    /// Asks for `commands` to be agreed on, and waits until they are applied here. They go into one log entry, in
    /// order, with no other's between them; each is accepted or rejected for itself. An answer means that they are on
    /// the disks of a majority.
    ///
    /// # Errors
    /// See [`ProposeError`], which tells whether the commands may have been applied.
    pub async fn propose(
        &self,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Applied, Rejection>>, ProposeError> {
        let begun = Instant::now();
        let answer = self.propose_until(commands, begun + self.shared.timers.propose).await;
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(error) => error.outcome(),
        };
        metrics::proposed(outcome, begun.elapsed());
        answer
    }

    async fn propose_until(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Vec<Result<Applied, Rejection>>, ProposeError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = encoded_bytes(&commands);
        if bytes > BATCH_BYTES_MAX || commands.len() > BATCH_COMMANDS_MAX {
            let (commands, bytes_max) = (commands.len(), BATCH_BYTES_MAX);
            let commands_max = BATCH_COMMANDS_MAX;
            return Err(ProposeError::TooLarge { bytes, commands, bytes_max, commands_max });
        }
        let permits = u32::try_from(bytes).map_err(|_| ProposeError::Overloaded)?;
        let room = Arc::clone(&self.shared.room).try_acquire_many_owned(permits);
        let room = room.map_err(|_| ProposeError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let proposal = Proposal { commands, bytes, reply, _room: room };
        self.shared.proposals.try_send(proposal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => self.shared.stopped(),
        })?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.shared.stopped()),
            Err(_) => Err(ProposeError::Timeout),
        }
    }

    /// The state as applied here, and every later one. On a follower, or without [`Self::barrier`], it may be behind.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.shared.state.clone()
    }

    /// Who leads, and every change of it.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.clone()
    }

    /// Cluster time now: on the leader it goes on, elsewhere it stands at the last applied entry.
    #[must_use]
    pub fn now(&self) -> ClusterTime {
        self.shared.now(Instant::now())
    }

    /// Returns once [`Self::state`] shows everything that was acknowledged anywhere before this call: a read that
    /// follows is linearizable. Costs a round of heartbeats, no disk write.
    ///
    /// # Errors
    /// This manager does not lead, or no majority answers in time.
    pub async fn barrier(&self) -> Result<(), ProposeError> {
        let deadline = Instant::now() + self.shared.timers.propose;
        loop {
            let asked = timeout_at(deadline, self.shared.core.ensure_linearizable()).await;
            match asked.map_err(|_| ProposeError::Timeout)? {
                Ok(_) => return Ok(()),
                // The round has the time for which a leader leads without an answer: it may well fail and then succeed.
                Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                    sleep(self.shared.timers.heartbeat).await;
                }
                Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                    return Err(not_leader(forward));
                }
                Err(RaftError::Fatal(fatal)) => return Err(self.shared.fatal(&fatal)),
            }
        }
    }

    /// For how long [`Self::state`] may have been behind: since a leader was heard last, or on the leader since a
    /// majority answered it. Absent where that has not been so since this manager started.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        self.shared.elections.lock().silence(Instant::now())
    }

    /// Where this manager's Raft stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = self.shared.core.metrics().borrow().clone();
        let index = |id: Option<crate::types::LogId>| LogIndex(id.map_or(0, |id| id.index));
        let membership = raft.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let (voting, learning): (BTreeMap<_, _>, BTreeMap<_, _>) = membership
            .nodes()
            .map(|(id, peer)| (NodeId(*id), peer.address.clone()))
            .partition(|(id, _)| voters.contains(&id.0));
        let changing = match membership.get_joint_config().as_slice() {
            [_, .., target] => Some(target.iter().copied().map(NodeId).collect()),
            _ => None,
        };
        let followers = raft.replication.iter().flatten().filter(|(id, _)| **id != raft.id);
        let followers = followers.map(|(id, matched)| (NodeId(*id), index(*matched))).collect();
        Status {
            node: self.shared.node,
            store: self.shared.store,
            term: raft.current_term,
            leadership: *self.shared.leadership.borrow(),
            last: LogIndex(raft.last_log_index.unwrap_or(0)),
            applied: index(raft.last_applied),
            snapshot: index(raft.snapshot),
            purged: index(raft.purged),
            voters: voting,
            learners: learning,
            changing,
            followers,
            fault: self.shared.faults.fault().map(|fault| fault.to_string()),
        }
    }

    /// Adds a manager that follows without a vote, or tells where a known one, voter or not, is reached from now on.
    /// Returns once that is agreed; [`Status::followers`] tells when a new one has caught up.
    ///
    /// # Errors
    /// This manager does not lead, or the change was not agreed in time.
    pub async fn add_learner(&self, node: NodeId, address: &str) -> Result<(), MembershipError> {
        let peer = Peer { address: address.to_owned() };
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(node.0, peer)]))).await
    }

    /// Makes exactly `voters` the managers that vote. Each must be a voter or a learner already; who was a voter and
    /// is none any more is forgotten.
    ///
    /// # Errors
    /// This manager does not lead, another change is under way, or it was not agreed in time.
    pub async fn set_voters(&self, voters: &BTreeSet<NodeId>) -> Result<(), MembershipError> {
        let ids: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
        self.change(ChangeMembers::ReplaceAllVoters(ids)).await
    }

    /// Forgets a manager, voter or learner. A leader does not remove itself: it hands over, and the next one does it.
    ///
    /// # Errors
    /// This manager does not lead, it is the one to be removed, another change is under way, or it was not agreed in
    /// time.
    pub async fn remove(&self, node: NodeId) -> Result<(), MembershipError> {
        if node == self.shared.node {
            let why = format!("{node} leads: hand over first, then have the next leader remove it");
            return Err(MembershipError::Refused(why));
        }
        let ids = BTreeSet::from([node.0]);
        let votes = self.status().voters.contains_key(&node);
        self.change(match votes {
            true => ChangeMembers::RemoveVoters(ids),
            false => ChangeMembers::RemoveNodes(ids),
        })
        .await
    }

    /// Gives the lead to the most caught-up other voter, within some hundred milliseconds, and returns who leads then.
    /// Meanwhile and afterwards proposals here are answered [`ProposeError::NotLeader`]; none is lost, and whoever
    /// waits for an answer gets it before. The runner does this by itself when it is told to stop.
    ///
    /// # Errors
    /// See [`HandOverError`]. This manager may lead on then.
    pub async fn hand_over(&self) -> Result<NodeId, HandOverError> {
        handover::hand_over(&self.shared, None, Instant::now() + HAND_OVER_MAX).await
    }

    /// As [`Self::hand_over`], to one of `heirs`.
    ///
    /// # Errors
    /// See [`HandOverError`]. This manager may lead on then.
    pub async fn hand_over_to(&self, heirs: &BTreeSet<NodeId>) -> Result<NodeId, HandOverError> {
        handover::hand_over(&self.shared, Some(heirs), Instant::now() + HAND_OVER_MAX).await
    }

    /// Why this manager must not go on, once another one has said so: its data directory is in use twice, or is an old
    /// copy. Whoever runs it stops it then.
    #[must_use]
    pub fn displaced(&self) -> watch::Receiver<Option<Displaced>> {
        self.shared.post.displaced()
    }

    /// Handles a message from another manager and returns the bytes of the answer.
    ///
    /// # Errors
    /// The message cannot be read.
    pub async fn receive(&self, rpc: Rpc, body: &[u8]) -> Result<Vec<u8>, ReceiveError> {
        network::receive(&self.shared, rpc, body).await
    }

    async fn change(&self, change: ChangeMembers<u64, Peer>) -> Result<(), MembershipError> {
        let deadline = Instant::now() + self.shared.timers.propose;
        let change = async {
            let _pass = self.shared.gate.acquire().await;
            self.shared.core.change_membership(change, false).await
        };
        match timeout_at(deadline, change).await.map_err(|_| ProposeError::Timeout)? {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Err(MembershipError::Refused(error.to_string()))
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(not_leader(forward).into())
            }
            Err(RaftError::Fatal(fatal)) => Err(self.shared.fatal(&fatal).into()),
        }
    }
}

impl Shared {
    pub(crate) fn now(&self, now: Instant) -> ClusterTime {
        let committed = self.state.borrow().time();
        // A clock is a few plain numbers, replaced whole.
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).at(committed, now)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Why nothing is accepted any more.
    pub(crate) fn stopped(&self) -> ProposeError {
        self.faults.fault().map_or(ProposeError::Stopped, ProposeError::Storage)
    }

    pub(crate) fn fatal(&self, fatal: &Fatal<u64>) -> ProposeError {
        tracing::debug!(error = %fatal, "consensus has stopped");
        self.stopped()
    }
}

impl ProposeError {
    /// The word for it in metrics.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::NotLeader { .. } => "not_leader",
            Self::Overloaded => "overloaded",
            Self::TooLarge { .. } => "too_large",
            Self::Storage(_) => "storage",
            Self::Timeout => "timeout",
            Self::Stopped => "stopped",
        }
    }
}

/// What the metrics of consensus say about who leads. `fence` is the last entry there was when this manager began to
/// lead, and `silence` for how long no majority has answered it. After the `lease` the others may elect another.
pub(crate) fn leadership(
    raft: &Metrics,
    fence: Option<u64>,
    silence: Duration,
    lease: Duration,
) -> Leadership {
    let term = raft.current_term;
    let caught_up = raft.last_applied.is_some_and(|id| {
        id.leader_id.term == term && fence.is_some_and(|fence| id.index >= fence)
    });
    match raft.current_leader {
        Some(leader) if leader != raft.id => Leadership::Follower { leader: NodeId(leader) },
        Some(_) if caught_up && silence <= lease => Leadership::Leader { term },
        Some(_) | None => Leadership::None,
    }
}

pub(crate) fn not_leader(forward: ForwardToLeader<u64, Peer>) -> ProposeError {
    let leader = forward.leader_id.map(|id| Leader {
        node: NodeId(id),
        address: forward.leader_node.map(|peer| peer.address).unwrap_or_default(),
    });
    ProposeError::NotLeader { leader }
}

/// The size of commands in a log entry, without building it.
fn encoded_bytes(commands: &[Command]) -> usize {
    // Commands are plain values; if one could not be encoded, writing it would say so with the reason.
    postcard::experimental::serialized_size(commands).unwrap_or(usize::MAX)
}
