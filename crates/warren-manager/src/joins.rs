//! Machines that join, and nodes that want another certificate: who signs, and what they are told.

use crate::access::Caller;
use crate::api::check_leave;
use crate::metrics;
use crate::vault::Vault;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::{Code, Request, Response, Status};
use warren_core::State;
use warren_core::command::{Applied, Command};
use warren_core::id::NodeId;
use warren_core::member::{Trust, clocks_apart};
use warren_core::node::{Availability, Role};
use warren_core::service::Actor;
use warren_core::time::{WallTime, millis};
use warren_raft::{ProposeError, Raft};
use warren_wire::convert;
use warren_wire::status::ApiError;
use warren_wire::trust::{
    Authority, CERTIFICATE_LIFE, CertificateRequest, Fingerprint, SealKey, Subject, TokenSecret,
    TrustError, to_pem,
};
use warren_wire::v1;
use warren_wire::v1::membership_server::{Membership, MembershipServer};

/// For what the authority's key is sealed.
const AUTHORITY: &str = "authority";

/// The last second that can be written with four digits for the year.
const SHOWN_MS_MAX: u64 = 253_402_300_799_000;

/// The largest request: a certificate request, and what a machine says of itself with its labels.
const JOIN_BYTES_MAX: usize = 1 << 20;

/// Opens what managers have sealed.
#[derive(Clone)]
pub struct Keeper {
    raft: Raft,
    seal: SealKey,
    life: Duration,
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

/// The authority that `trust` holds, opened with the cluster's key.
///
/// # Errors
/// The key is another cluster's, or what it opens is damaged.
pub fn open_authority(trust: &Trust, seal: &SealKey) -> Result<Authority, TrustError> {
    let key = seal.open(AUTHORITY, &trust.sealed_key)?;
    let key = std::str::from_utf8(&key).map_err(|_| TrustError::Sealed)?;
    Authority::open(&trust.authority, key)
}

impl Keeper {
    /// With the key that opens the cluster's sealed data.
    #[must_use]
    pub fn new(raft: Raft, seal: SealKey) -> Self {
        Self { raft, seal, life: CERTIFICATE_LIFE }
    }

    /// The same with certificates that live for `life`.
    #[must_use]
    pub fn signing_for(self, life: Duration) -> Self {
        Self { life, ..self }
    }

    /// Gives `vault` the key.
    pub fn unlock(&self, vault: &Vault) {
        vault.unlock(self.seal.clone());
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
        let signed = authority.sign(request, &subject, SystemTime::now(), self.life);
        signed.map_err(|error| internal(&error))
    }

    /// The authority's certificate, PEM; none before the cluster has one.
    #[must_use]
    pub fn authority_pem(&self) -> Option<String> {
        self.state().trust().map(|trust| to_pem(&trust.authority))
    }

    fn authority(&self) -> Result<Option<Authority>, TrustError> {
        let state = self.state();
        state.trust().map(|trust| open_authority(trust, &self.seal)).transpose()
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.raft.state().borrow())
    }

    async fn admit(&self, request: v1::JoinRequest) -> Result<v1::JoinResponse, ApiError> {
        let secret = TokenSecret::parse(&request.secret)
            .ok_or_else(|| ApiError::field("secret", "write 32 hexadecimal digits"))?;
        let certificate_request = parse(&request.certificate_request)?;
        let hello = request.hello.ok_or_else(|| ApiError::field("hello", "it is missing"))?;
        check_clock(&hello)?;
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

impl Keeper {
    /// Takes the node with `key` out, one step at a time.
    async fn take_leave(
        &self,
        key: &Fingerprint,
        request: &v1::LeaveRequest,
    ) -> Result<v1::LeaveResponse, ApiError> {
        self.raft.barrier().await.map_err(proposed)?;
        let state = self.state();
        let node = state.node_with_key(&key.to_string()).cloned();
        let node = node.ok_or_else(|| ApiError::new(Code::NotFound, "it is no node any more"))?;
        let by = Actor::named(format!("node {}", node.id));
        let status = self.raft.status();
        let counted =
            status.voters.contains_key(&node.id) || status.learners.contains_key(&node.id);
        let tasks = state.tasks_on(node.id).filter(|task| task.is_live()).count();
        if request.done {
            let force = true;
            self.agree(Command::RemoveNode { node: node.id, force, by }).await?;
        } else {
            if node.role == Role::Manager {
                check_leave(&self.raft, &state, node.id)?;
            }
            if node.availability != Availability::Drain {
                let availability = Availability::Drain;
                let (node, within) = (node.id, None);
                self.agree(Command::SetAvailability { node, availability, within, by }).await?;
            } else if tasks == 0 && node.role == Role::Manager {
                let role = Role::Worker;
                self.agree(Command::SetRole { node: node.id, role, by }).await?;
            }
        }
        let managers = status.voters.into_iter().chain(status.learners);
        let managers = managers.filter(|(id, address)| *id != node.id && !address.is_empty());
        Ok(v1::LeaveResponse {
            tasks: u32::try_from(tasks).unwrap_or(u32::MAX),
            counted: counted || node.role == Role::Manager,
            managers: managers.map(|(_, address)| address).collect(),
        })
    }

    async fn agree(&self, command: Command) -> Result<(), ApiError> {
        let outcomes = self.raft.propose(vec![command]).await.map_err(proposed)?;
        for outcome in outcomes {
            outcome?;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Membership for Keeper {
    async fn leave(
        &self,
        request: Request<v1::LeaveRequest>,
    ) -> Result<Response<v1::LeaveResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let Some(Caller::Node { key, .. }) = caller else {
            return Err(Status::permission_denied("only a node can leave"));
        };
        let left = Box::pin(self.take_leave(&key, request.get_ref())).await;
        left.map(Response::new).map_err(Status::from)
    }

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

/// Refuses a machine whose wall clock is far from this one's, where it says what it shows.
fn check_clock(hello: &v1::Hello) -> Result<(), ApiError> {
    let here = WallTime(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
    let there = WallTime(hello.wall_unix_ms);
    let show = |time: WallTime| {
        let time = UNIX_EPOCH + Duration::from_millis(time.0.min(SHOWN_MS_MAX));
        humantime::format_rfc3339_seconds(time).to_string()
    };
    match clocks_apart(there, here, show) {
        Some(why) if there.0 > 0 => Err(ApiError::new(Code::FailedPrecondition, why)),
        Some(_) | None => Ok(()),
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
