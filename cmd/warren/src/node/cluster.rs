//! The cluster that this node is part of: the one in its data directory, or a new one of one node.

use super::subnet;
use crate::config::NodeConfig;
use crate::failure::{Exit, Failure, Outcome};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::timeout;
use warren_core::command::Command;
use warren_core::{ClusterId, State};
use warren_raft::{Leadership, Raft};

/// The pool where none is chosen; a test compares it with the settings.
const DEFAULT_POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 210, 0, 0), 16);

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
        } else if config.pool != DEFAULT_POOL {
            tracing::warn!(
                pool = %config.pool,
                "tasks of this node are processes with loopback addresses, the pool is for nodes with docker"
            );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn the_default_pool_is_that_of_the_settings() {
        let key = KEYS.iter().find(|key| key.name == "pool").unwrap();
        assert_eq!(key.default.parse(), Ok(DEFAULT_POOL));
    }
}
