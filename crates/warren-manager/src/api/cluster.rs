//! The cluster as a whole. Answers also where nobody leads: that is what one asks then.

use super::actor::actor;
use super::read::Reading;
use super::{Api, CALL_TIMEOUT, Look};
use tonic::{Request, Response, Status};
use v1::clusters_server::Clusters;
use warren_core::id::NodeId;
use warren_core::member::JoinToken;
use warren_raft::Leadership;
use warren_wire::status::ApiError;
use warren_wire::{convert, v1};

/// Entries of one page, some hundred bytes each: far below what a response may have.
const AUDIT_PAGE_MAX: u32 = 1_000;

#[tonic::async_trait]
impl Clusters for Api {
    type BackupStream = super::backup::Parts;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let by = actor(&request);
        let work = Box::pin(self.read_all(by));
        self.call("Backup", CALL_TIMEOUT, work).await
    }

    async fn get_cluster(
        &self,
        _request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        let shown = std::future::ready(Ok(self.cluster()));
        self.call("GetCluster", CALL_TIMEOUT, shown).await
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        let by = actor(&request);
        let work = Box::pin(self.make_token(request.into_inner(), by));
        self.call("CreateJoinToken", CALL_TIMEOUT, work).await
    }

    async fn revoke_join_tokens(
        &self,
        request: Request<v1::RevokeJoinTokensRequest>,
    ) -> Result<Response<v1::RevokeJoinTokensResponse>, Status> {
        let by = actor(&request);
        let work = Box::pin(self.revoke_tokens(request.into_inner(), by));
        self.call("RevokeJoinTokens", CALL_TIMEOUT, work).await
    }

    async fn create_access_token(
        &self,
        request: Request<v1::CreateAccessTokenRequest>,
    ) -> Result<Response<v1::CreateAccessTokenResponse>, Status> {
        let by = actor(&request);
        let work = Box::pin(self.make_access(request.into_inner(), by));
        self.call("CreateAccessToken", CALL_TIMEOUT, work).await
    }

    async fn list_access_tokens(
        &self,
        _request: Request<v1::ListAccessTokensRequest>,
    ) -> Result<Response<v1::ListAccessTokensResponse>, Status> {
        let work = Box::pin(self.access_tokens());
        self.call("ListAccessTokens", CALL_TIMEOUT, work).await
    }

    async fn revoke_access_token(
        &self,
        request: Request<v1::RevokeAccessTokenRequest>,
    ) -> Result<Response<v1::RevokeAccessTokenResponse>, Status> {
        let by = actor(&request);
        let work = Box::pin(self.revoke_access(request.into_inner(), by));
        self.call("RevokeAccessToken", CALL_TIMEOUT, work).await
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        let how = Reading::of(&request);
        let request = request.into_inner();
        let show = |look: &Look| {
            let limit = match request.limit {
                0 => AUDIT_PAGE_MAX,
                limit if limit > AUDIT_PAGE_MAX => {
                    let message = format!("{limit} is more than {AUDIT_PAGE_MAX}");
                    return Err(ApiError::field("limit", message));
                }
                limit => limit,
            };
            Ok(convert::audit::page(look.state.audit(), request.from, limit as usize))
        };
        self.read("ListAudit", how, show).await
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

    /// The managers, as Raft knows them.
    pub(super) fn managers(&self) -> Vec<v1::Manager> {
        let status = self.backend.raft.status();
        let shown = |votes| {
            move |(node, address): (NodeId, String)| v1::Manager {
                node_id: node.to_string(),
                address,
                votes,
            }
        };
        let voters = status.voters.into_iter().map(shown(true));
        voters.chain(status.learners.into_iter().map(shown(false))).collect()
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
            dns_addresses: self.backend.info.dns_addresses.borrow().clone(),
            managers: self.managers(),
            join_tokens: look.state.join_tokens().map(shown_token).collect(),
            feature_level: cluster.map_or(0, |cluster| cluster.level.0),
        }
    }
}

fn shown_token(token: &JoinToken) -> v1::JoinTokenInfo {
    v1::JoinTokenInfo {
        role: token.role.to_string(),
        expires_unix_ms: token.expires.0,
        by: token.by.name.clone(),
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
