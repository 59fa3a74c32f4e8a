//! Which managers vote in Raft: one change at a time, from what there is to what there should be.
//!
//! # Why it is not simply "all of them"
//! Two voters are worse than one: if either fails, nothing can be agreed. So the number of voters is odd, and a manager
//! more than that follows as a learner, ready to take the place of a voter that fails. A voter that is down is replaced
//! where such a spare has caught up; otherwise it keeps its vote, since most of them come back. And no change is made
//! that the managers which are up could not agree on afterwards.

use crate::id::NodeId;
use crate::node::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most voters: seven survive the loss of three, and each write waits for four disks. More only slow it down.
pub const VOTERS_MAX: usize = 7;

/// A node of the cluster, as far as voting is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Which.
    pub node: NodeId,
    /// Where other nodes reach it: `host:port`.
    pub address: String,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is to be a manager.
    pub role: Role,
}

/// Who is a member of Raft at the moment, as its leader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Who votes, and where each is reached.
    pub voters: BTreeMap<NodeId, String>,
    /// Who only follows, and where each is reached.
    pub learners: BTreeMap<NodeId, String>,
    /// The voters that a change leads to which a leader began and did not end.
    pub changing: Option<BTreeSet<NodeId>>,
    /// Who leads.
    pub leader: NodeId,
    /// Learners that have the log almost to its end.
    pub caught_up: BTreeSet<NodeId>,
}

/// One change of the members of Raft.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Let it follow.
    AddLearner {
        /// Which.
        node: NodeId,
        /// Where it is reached.
        address: String,
    },
    /// Let exactly these vote. Who voted before and is not among them is forgotten.
    SetVoters(BTreeSet<NodeId>),
    /// Forget it; it only followed.
    Remove {
        /// Which.
        node: NodeId,
    },
    /// It is reached elsewhere.
    Move {
        /// Which.
        node: NodeId,
        /// Where it is reached from now on.
        address: String,
    },
    /// Let another voter lead: the leader is to vote no more, and does not remove itself. The next leader goes on.
    HandOver {
        /// One of these: voters that stay.
        to: BTreeSet<NodeId>,
    },
}

/// The next change towards what there should be, and none when all is as it should be or when nothing can be done.
#[must_use]
pub fn next(managers: &[Candidate], raft: &Seen) -> Option<Change> {
    let view = View::new(managers, raft);
    if !view.majority_may_agree(raft.voters.keys()) {
        return None;
    }
    if let Some(target) = &raft.changing {
        return view.majority_may_agree(target).then(|| Change::SetVoters(target.clone()));
    }
    view.moved(raft)
        .or_else(|| view.voters(raft))
        .or_else(|| view.no_manager_any_more(raft))
        .or_else(|| view.newcomer(raft))
}

/// Candidates, sorted.
struct View<'a> {
    /// Who is to be a manager.
    managers: BTreeMap<NodeId, &'a Candidate>,
    /// Who is up, manager or not. The leader is.
    up: BTreeSet<NodeId>,
    /// Who is down. Of a member that is no node any more nobody knows.
    down: BTreeSet<NodeId>,
}

impl<'a> View<'a> {
    fn new(candidates: &'a [Candidate], raft: &Seen) -> Self {
        let is_manager = |candidate: &&Candidate| candidate.role == Role::Manager;
        let managers = candidates.iter().filter(is_manager).map(|c| (c.node, c)).collect();
        let mut up: BTreeSet<NodeId> = candidates.iter().filter(|c| c.up).map(|c| c.node).collect();
        up.insert(raft.leader);
        let down = candidates.iter().map(|c| c.node).filter(|id| !up.contains(id)).collect();
        Self { managers, up, down }
    }

    /// Whether nothing is known that keeps these from agreeing. There is a leader, so they could a moment ago.
    fn majority_may_agree<'b>(&self, voters: impl IntoIterator<Item = &'b NodeId>) -> bool {
        let (mut all, mut down) = (0, 0);
        for voter in voters {
            all += 1;
            down += usize::from(self.down.contains(voter));
        }
        (all - down) * 2 > all
    }

    fn moved(&self, raft: &Seen) -> Option<Change> {
        let members = raft.voters.iter().chain(&raft.learners);
        let mut moved = members.filter_map(|(node, known)| {
            let address = self.managers.get(node)?.address.clone();
            let moved = self.up.contains(node) && address != *known;
            moved.then_some(Change::Move { node: *node, address })
        });
        moved.next()
    }

    /// Who is to vote, the most wanted first, cut to the right number.
    fn wanted(&self, raft: &Seen) -> Option<BTreeSet<NodeId>> {
        let voters = || raft.voters.keys().copied().filter(|id| self.managers.contains_key(id));
        let leader = voters().filter(|id| *id == raft.leader);
        let others = || voters().filter(|id| *id != raft.leader);
        let faithful = others().filter(|id| self.up.contains(id));
        let learners = raft.learners.keys().copied();
        let spares = learners.filter(|id| {
            let manages = self.managers.contains_key(id);
            manages && self.up.contains(id) && raft.caught_up.contains(id)
        });
        let missing = others().filter(|id| !self.up.contains(id));
        let mut ranked: Vec<NodeId> = leader.chain(faithful).chain(spares).collect();
        let up = ranked.len();
        ranked.extend(missing);
        // As many as there are up; those that are down count as long as nobody takes their place; and never so many
        // that those which are up would be no majority.
        let count =
            odd(up).max(odd(voters().count())).min(odd(VOTERS_MAX)).min((up * 2).checked_sub(1)?);
        ranked.truncate(count);
        Some(ranked.into_iter().collect())
    }

    fn voters(&self, raft: &Seen) -> Option<Change> {
        let wanted = self.wanted(raft)?;
        if raft.voters.keys().eq(wanted.iter()) {
            return None;
        }
        if wanted.contains(&raft.leader) {
            return Some(Change::SetVoters(wanted));
        }
        // The leader is to go. Somebody who stays must be able to take over first.
        let heirs = wanted.iter().copied();
        let heirs = heirs.filter(|id| self.up.contains(id) && raft.voters.contains_key(id));
        let to: BTreeSet<NodeId> = heirs.collect();
        if !to.is_empty() {
            return Some(Change::HandOver { to });
        }
        let both: BTreeSet<NodeId> = wanted.into_iter().chain([raft.leader]).collect();
        (!raft.voters.keys().eq(both.iter())).then_some(Change::SetVoters(both))
    }

    fn no_manager_any_more(&self, raft: &Seen) -> Option<Change> {
        let gone = raft.learners.keys().find(|id| !self.managers.contains_key(id));
        gone.map(|node| Change::Remove { node: *node })
    }

    fn newcomer(&self, raft: &Seen) -> Option<Change> {
        let known = |id| raft.voters.contains_key(id) || raft.learners.contains_key(id);
        let mut new = self.managers.values().filter(|c| c.up && !known(&c.node));
        new.next().map(|c| Change::AddLearner { node: c.node, address: c.address.clone() })
    }
}

/// The largest odd number up to `count`; 0 of 0.
const fn odd(count: usize) -> usize {
    count.saturating_sub((count + 1) % 2)
}

/// Whether a manager may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It does not vote, so nothing depends on it.
    NoVoter,
    /// It may go.
    Safe {
        /// How many voters may fail then, with those that stay and are down counted as failed.
        spare: usize,
    },
    /// Nobody would be left.
    Last {
        /// Who wants to go.
        leaving: String,
    },
    /// No majority is up even now, so nothing can be agreed.
    NoMajority {
        /// The voters that are down.
        down: Vec<String>,
        /// How many voters there are.
        voters: usize,
    },
    /// Those that stay and are up would be no majority of those that stay.
    Breaks {
        /// Who wants to go.
        leaving: String,
        /// Who stays and is up.
        up: Vec<String>,
        /// Who stays and is down.
        down: Vec<String>,
    },
}

impl Verdict {
    /// Whether it may go.
    #[must_use]
    pub const fn is_safe(&self) -> bool {
        matches!(self, Self::NoVoter | Self::Safe { .. })
    }
}

/// Whether `leaving` may leave or stop being a manager. `voters` are those that vote now with their names, `up` who is
/// up.
#[must_use]
pub fn quorum_after(
    voters: &BTreeMap<NodeId, String>,
    up: &BTreeSet<NodeId>,
    leaving: NodeId,
) -> Verdict {
    let Some(name) = voters.get(&leaving) else { return Verdict::NoVoter };
    let leaving_name = called(&(&leaving, name));
    let is_up = |(id, _): &(&NodeId, &String)| up.contains(*id);
    let names = |all: &[(&NodeId, &String)]| all.iter().map(called).collect();
    let (now_up, now_down): (Vec<_>, Vec<_>) = voters.iter().partition(is_up);
    if voters.len() == 1 {
        return Verdict::Last { leaving: leaving_name };
    }
    if now_up.len() * 2 <= voters.len() {
        return Verdict::NoMajority { down: names(&now_down), voters: voters.len() };
    }
    let stays = |(id, _): &(&NodeId, &String)| **id != leaving;
    let (up, down): (Vec<_>, Vec<_>) = voters.iter().filter(stays).partition(is_up);
    let left = up.len() + down.len();
    if up.len() * 2 <= left {
        return Verdict::Breaks { leaving: leaving_name, up: names(&up), down: names(&down) };
    }
    // An even number is made odd at once; of what then votes, a minority may fail, and those that are down have.
    Verdict::Safe { spare: (odd(left) / 2).saturating_sub(down.len()) }
}

fn called((id, name): &(&NodeId, &String)) -> String {
    if name.is_empty() { id.to_string() } else { format!("{name} ({id})") }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVoter => f.write_str("it does not vote, so nothing depends on it"),
            Self::Safe { spare: 0 } => {
                f.write_str("the others go on without it, and none of them may fail then")
            }
            Self::Safe { spare } => {
                write!(f, "the others go on without it, and {spare} of them may fail then")
            }
            Self::Last { leaving } => write!(
                f,
                "{leaving} is the only manager: without it the cluster cannot be changed any more; \
                 make another node a manager first"
            ),
            Self::NoMajority { down, voters } => write!(
                f,
                "{} of {voters} managers are down ({}), so nothing can be agreed; bring them back, \
                 or recover the cluster from one that is up",
                down.len(),
                down.join(", ")
            ),
            Self::Breaks { leaving, up, down } => write!(
                f,
                "without {leaving} only {} of {} managers would be up ({}), which is no majority; \
                 bring {} back or remove it first",
                up.len(),
                up.len() + down.len(),
                up.join(", "),
                down.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests;
