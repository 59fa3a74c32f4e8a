//! The cluster as a whole. Answers also where nobody leads: that is what one asks then.

use super::{Api, CALL_TIMEOUT};
use tonic::{Request, Response, Status};
use v1::clusters_server::Clusters;
use warren_core::id::NodeId;
use warren_raft::Leadership;
use warren_wire::v1;

#[tonic::async_trait]
impl Clusters for Api {
    async fn get_cluster(
        &self,
        _request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        let shown = std::future::ready(Ok(self.cluster()));
        self.call("GetCluster", CALL_TIMEOUT, shown).await
    }
}

impl Api {
    /// Who leads, as far as this manager knows.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let status = self.backend.raft.status();
        match status.leadership {
            Leadership::None => None,
            Leadership::Leader { .. } => Some(status.node),
            Leadership::Follower { leader } => Some(leader),
        }
    }

    fn cluster(&self) -> v1::GetClusterResponse {
        let look = self.glance();
        let sources = look.sources();
        let status = self.backend.raft.status();
        let cluster = look.state.cluster();
        let tasks = look.state.tasks();
        let (mut live, mut ready) = (0_u32, 0_u32);
        for task in tasks.filter(|task| task.is_live()) {
            live = live.saturating_add(1);
            ready += u32::from(task.serves() && sources.observed.is_ready(task.id));
        }
        let up = look.state.nodes().filter(|node| node.up);
        v1::GetClusterResponse {
            id: cluster.map(|cluster| cluster.id.to_string()).unwrap_or_default(),
            epoch: cluster.map_or(0, |cluster| cluster.epoch),
            zone: cluster.map(|cluster| cluster.zone.clone()).unwrap_or_default(),
            pool: cluster.map(|cluster| cluster.pool.to_string()).unwrap_or_default(),
            leader_id: self.leader().map(|leader| leader.to_string()).unwrap_or_default(),
            term: status.term,
            applied_index: status.applied.0,
            snapshot_index: status.snapshot.0,
            store: status.store.to_owned(),
            nodes_up: count(up.count()),
            nodes: count(look.state.nodes().len()),
            services: count(look.state.services().len()),
            tasks: live,
            ready,
            version: self.backend.info.version.clone(),
            cluster_time_ms: look.now.as_ms(),
            dns_addresses: self.backend.info.dns_addresses.clone(),
        }
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
