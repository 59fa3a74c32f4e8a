//! Which nodes are missed. A node that is silent for a lease is *suspect*; silent for [`Leases::grace`] leases it is
//! *down*, and its tasks are placed elsewhere. This is the only place that takes a node down or brings it up again.
//!
//! # The brake
//! When many nodes fall silent at once, the silence is more likely ours (a cut, a stalled disk, a paused leader) than
//! theirs, and moving everything makes it worse. So no node is taken down while more than [`AT_ONCE_PERCENT_MAX`] of
//! them would go within [`AT_ONCE`], or while none would be left to move to. An operator overrules the brake by
//! draining the nodes that are really gone: drained nodes are not counted.
//!
//! # Probes
//! Meanwhile others are asked to reach the suspect ([`probe`]). Where they do, it is the way between it and this leader
//! that is broken, and nothing is lost: it stays suspect for longer. The brake judges what remains. An operator
//! overrules that by draining the node as well.

pub mod probe;
mod suspect;

pub use probe::Probes;
pub use suspect::Suspect;

use crate::command::Command;
use crate::id::NodeId;
use crate::node::{Availability, Node};
use crate::observed::Observed;
use crate::state::State;
use crate::time::ClusterTime;
use std::fmt;
use std::time::Duration;

/// The share of nodes that may go down together. One node may always.
pub const AT_ONCE_PERCENT_MAX: usize = 30;
/// What counts as together: as long as a switch or a rack takes to fail or come back.
pub const AT_ONCE: Duration = Duration::from_secs(60);

/// How long a node may be silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leases {
    /// How long one sign of life lasts. An agent gives three in this time.
    pub lease: Duration,
    /// A node is down after so many leases in silence. 1 or more.
    pub grace: u32,
}

/// 3 s and three of them: a lost node is replaced within 10 s, and a pause of 8 s (a suspend, a full disk) moves
/// nothing.
pub const LEASES: Leases = Leases { lease: Duration::from_secs(3), grace: 3 };

/// Nodes with the shortest lease. Beyond, leases grow with their number, so that the leader hears no more than 1,000
/// signs of life a second.
pub const NODES_PER_LEASE: usize = 1_000;
/// The longest lease, in shortest ones: 15 s.
pub const LEASE_FACTOR_MAX: usize = 5;

impl Leases {
    /// The leases of a cluster of so many nodes.
    #[must_use]
    pub fn for_nodes(self, nodes: usize) -> Self {
        Self { lease: self.lease.saturating_mul(factor(nodes)), ..self }
    }
}

/// How much longer everything takes that waits for all of so many nodes: their leases, and listening to them.
#[must_use]
pub fn factor(nodes: usize) -> u32 {
    let factor = nodes.div_ceil(NODES_PER_LEASE).clamp(1, LEASE_FACTOR_MAX);
    u32::try_from(factor).unwrap_or(1)
}

/// What follows from the silences at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Verdict {
    /// Nodes that change between up and down, to be proposed.
    pub commands: Vec<Command>,
    /// Nodes that are silent and not down, by id.
    pub suspects: Vec<Suspect>,
    /// Whether the brake holds.
    pub held: Option<Held>,
    /// The next moment at which something may follow from silence alone.
    pub wake_at: Option<ClusterTime>,
}

/// The brake holds: these nodes would be down without it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The silent nodes, by id.
    pub nodes: Vec<NodeId>,
    /// How many nodes are up, with them.
    pub up: usize,
    /// How many may go now.
    pub allowed: usize,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, up, allowed } = self;
        let silent = nodes.len();
        write!(
            f,
            "{silent} of {up} nodes are silent and at most {allowed} may go down at once: nothing is moved; check the \
             network between them and this manager, or drain those that are really gone"
        )
    }
}

/// Decides who is up, suspect and down at `now`.
#[must_use]
pub fn judge(state: &State, observed: &Observed, now: ClusterTime, leases: Leases) -> Verdict {
    let patience = leases.lease.saturating_mul(leases.grace.max(1));
    let mut verdict = Verdict::default();
    let mut silent = Vec::new();
    let mut drained = Vec::new();
    let (mut up, mut went) = (0, 0);
    for node in state.nodes() {
        let heard = last_heard(observed, node.id);
        let silence = now.since(heard);
        if !node.up {
            if is_back(observed, node.id, silence, leases) {
                verdict.commands.push(Command::SetNodeUp { node: node.id, up: true });
            } else {
                went += usize::from(now.since(node.since) < AT_ONCE && counts(node));
            }
            continue;
        }
        up += usize::from(counts(node));
        let suspect = || Suspect::new(observed, (node.id, heard), now, leases.lease);
        if silence < leases.lease {
            wake(&mut verdict, heard.after(leases.lease));
        } else if silence < patience {
            verdict.suspects.push(suspect());
            wake(&mut verdict, heard.after(patience));
        } else if !counts(node) {
            drained.push(node.id);
        } else if let Some(until) =
            kept_until(state, observed, node.id, leases).filter(|at| *at > now)
        {
            verdict.suspects.push(suspect());
            wake(&mut verdict, until);
        } else {
            silent.push(suspect());
        }
    }
    verdict.take_down(drained);
    verdict.brake(silent, up, went);
    verdict
}

/// Until when others keep a node up that is silent for too long; absent where none of them reaches it. No longer than
/// until the first of its tasks stops by itself because it hears no leader.
fn kept_until(
    state: &State,
    observed: &Observed,
    node: NodeId,
    leases: Leases,
) -> Option<ClusterTime> {
    let heard = last_heard(observed, node);
    let until = observed.probes.get(&node)?.keep_until(heard, leases.lease)?;
    let live = state.tasks_on(node).filter(|task| task.is_live());
    let services = live.filter_map(|task| state.service(task.service));
    let spans = services.filter_map(|service| service.spec.restart.on_disconnect.stop_after());
    Some(spans.min().map_or(until, |span| until.min(heard.after(span))))
}

/// When a node was heard last; a new leader hears everybody for the first time.
fn last_heard(observed: &Observed, node: NodeId) -> ClusterTime {
    observed.nodes.get(&node).map_or(observed.since, |node| node.heard.max(observed.since))
}

fn is_back(observed: &Observed, node: NodeId, silence: Duration, leases: Leases) -> bool {
    observed.nodes.get(&node).is_some_and(|node| node.connected) && silence < leases.lease
}

/// Whether the brake counts a node: an operator has said of a drained one that it may go.
fn counts(node: &Node) -> bool {
    node.availability == Availability::Active
}

fn wake(verdict: &mut Verdict, at: ClusterTime) {
    verdict.wake_at = Some(verdict.wake_at.map_or(at, |before| before.min(at)));
}

impl Verdict {
    fn take_down(&mut self, nodes: Vec<NodeId>) {
        self.commands.extend(nodes.into_iter().map(|node| Command::SetNodeUp { node, up: false }));
    }

    /// Takes the silent nodes down unless too many of the `up` ones are, counting those that just `went`.
    fn brake(&mut self, silent: Vec<Suspect>, up: usize, went: usize) {
        let share = (up + went) * AT_ONCE_PERCENT_MAX / 100;
        let most = up.saturating_sub(1);
        let allowed = share.max(1).saturating_sub(went).min(most);
        let nodes = silent.iter().map(|suspect| suspect.node).collect();
        if silent.len() <= allowed {
            self.take_down(nodes);
            return;
        }
        self.suspects.extend(silent);
        self.suspects.sort_unstable_by_key(|suspect| suspect.node);
        self.held = Some(Held { nodes, up, allowed });
    }
}

#[cfg(test)]
mod tests;
