//! Keeps Raft's members in line with the nodes that are managers: looks, has core choose one change, makes it, looks
//! again. Runs on the leader.

use crate::metrics;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::command::Command;
use warren_core::id::NodeId;
use warren_core::membership::{self, Candidate, Change, Seen};
use warren_raft::{Raft, Status};

/// How often it looks: what makes a change necessary, a node that joins or dies, is seldom and not urgent.
const LOOK: Duration = Duration::from_millis(500);

/// A learner that lacks fewer entries than one message carries is as good as caught up: it votes a round trip later.
const BEHIND_MAX: u64 = 256;

pub(crate) struct Members {
    pub(crate) raft: Raft,
}

impl Members {
    /// Runs until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.raise_level().await;
            let status = self.raft.status();
            let change =
                membership::next(&candidates(&self.raft.state().borrow(), &status), &seen(&status));
            let Some(change) = change else { continue };
            tracing::info!(?change, "changing who votes");
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.make(change) => {}
            }
        }
    }

    /// Raises the cluster's level once the last manager has been upgraded.
    async fn raise_level(&self) {
        let to = self.raft.state().borrow().level_to_raise_to();
        let Some(to) = to else { return };
        match self.raft.propose(vec![Command::RaiseLevel { to }]).await.map(|mut all| all.pop()) {
            Ok(Some(Ok(_))) => tracing::info!(level = %to, "all managers speak a higher level"),
            Ok(Some(Err(why))) => tracing::info!(%why, "the level was not raised"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the level was not raised, trying again"),
        }
    }

    async fn make(&self, change: Change) {
        let made = match &change {
            Change::AddLearner { node, address } | Change::Move { node, address } => {
                self.raft.add_learner(*node, address).await.map_err(|error| error.to_string())
            }
            Change::SetVoters(voters) => {
                self.raft.set_voters(voters).await.map_err(|error| error.to_string())
            }
            Change::Remove { node } => {
                self.raft.remove(*node).await.map_err(|error| error.to_string())
            }
            Change::HandOver { .. } => {
                self.raft.hand_over().await.map(drop).map_err(|error| error.to_string())
            }
        };
        metrics::members_changed(made.is_ok());
        if let Err(why) = made {
            tracing::warn!(?change, why, "who votes was not changed, trying again");
        }
    }
}

/// Every node, as far as voting is concerned. A manager that has not said yet where it is reached is none.
fn candidates(state: &State, status: &Status) -> Vec<Candidate> {
    let nodes = state.nodes().filter_map(|node| {
        let told = SocketAddr::new(node.facts.address, node.facts.port).to_string();
        let known = status.voters.get(&node.id).or_else(|| status.learners.get(&node.id));
        let address = match (node.facts.port, known) {
            (0, None) => return None,
            (0, Some(known)) => known.clone(),
            (_, _) => told,
        };
        Some(Candidate { node: node.id, address, up: node.up, role: node.role })
    });
    nodes.collect()
}

fn seen(status: &Status) -> Seen {
    let almost = status.last.0.saturating_sub(BEHIND_MAX);
    let caught_up = status.followers.iter().filter(|(_, matched)| matched.0 >= almost);
    let caught_up: BTreeSet<NodeId> = caught_up.map(|(node, _)| *node).collect();
    Seen {
        voters: status.voters.clone(),
        learners: status.learners.clone(),
        changing: status.changing.clone(),
        leader: status.node,
        caught_up,
    }
}
