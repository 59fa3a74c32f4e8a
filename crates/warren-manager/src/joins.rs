//! Machines that join, and nodes that want another certificate: who signs, and what they are told.

use crate::access::Caller;
use crate::metrics;
use std::sync::Arc;
use std::time::SystemTime;
use tonic::{Code, Request, Response, Status};
use warren_core::State;
use warren_core::command::{Applied, Command};
use warren_core::id::NodeId;
use warren_core::member::Trust;
use warren_core::node::Role;
use warren_raft::{ProposeError, Raft};
use warren_wire::convert;
use warren_wire::status::ApiError;
use warren_wire::trust::{
    Authority, CertificateRequest, SealKey, Subject, TokenSecret, TrustError, to_pem,
};
use warren_wire::v1;
use warren_wire::v1::membership_server::{Membership, MembershipServer};

/// For what the authority's key is sealed.
const AUTHORITY: &str = "authority";

/// The largest request: a certificate request, and what a machine says of itself with its labels.
const JOIN_BYTES_MAX: usize = 1 << 20;

/// Opens what managers have sealed.
#[derive(Clone)]
pub struct Keeper {
    raft: Raft,
    seal: SealKey,
}

/// The authority of a new cluster, to be agreed on.
///
/// # Errors
/// No keys can be made.
pub fn found_trust(cluster: &str, seal: &SealKey, now: SystemTime) -> Result<Trust, TrustError> {
    let authority = Authority::generate(cluster, now)?;
    let sealed_key = seal.seal(AUTHORITY, authority.key().as_bytes())?;
    Ok(Trust { authority: authority.certificate().to_vec(), sealed_key })
}

impl Keeper {
    /// With the key that opens the cluster's sealed data.
    #[must_use]
    pub fn new(raft: Raft, seal: SealKey) -> Self {
        Self { raft, seal }
    }

    /// The service for machines that join, to be added to a server.
    #[must_use]
    pub fn into_server(self) -> MembershipServer<Self> {
        MembershipServer::new(self).max_decoding_message_size(JOIN_BYTES_MAX)
    }

    /// A certificate (PEM) for the key of `request`, as what the cluster has its node.
    ///
    /// # Errors
    /// There is no authority yet, this manager's key does not open it, or the certificate cannot be made.
    pub fn certify(
        &self,
        request: &CertificateRequest,
        node: NodeId,
        role: Role,
    ) -> Result<String, ApiError> {
        let authority = self.authority().map_err(|error| internal(&error))?;
        let authority = authority.ok_or_else(|| {
            ApiError::unavailable("the cluster has no authority yet: try again shortly")
        })?;
        let subject = Subject { node: node.to_string(), manager: role == Role::Manager };
        authority.sign(request, &subject, SystemTime::now()).map_err(|error| internal(&error))
    }

    /// The authority's certificate, PEM; none before the cluster has one.
    #[must_use]
    pub fn authority_pem(&self) -> Option<String> {
        self.state().trust().map(|trust| to_pem(&trust.authority))
    }

    fn authority(&self) -> Result<Option<Authority>, TrustError> {
        let state = self.state();
        let Some(trust) = state.trust() else { return Ok(None) };
        let key = self.seal.open(AUTHORITY, &trust.sealed_key)?;
        let key = std::str::from_utf8(&key).map_err(|_| TrustError::Sealed)?;
        Authority::open(&trust.authority, key).map(Some)
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.raft.state().borrow())
    }

    async fn admit(&self, request: v1::JoinRequest) -> Result<v1::JoinResponse, ApiError> {
        let secret = TokenSecret::parse(&request.secret)
            .ok_or_else(|| ApiError::field("secret", "write 32 hexadecimal digits"))?;
        let certificate_request = parse(&request.certificate_request)?;
        let hello = request.hello.ok_or_else(|| ApiError::field("hello", "it is missing"))?;
        let key = certificate_request.fingerprint().to_string();
        if hello.key != key {
            return Err(ApiError::field("hello.key", "it is not the key of the request"));
        }
        let facts = Box::new(convert::node::facts(&hello)?);
        let Command::RegisterNode { subnet, labels, .. } = convert::node::registration(hello)?
        else {
            return Err(ApiError::new(Code::Internal, "a registration is a registration"));
        };
        let command = Command::JoinNode { token: secret.hash(), key, facts, subnet, labels };
        let outcomes = self.raft.propose(vec![command]).await.map_err(proposed)?;
        let node = match outcomes.into_iter().next() {
            Some(Ok(Applied::Node { id })) => id,
            Some(Err(rejection)) => return Err(rejection.into()),
            Some(Ok(_)) | None => {
                return Err(ApiError::new(Code::Internal, "the join gave no node"));
            }
        };
        self.welcome(node, &certificate_request)
    }

    /// What a machine is told that has become `node`.
    fn welcome(
        &self,
        node: NodeId,
        request: &CertificateRequest,
    ) -> Result<v1::JoinResponse, ApiError> {
        let state = self.state();
        let missing = || ApiError::unavailable("the node was removed while it joined");
        let role = state.node(node).ok_or_else(missing)?.role;
        let cluster = state.cluster().ok_or_else(missing)?;
        let status = self.raft.status();
        let managers = status.voters.into_values().chain(status.learners.into_values());
        Ok(v1::JoinResponse {
            node_id: node.to_string(),
            role: role.to_string(),
            certificate: self.certify(request, node, role)?,
            cluster_id: cluster.id.0,
            epoch: cluster.epoch,
            zone: cluster.zone.clone(),
            pool: cluster.pool.to_string(),
            managers: managers.collect(),
            seal_key: self.seal_for(role),
        })
    }

    /// The key to sealed data, for those that may have it.
    fn seal_for(&self, role: Role) -> String {
        match role {
            Role::Manager => self.seal.to_text().to_string(),
            Role::Worker => String::new(),
        }
    }

    /// `caller` is who asks: the key to sealed data is only for a manager that shows its certificate.
    fn again(
        &self,
        request: &v1::RenewRequest,
        caller: Option<&Caller>,
    ) -> Result<v1::RenewResponse, ApiError> {
        let request = parse(&request.certificate_request)?;
        let state = self.state();
        let node = state.node_with_key(&request.fingerprint().to_string()).ok_or_else(|| {
            ApiError::new(
                Code::PermissionDenied,
                "no node of this cluster has this key, or it was removed: join with an empty data directory",
            )
        })?;
        let certificate = self.certify(&request, node.id, node.role)?;
        let itself =
            matches!(caller, Some(Caller::Node { key, .. }) if *key == request.fingerprint());
        let seal_key = if itself { self.seal_for(node.role) } else { String::new() };
        Ok(v1::RenewResponse { role: node.role.to_string(), certificate, seal_key })
    }
}

#[tonic::async_trait]
impl Membership for Keeper {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let request = request.into_inner();
        let hostname = request.hello.as_ref().map(|hello| hello.hostname.clone());
        let joined = self.admit(request).await;
        metrics::joined(joined.is_ok());
        match joined {
            Ok(response) => {
                tracing::info!(
                    node = response.node_id,
                    role = response.role,
                    hostname,
                    "node joined"
                );
                Ok(Response::new(response))
            }
            Err(error) => {
                tracing::warn!(hostname, %error, "a machine was not let in");
                Err(error.into())
            }
        }
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let renewed = self.again(&request.into_inner(), caller.as_ref());
        renewed.map(Response::new).map_err(Status::from)
    }
}

fn parse(request: &[u8]) -> Result<CertificateRequest, ApiError> {
    CertificateRequest::parse(request)
        .map_err(|error| ApiError::field("certificate_request", error))
}

fn proposed(error: ProposeError) -> ApiError {
    crate::api::proposed(error)
}

fn internal(error: &TrustError) -> ApiError {
    ApiError::new(Code::Internal, format!("this manager cannot sign certificates: {error}"))
}
