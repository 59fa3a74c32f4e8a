//! The lead, given to another manager on purpose: in milliseconds, where an election after a death takes the time that
//! it takes to notice it.
//!
//! The leader takes no more proposals, waits until one follower has everything, and asks it to begin an election. The
//! others let that one have their votes at once, although they have heard the leader a moment ago ([`Ballot`]). Nothing
//! here decides who leads: that is the election's, so a hand-over that fails half-way costs time and nothing else.
//! A read is safe as well, since [`crate::Raft::barrier`] always asks a majority and never relies on a lease.
//!
//! [`Ballot`]: crate::campaign::Ballot

use crate::campaign::{self, Campaign, Wish, last_log, standing};
use crate::error::HandOverError;
use crate::raft::{Leadership, Shared};
use crate::transport::Rpc;
use crate::types::{LogId, Metrics};
use openraft::error::Fatal;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use warren_core::id::NodeId;

/// How long a hand-over may take in all: several times what it takes where all is well, and less than an operator
/// waits for a process to stop.
pub(crate) const HAND_OVER_MAX: Duration = Duration::from_secs(2);

/// Passes through the gate that each entry on its way and each change of the membership holds; a hand-over takes all of
/// them. Only more than there are ever entries and changes at once.
pub(crate) const GATE_PASSES: u32 = 64;

/// Gives the lead to the most caught-up voter that takes it, of those that `heirs` names, and returns who leads then.
pub(crate) async fn hand_over(
    shared: &Shared,
    heirs: Option<&BTreeSet<NodeId>>,
    deadline: Instant,
) -> Result<NodeId, HandOverError> {
    let raft = shared.core.metrics().borrow().clone();
    let here = standing(&raft);
    if !here.leads {
        return Err(HandOverError::NotLeader);
    }
    if here.alone {
        return Err(HandOverError::Alone);
    }
    let _handing = Handing::begin(shared).ok_or(HandOverError::Busy)?;
    let settled = timeout_at(deadline, shared.gate.acquire_many(GATE_PASSES)).await;
    let _gate = settled.map_err(|_| HandOverError::Busy)?.map_err(|_| HandOverError::NotLeader)?;
    let mut leadership = shared.leadership.clone();
    let quiet = leadership.wait_for(|now| !matches!(now, Leadership::Leader { .. }));
    timeout_at(deadline, quiet).await.map_err(|_| HandOverError::Busy)?.ok();
    offer(shared, heirs, here.term, deadline).await
}

/// Gives the lead to a manager whose disk has room, where there is one: this one's has none, so that it can lead
/// nobody anywhere. Where all are full it leads on, since what is there can be read.
pub(crate) async fn make_way(shared: &Shared) {
    let heirs = campaign::with_room(shared).await;
    if heirs.is_empty() {
        tracing::warn!("the disk is full, and no other manager that could lead has room either");
        return;
    }
    tracing::warn!("the disk is full, handing over to a manager that has room");
    if let Err(error) = hand_over(shared, Some(&heirs), Instant::now() + HAND_OVER_MAX).await {
        tracing::warn!(error = %error, "leading on with a full disk");
    }
}

/// Offers the lead of `term` to one follower after the other.
async fn offer(
    shared: &Shared,
    heirs: Option<&BTreeSet<NodeId>>,
    term: u64,
    deadline: Instant,
) -> Result<NodeId, HandOverError> {
    let mut tried = BTreeSet::new();
    let mut failures = Vec::new();
    while let Some(follower) = most_caught_up(shared, heirs, &tried) {
        tried.insert(follower);
        // Half of what is left, so that one that is slow leaves time for another.
        let now = Instant::now();
        let limit = now + deadline.saturating_duration_since(now) / 2;
        match offer_to(shared, follower, term, limit).await {
            Ok(()) => {
                let taken = limit.min(Instant::now() + shared.timers.election_max);
                if let Some(leader) = successor(shared, term, taken).await {
                    tracing::info!(leader = leader.0, "the lead is handed over");
                    return Ok(leader);
                }
                failures.push(format!("{} began an election and did not win it", NodeId(follower)));
            }
            Err(why) => failures.push(format!("{} {why}", NodeId(follower))),
        }
        if !still_leads(shared, term) {
            // An election is on anyway.
            break;
        }
    }
    if !still_leads(shared, term)
        && let Some(leader) = successor(shared, term, deadline).await
    {
        return Ok(leader);
    }
    Err(HandOverError::NotTaken { why: failures.join(", ") })
}

/// Waits until `follower` has everything, and asks it to begin an election.
async fn offer_to(
    shared: &Shared,
    follower: u64,
    term: u64,
    limit: Instant,
) -> Result<(), &'static str> {
    let mut raft = shared.core.metrics();
    let caught_up = raft.wait_for(|raft| !leads(raft, term) || has_all(raft, follower));
    timeout_at(limit, caught_up)
        .await
        .map_err(|_| "did not catch up")?
        .map_err(|_| "was not asked")?;
    let raft = shared.core.metrics().borrow().clone();
    let address = raft.membership_config.membership().get_node(&follower);
    let address = address.map(|peer| peer.address.clone()).ok_or("is no member any more")?;
    let last = last_log(&shared.core).ok_or("has nothing to lead")?;
    let wish = Wish { leader: raft.id, term, last };
    let left = limit.saturating_duration_since(Instant::now()).min(shared.timers.election_max);
    let asked = shared.post.call(NodeId(follower), &address, Rpc::Campaign, &wish, left).await;
    let answer: Result<Campaign, Fatal<u64>> = asked.map_err(|_| "did not answer")?;
    match answer {
        Ok(Campaign::Begun) => Ok(()),
        Ok(Campaign::Unfit) => Err("was not ready"),
        Err(_) => Err("is stopping"),
    }
}

fn most_caught_up(
    shared: &Shared,
    heirs: Option<&BTreeSet<NodeId>>,
    tried: &BTreeSet<u64>,
) -> Option<u64> {
    let raft = shared.core.metrics().borrow().clone();
    let matched =
        |id: u64| raft.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
    let voters = raft.membership_config.membership().voter_ids();
    let others = voters.filter(|id| *id != raft.id && !tried.contains(id));
    let named = |id: &u64| heirs.is_none_or(|heirs| heirs.contains(&NodeId(*id)));
    others.filter(named).max_by_key(|id| matched(*id))
}

fn has_all(raft: &Metrics, follower: u64) -> bool {
    let matched: Option<LogId> =
        raft.replication.as_ref().and_then(|all| all.get(&follower).copied().flatten());
    matched.map(|id| id.index) >= raft.last_log_index
}

fn still_leads(shared: &Shared, term: u64) -> bool {
    leads(&shared.core.metrics().borrow(), term)
}

fn leads(raft: &Metrics, term: u64) -> bool {
    raft.current_term == term && raft.current_leader == Some(raft.id)
}

/// Who leads in a term after `term`, once it is known here.
async fn successor(shared: &Shared, term: u64, deadline: Instant) -> Option<NodeId> {
    let mut raft = shared.core.metrics();
    let led = raft.wait_for(|raft| raft.current_term > term && raft.current_leader.is_some());
    let led = timeout_at(deadline, led).await.ok()?.ok()?;
    led.current_leader.map(NodeId)
}

/// While it lives, this manager does not lead as far as others can see.
struct Handing<'a>(&'a Shared);

impl<'a> Handing<'a> {
    fn begin(shared: &'a Shared) -> Option<Self> {
        shared
            .handing
            .send_if_modified(|handing| !std::mem::replace(handing, true))
            .then_some(Self(shared))
    }
}

impl Drop for Handing<'_> {
    fn drop(&mut self) {
        self.0.handing.send_replace(false);
    }
}
