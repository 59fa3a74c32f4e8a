//! Elections as messages: asking the others, beginning one, and doing so at the leader's wish.

use crate::election::{Ask, Election, Opinion, Standing, Step, majority};
use crate::raft::Shared;
use crate::transport::Rpc;
use crate::types::{Core, LogId, Metrics, Vote};
use openraft::ServerState;
use openraft::error::{Fatal, RaftError};
use openraft::raft::{AppendEntriesRequest, VoteRequest, VoteResponse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use warren_core::id::NodeId;

/// An [`Election`] that the runner, the messages and the links share.
#[derive(Clone, Debug)]
pub(crate) struct Elections(Arc<Mutex<Election>>);

impl Elections {
    pub(crate) fn new(election: Election) -> Self {
        Self(Arc::new(Mutex::new(election)))
    }

    /// An election is a few plain numbers, each of them whole at any time.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Election> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request for a vote, as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) request: VoteRequest<u64>,
    /// The leader of the term before wishes it, or its process has ended: nobody has to wait for its lease to end.
    pub(crate) vacant: bool,
}

/// A leader's wish that the manager it is sent to begins an election.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// Who leads.
    pub(crate) leader: u64,
    /// In which term.
    pub(crate) term: u64,
    /// The last entry of its log; nothing comes after it.
    pub(crate) last: LogId,
}

/// What became of a [`Wish`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Campaign {
    /// An election has begun.
    Begun,
    /// This manager follows somebody else, has not got everything, or has no room for more on its disk.
    Unfit,
}

/// Begins elections when they are due, until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut raft = shared.core.metrics();
    loop {
        let full = shared.is_full();
        let standing = Standing { full, ..standing(&raft.borrow_and_update()) };
        let step = shared.elections.lock().next(Instant::now(), &standing);
        let elect = match step {
            Step::Elect => true,
            Step::Look => {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = is_gone(&shared) => false,
                }
            }
            Step::Ask => {
                tracing::info!(term = standing.term, "no leader heard, asking the other managers");
                tokio::select! {
                    () = stop.cancelled() => return,
                    yes = ask(&shared) => yes,
                }
            }
            Step::Wait(until) => {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep_until(until) => {}
                    changed = raft.changed() => if changed.is_err() { return },
                }
                false
            }
        };
        if elect {
            tracing::info!(term = standing.term + 1, "beginning an election");
            shared.elections.lock().voted(Instant::now());
            if shared.core.trigger().elect().await.is_err() {
                return;
            }
        }
    }
}

/// Where consensus has this manager stand; it knows nothing of disks.
pub(crate) fn standing(raft: &Metrics) -> Standing {
    let voters = || raft.membership_config.membership().voter_ids();
    Standing {
        term: raft.current_term,
        votes: voters().any(|id| id == raft.id),
        alone: voters().eq([raft.id]),
        leads: raft.state == ServerState::Leader,
        full: false,
    }
}

/// Whether the leader has been silent and its process turns out to have ended.
async fn is_gone(shared: &Shared) -> bool {
    let raft = shared.core.metrics().borrow().clone();
    let Some(doubt) = shared.elections.lock().doubts(Instant::now()) else { return false };
    let members = raft.membership_config.membership();
    let leader = raft.current_leader.filter(|leader| *leader != raft.id);
    let Some((leader, peer)) = leader.and_then(|id| Some((NodeId(id), members.get_node(&id)?)))
    else {
        return false;
    };
    let address = &peer.address;
    if shared.post.listens(leader, address, shared.timers.heartbeat).await {
        return false;
    }
    let term = raft.current_term + 1;
    let gone = shared.elections.lock().gone(Instant::now(), doubt, term);
    if gone {
        tracing::info!(%leader, address, "the leader is silent, and nobody listens at its address");
    }
    gone
}

/// Whether a majority of the voters would let this manager stand.
async fn ask(shared: &Shared) -> bool {
    let raft = shared.core.metrics().borrow().clone();
    let configs = raft.membership_config.membership().get_joint_config();
    let mut answers = opinions(shared, &raft);
    let mut granted = BTreeSet::from([raft.id]);
    while let Some(answer) = answers.join_next().await {
        let yes = answer.ok().flatten().filter(|(_, opinion)| opinion.yes);
        granted.extend(yes.map(|(id, _)| id));
        if majority(configs, &granted) {
            return shared.elections.lock().still_silent(Instant::now());
        }
    }
    false
}

/// The other voters whose disks have room. Asked by a leader, whom they have just heard, nothing else comes of it.
pub(crate) async fn with_room(shared: &Shared) -> BTreeSet<NodeId> {
    let raft = shared.core.metrics().borrow().clone();
    let answers = opinions(shared, &raft).join_all().await;
    let room = answers.into_iter().flatten().filter(|(_, opinion)| opinion.room);
    room.map(|(id, _)| NodeId(id)).collect()
}

/// Asks all other voters at once; who does not answer in time has no opinion.
fn opinions(shared: &Shared, raft: &Metrics) -> JoinSet<Option<(u64, Opinion)>> {
    let membership = raft.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let question = Ask { term: raft.current_term, last: last_log(&shared.core) };
    let mut answers = JoinSet::new();
    for (id, peer) in membership.nodes().filter(|(id, _)| **id != raft.id && voters.contains(id)) {
        let (id, address, question) = (*id, peer.address.clone(), question.clone());
        let (post, limit) = (shared.post.clone(), shared.timers.election_min);
        answers.spawn(async move {
            let answer = post.call(NodeId(id), &address, Rpc::PreVote, &question, limit).await;
            Some((id, answer.ok()?))
        });
    }
    answers
}

/// Answers a manager that would like to stand. Changes neither vote nor term.
pub(crate) async fn opinion(shared: &Shared, question: &Ask) -> Opinion {
    let allows = || {
        let (theirs, mine) = (question.last.as_ref(), last_log(&shared.core));
        shared.elections.lock().allows(Instant::now(), theirs, mine.as_ref())
    };
    let yes = allows() || (is_gone(shared).await && allows());
    tracing::debug!(term = question.term, yes, "another manager would like to stand");
    Opinion { yes, room: !shared.is_full() }
}

/// Answers a request for a vote.
pub(crate) async fn vote(
    shared: &Shared,
    ballot: Ballot,
) -> Result<VoteResponse<u64>, RaftError<u64>> {
    if ballot.vacant {
        release(&shared.core, ballot.request.vote).await?;
    }
    let answer = shared.core.vote(ballot.request).await?;
    if answer.vote_granted {
        shared.elections.lock().voted(Instant::now());
    }
    Ok(answer)
}

/// Begins an election at the leader's wish, if this manager follows it and has all it wrote.
pub(crate) async fn campaign(shared: &Shared, wish: &Wish) -> Result<Campaign, Fatal<u64>> {
    // The leader's last entry is here, but openraft may not have told yet.
    let mut data = shared.core.data_metrics();
    let complete = data.wait_for(|data| data.last_log.as_ref() >= Some(&wish.last));
    let complete = timeout(shared.timers.heartbeat, complete).await.is_ok();
    let raft = shared.core.metrics().borrow().clone();
    let follows = raft.current_leader == Some(wish.leader) && raft.current_term == wish.term;
    if !complete || !follows || !standing(&raft).votes || shared.is_full() {
        return Ok(Campaign::Unfit);
    }
    tracing::info!(leader = wish.leader, term = wish.term, "the leader hands over to this manager");
    shared.elections.lock().hand(Instant::now(), wish.term + 1);
    shared.core.trigger().elect().await?;
    Ok(Campaign::Begun)
}

/// Makes a manager obey `vote` and no leader before it, without giving it the vote: an append that fits no log, in the
/// name of a candidate. openraft then no more waits for the lease of the leader it had, and a leader leads no more.
pub(crate) async fn release(core: &Core, vote: Vote) -> Result<(), RaftError<u64>> {
    let nowhere = LogId::new(openraft::CommittedLeaderId::new(u64::MAX, 0), u64::MAX - 1);
    let request = AppendEntriesRequest {
        vote,
        prev_log_id: Some(nowhere),
        entries: Vec::new(),
        leader_commit: None,
    };
    core.append_entries(request).await.map(drop)
}

pub(crate) fn last_log(core: &Core) -> Option<LogId> {
    core.data_metrics().borrow().last_log
}
