//! The cluster that this node is part of: the one in its data directory, or a new one of one node.

use super::subnet;
use crate::config::NodeConfig;
use crate::failure::{Exit, Failure, Outcome};
use std::time::Duration;
use tokio::time::timeout;
use warren_core::command::Command;
use warren_core::{ClusterId, State};
use warren_raft::{Leadership, Raft};

/// How long a cluster of one may take to have its leader: it reads its log and votes for itself.
const LEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// Resumes the cluster, or makes it. Returns its id.
///
/// # Errors
/// The pool cannot be, or nothing could be written.
pub async fn resume_or_make(
    raft: &Raft,
    config: &NodeConfig,
    has_pool: bool,
) -> Outcome<ClusterId> {
    let failed = |error: String| Failure::new(Exit::Failed, error);
    let initialised = raft.is_initialised().await.map_err(|e| failed(e.to_string()))?;
    if !initialised {
        if has_pool {
            subnet::check_pool(config.pool)?;
        }
        raft.init_single(&config.agent_target().to_string())
            .await
            .map_err(|e| failed(e.to_string()))?;
    }
    let mut leadership = raft.leadership();
    let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
    match timeout(LEADER_TIMEOUT, leads).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => {
            let why = format!("this node did not become leader within {LEADER_TIMEOUT:?}");
            return Err(failed(why).hint("the log says what it waits for"));
        }
    }
    if let Some(id) = cluster_of(raft, config) {
        return Ok(id);
    }
    let id = ClusterId(u64::from_le_bytes(subnet::random_bytes()?));
    let init = Command::InitCluster { id, zone: config.zone.clone(), pool: config.pool };
    let outcomes = raft.propose(vec![init]).await.map_err(|e| failed(e.to_string()))?;
    for outcome in outcomes {
        outcome.map_err(|e| failed(e.to_string()))?;
    }
    tracing::info!(cluster = %id, zone = config.zone, pool = %config.pool, "made a new cluster");
    Ok(id)
}

fn cluster_of(raft: &Raft, config: &NodeConfig) -> Option<ClusterId> {
    let state: std::sync::Arc<State> = raft.state().borrow().clone();
    let cluster = state.cluster()?;
    if cluster.zone != config.zone {
        tracing::warn!(
            zone = cluster.zone,
            "zone of the cluster stays, the configured one is not used"
        );
    }
    if cluster.pool != config.pool {
        tracing::warn!(pool = %cluster.pool, "pool of the cluster stays, the configured one is not used");
    }
    Some(cluster.id)
}
