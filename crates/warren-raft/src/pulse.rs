//! The leader's signs of life.
//!
//! openraft would send them too, but its one interval is also the longest that a message to a follower may take, and
//! its timer comes at one and a half of it. A follower whose disk is slow for a moment would be sent the same entries
//! again and again, and one late sign of life would be the end of a lease.

use crate::raft::Shared;
use openraft::ServerState;
use std::sync::Arc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Lets the followers hear from this manager at each heartbeat while it leads, until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut raft = shared.core.metrics();
    let mut beat = interval(shared.timers.heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let beats = async {
        while raft.wait_for(|raft| raft.state == ServerState::Leader).await.is_ok() {
            beat.tick().await;
            if shared.core.trigger().heartbeat().await.is_err() {
                return;
            }
        }
    };
    // Consensus has ended, or this manager is to.
    let _ = stop.run_until_cancelled(beats).await;
}
