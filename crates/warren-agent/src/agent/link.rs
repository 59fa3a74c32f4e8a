//! The link to the leader.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use warren_core::node::Role;
use warren_core::time::Tick;
use warren_wire::v1::AgentMessage;

/// Beats in one lease: two may be lost.
const BEATS_PER_LEASE: u32 = 3;
/// The shortest time between two.
const BEAT_MIN: Duration = Duration::from_millis(1);

/// The link to the leader, while there is one.
pub(super) struct Link {
    pub(super) outbound: mpsc::Sender<AgentMessage>,
    pub(super) beat_every: Duration,
    pub(super) next_beat: Tick,
    /// When the beats were sent that are not answered yet, oldest first.
    pub(super) beats: VecDeque<Tick>,
    /// What is to be said again, as it is then, as soon as there is room for it.
    pub(super) owes_applied: bool,
    pub(super) owes_traffic: bool,
}

/// How often to beat under this lease.
pub(super) fn beat_every(lease: Duration) -> Duration {
    (lease / BEATS_PER_LEASE).max(BEAT_MIN)
}

/// What a manager wants this node to be; one of an earlier version says nothing.
pub(super) fn role_named(word: &str) -> Option<Role> {
    match word {
        "manager" => Some(Role::Manager),
        "worker" => Some(Role::Worker),
        _ => None,
    }
}
