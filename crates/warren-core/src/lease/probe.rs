//! Who is asked about a silent node, and what the answers are worth.
//!
//! A leader that does not hear a node cannot tell a dead machine from a broken link. So once in each lease it asks two
//! others to reach it. Whom they reach is alive: the node stays suspect for longer than the grace, up to
//! [`VOUCHED_MAX`], and its tasks stay where they are. Where nobody reaches it, nobody can be asked or nobody answers,
//! nothing is different from a cluster without probes.

use super::{Leases, last_heard};
use crate::id::NodeId;
use crate::node::Node;
use crate::observed::{NodeObserved, Observed};
use crate::scheduler::mix;
use crate::state::State;
use crate::time::ClusterTime;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Nodes that are asked about one suspect. The link of one alone may be the broken one; a third says little more.
pub const PEERS: usize = 2;
/// The longest silence that others may vouch for: as long as a switch or a rack takes to come back. Who cannot be told
/// to start or stop anything for longer holds up releases, and is of less use than tasks elsewhere.
pub const VOUCHED_MAX: Duration = Duration::from_secs(60);
/// What an answer is worth, in leases from when it was asked for: until the next one must have come.
const WORTH: u32 = 2;
/// Suspects that are asked about in one lease. Of more nodes than that the leader itself is what they have in common,
/// and the brake holds.
pub const SUSPECTS_MAX: usize = 100;

/// What others were asked about a silent node, and said. It is forgotten once the node is heard again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Probes {
    /// When they were asked last.
    asked: Option<ClusterTime>,
    /// Who: [`PEERS`] at most.
    peers: Vec<NodeId>,
    /// Who reached it, and when that one had been asked.
    reached: BTreeMap<NodeId, ClusterTime>,
}

impl Probes {
    /// When others were asked last.
    #[must_use]
    pub fn asked(&self) -> Option<ClusterTime> {
        self.asked
    }

    /// Who was asked last.
    #[must_use]
    pub fn peers(&self) -> &[NodeId] {
        &self.peers
    }

    /// Whether anybody has reached it since it fell silent, so that the leader's link to it is what is broken.
    #[must_use]
    pub fn is_vouched(&self) -> bool {
        !self.reached.is_empty()
    }

    /// These are asked now.
    pub fn ask(&mut self, peers: Vec<NodeId>, now: ClusterTime) {
        self.asked = Some(now);
        self.peers = peers;
        // Who is asked no more will not say it again.
        self.reached.retain(|peer, _| self.peers.contains(peer));
    }

    /// A peer answers what it was asked at `asked`. Returns whether that counts: who was not asked, or answers after
    /// somebody was asked again, is not heard.
    pub fn answer(&mut self, peer: NodeId, asked: ClusterTime, reached: bool) -> bool {
        if self.asked != Some(asked) || !self.peers.contains(&peer) {
            return false;
        }
        if reached {
            self.reached.insert(peer, asked);
        } else {
            self.reached.remove(&peer);
        }
        true
    }

    /// Who reaches it, as far as that is still worth anything.
    #[must_use]
    pub fn reaching(&self, now: ClusterTime, lease: Duration) -> Vec<NodeId> {
        let worth = lease.saturating_mul(WORTH);
        let fresh = self.reached.iter().filter(|(_, asked)| now.since(**asked) < worth);
        fresh.map(|(peer, _)| *peer).collect()
    }

    /// Until when what was said keeps a node up that was heard at `heard`; absent where nobody vouches for it.
    pub(super) fn keep_until(&self, heard: ClusterTime, lease: Duration) -> Option<ClusterTime> {
        let last = self.reached.values().max()?;
        Some(last.after(lease.saturating_mul(WORTH)).min(heard.after(VOUCHED_MAX)))
    }
}

/// A suspect, and who is to be asked about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The suspect.
    pub suspect: NodeId,
    /// Where it answers.
    pub address: SocketAddr,
    /// Who: 1 to [`PEERS`].
    pub peers: Vec<NodeId>,
}

/// Whom a leader on the node `own` asks about which silent nodes at `now`. Each is asked about once in a lease.
#[must_use]
pub fn due(
    state: &State,
    observed: &Observed,
    now: ClusterTime,
    leases: Leases,
    own: NodeId,
) -> Vec<Ask> {
    let lease = leases.lease;
    let silent = |node: &Node| {
        let silence = now.since(last_heard(observed, node.id));
        node.up && silence >= lease && silence < VOUCHED_MAX
    };
    let mut suspects: Vec<(Option<ClusterTime>, &Node)> = Vec::new();
    let mut just_asked = 0;
    for node in state.nodes().filter(|node| node.facts.probe_port > 0 && silent(node)) {
        let asked = observed.probes.get(&node.id).and_then(|probes| probes.asked);
        if asked.is_some_and(|asked| now.since(asked) < lease) {
            just_asked += 1;
        } else {
            suspects.push((asked, node));
        }
    }
    if suspects.is_empty() {
        return Vec::new();
    }
    suspects.sort_by_key(|(asked, node)| (*asked, node.id));
    suspects.truncate(SUSPECTS_MAX.saturating_sub(just_asked));
    let answers = |known: &NodeObserved| known.connected && now.since(known.heard) < lease;
    let peers = state.nodes().filter(|node| node.up && node.id != own);
    let peers = peers.filter(|node| observed.nodes.get(&node.id).is_some_and(answers));
    let peers: Vec<&Node> = peers.map(AsRef::as_ref).collect();
    let asks = suspects.into_iter().map(|(_, node)| Ask {
        suspect: node.id,
        address: SocketAddr::new(node.facts.address, node.facts.probe_port),
        peers: choose(node, &peers),
    });
    asks.filter(|ask| !ask.peers.is_empty()).collect()
}

/// Up to [`PEERS`] of `peers`: of other machines than the suspect and than each other, with as few labels in common as
/// there can be, since a label that two share may be a rack or a zone. Ties by a hash, so that not the same are asked
/// about every suspect, and the same about one each time.
fn choose(suspect: &Node, peers: &[&Node]) -> Vec<NodeId> {
    let mut chosen: Vec<&Node> = Vec::new();
    while chosen.len() < PEERS {
        let free = peers.iter().filter(|peer| chosen.iter().all(|one| one.id != peer.id));
        let next = free.min_by_key(|peer| {
            let near = |other: &Node| peer.facts.address == other.facts.address;
            let shared = |other: &&Node| {
                peer.labels
                    .iter()
                    .filter(|(key, value)| other.labels.get(*key) == Some(*value))
                    .count()
            };
            let beside = chosen.iter().any(|one| near(one));
            let shared = chosen.iter().map(shared).max();
            (near(suspect), beside, shared, mix(suspect.id.0 ^ mix(peer.id.0)))
        });
        let Some(next) = next else { break };
        chosen.push(next);
    }
    chosen.into_iter().map(|peer| peer.id).collect()
}

#[cfg(test)]
mod tests;
