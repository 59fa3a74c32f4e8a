//! The cluster that this manager is part of: the one in its data directory, one that others bring, or a new one.

use super::certificates::Holder;
use super::data_dir::DataDir;
use super::identity::{Identity, Member, failed};
use super::{network, subnet};
use crate::config::NodeConfig;
use crate::failure::{Exit, Failure, Outcome};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;
use warren_core::command::Command;
use warren_core::id::NodeId;
use warren_core::level::{self, Level};
use warren_core::node::Role;
use warren_core::{ClusterId, State};
use warren_manager::{Keeper, found_trust};
use warren_raft::{Leadership, Raft};
use warren_wire::trust::SealKey;

/// The pool where none is chosen; a test compares it with the settings.
const DEFAULT_POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 210, 0, 0), 16);

/// How long a cluster of one may take to have its leader: it reads its log and votes for itself.
const LEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// The Raft id of a cluster's first node, which is the first thing that a new cluster gives an id to.
pub const FIRST_NODE: NodeId = NodeId(1);

/// Makes the cluster with this node as its only manager; where that was begun before, goes on with it. Returns what
/// the node keeps of it.
///
/// # Errors
/// The pool cannot be, or nothing could be written.
pub async fn found(
    raft: &Raft,
    config: &NodeConfig,
    has_pool: bool,
    address: &str,
    identity: &Arc<Identity>,
    dir: &Arc<DataDir>,
) -> Outcome<(Member, Keeper)> {
    let refused = |error: String| Failure::new(Exit::Failed, error);
    let initialised = raft.is_initialised().await.map_err(|e| refused(e.to_string()))?;
    if !initialised {
        if has_pool {
            network::check_free(config.pool).await?;
        } else if config.pool != DEFAULT_POOL {
            tracing::warn!(
                pool = %config.pool,
                "tasks of this node are processes with loopback addresses, the pool is for nodes with docker"
            );
        }
        raft.init_single(address).await.map_err(|e| refused(e.to_string()))?;
    }
    wait_to_lead(raft).await?;
    let seal = match identity.seal(dir)? {
        Some(seal) => seal,
        None => {
            let seal = SealKey::generate().map_err(failed)?;
            identity.keep_seal(dir, &seal)?;
            seal
        }
    };
    let id = agree(raft, config, &seal).await?;
    let cluster = id.to_string();
    let managers = vec![address.to_owned()];
    let pool = raft.state().borrow().cluster().map_or(config.pool, |cluster| cluster.pool);
    let member = Member { node: FIRST_NODE, role: Role::Manager, cluster, pool, managers };
    let keeper = Keeper::new(raft.clone(), seal).signing_for(config.certificate_life);
    let holder =
        Holder { identity: Arc::clone(identity), dir: Arc::clone(dir), member: member.clone() };
    holder.sign(&keeper)?;
    // Last: a node with this file is a member.
    identity.keep_member(dir, &member)?;
    Ok((member, keeper))
}

async fn wait_to_lead(raft: &Raft) -> Outcome {
    let mut leadership = raft.leadership();
    let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
    match timeout(LEADER_TIMEOUT, leads).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            let why = format!("this node did not become leader within {LEADER_TIMEOUT:?}");
            Err(Failure::new(Exit::Failed, why).hint("the log says what it waits for"))
        }
    }
}

/// Has the cluster's identity and its authority agreed on, where they are not yet.
async fn agree(raft: &Raft, config: &NodeConfig, seal: &SealKey) -> Outcome<ClusterId> {
    let state: Arc<State> = raft.state().borrow().clone();
    let id = match state.cluster() {
        Some(cluster) => cluster.id,
        None => ClusterId(u64::from_le_bytes(subnet::random_bytes()?)),
    };
    let mut commands = Vec::new();
    if state.cluster().is_none() {
        let (zone, pool) = (config.zone.clone(), config.pool);
        commands.push(Command::InitCluster { id, zone, pool });
    }
    if state.trust().is_none() {
        let trust = found_trust(&id.to_string(), seal, SystemTime::now()).map_err(failed)?;
        commands.push(Command::SetTrust { trust: Box::new(trust) });
    }
    let refused = |error: String| Failure::new(Exit::Failed, error);
    let outcomes = raft.propose(commands).await.map_err(|e| refused(e.to_string()))?;
    for outcome in outcomes {
        outcome.map_err(|e| refused(e.to_string()))?;
    }
    tracing::info!(cluster = %id, zone = config.zone, pool = %config.pool, "made a new cluster");
    Ok(id)
}

/// Opens what the managers have sealed.
///
/// # Errors
/// The key to it is missing.
pub fn keeper(
    raft: &Raft,
    config: &NodeConfig,
    identity: &Identity,
    dir: &DataDir,
) -> Outcome<Keeper> {
    let seal = identity.seal(dir)?.ok_or_else(|| {
        let path = dir.path().join("pki/seal.key");
        Failure::new(Exit::Failed, format!("{} is missing, which a manager needs", path.display()))
            .hint("copy it from another manager, or remove this node and join it anew")
    })?;
    Ok(Keeper::new(raft.clone(), seal).signing_for(config.certificate_life))
}

/// Goes on with the cluster that is in the log, or that the leader is about to bring.
///
/// # Errors
/// The log was closed, or this version speaks less than the cluster needs.
pub async fn resume(raft: &Raft, config: &NodeConfig) -> Outcome {
    let mut states = raft.state();
    if states.borrow().cluster().is_none() {
        tracing::info!("waiting for the leader to bring the log");
    }
    let known = states.wait_for(|state| state.cluster().is_some()).await;
    let known = known.map_err(|_| Failure::new(Exit::Failed, "the log was closed"))?;
    match known.cluster() {
        Some(cluster) => check(cluster, config),
        None => Ok(()),
    }
}

fn check(cluster: &warren_core::Cluster, config: &NodeConfig) -> Outcome {
    if let Some(why) = level::too_old(Level::OURS, cluster.level, env!("CARGO_PKG_VERSION")) {
        return Err(Failure::new(Exit::Failed, why));
    }
    if cluster.zone != config.zone {
        tracing::warn!(
            zone = cluster.zone,
            "zone of the cluster stays, the configured one is not used"
        );
    }
    if cluster.pool != config.pool {
        tracing::warn!(pool = %cluster.pool, "pool of the cluster stays, the configured one is not used");
    }
    Ok(())
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
