//! How a machine becomes a node of a cluster that exists.

use super::data_dir::DataDir;
use super::identity::{Identity, Member, failed};
use super::network;
use crate::config::Join;
use crate::failure::{Exit, Failure, Outcome};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Status};
use warren_core::ClusterId;
use warren_core::id::NodeId;
use warren_core::node::Role;
use warren_wire::channel::connect_stranger;
use warren_wire::trust::{SealKey, pin_authority};
use warren_wire::v1;
use warren_wire::v1::membership_client::MembershipClient;

/// How long a join may take: the cluster writes it down, which takes milliseconds, unless it elects a leader just then.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Joins as `join` says, tells of itself what `hello` says, and keeps what comes back. With `has_pool`, tasks get
/// addresses of the cluster's pool.
///
/// # Errors
/// Nobody answers, somebody else than the token says, the token is refused, or the pool lies over a network of this
/// machine; nothing is kept then.
pub async fn join(
    join: &Join,
    hello: v1::Hello,
    identity: &Identity,
    dir: &DataDir,
    has_pool: bool,
) -> Outcome<Member> {
    let token = join.token.as_ref().ok_or_else(|| {
        Failure::usage("--join needs --token")
            .hint("`warren cluster token` on a manager of the cluster prints both")
    })?;
    let pinned = pin_authority(&join.manager, token.authority).await.map_err(|error| {
        failed(error)
            .hint("--join names a manager of the cluster, as `warren cluster token` printed it")
    })?;
    let refused = |error: warren_wire::channel::DialError| {
        Failure::new(Exit::Unreachable, format!("{}: {error}", join.manager))
    };
    let channel = connect_stranger(&join.manager, &pinned.authority).await.map_err(refused)?;
    let request = v1::JoinRequest {
        secret: token.secret.to_text().to_string(),
        certificate_request: identity.request()?,
        hello: Some(hello),
    };
    let mut client = MembershipClient::new(channel);
    let answer = timeout(JOIN_TIMEOUT, client.join(request)).await.map_err(|_| {
        Failure::new(Exit::Unreachable, format!("{} did not answer the join", join.manager))
            .hint("`warren status` there says whether the cluster has a leader")
    })?;
    let joined = answer.map_err(|status| told(&join.manager, status))?.into_inner();
    let member = member_of(&joined)?;
    if has_pool {
        network::check_free(member.pool).await.map_err(|failure| {
            failure.hint(
                "this is the pool of the cluster: take what is in its way off this machine and join again. Until then \
                 the cluster counts this machine as a node that is down; `warren node rm` forgets it",
            )
        })?;
    }
    if let Some(seal) = SealKey::parse(&joined.seal_key) {
        identity.keep_seal(dir, &seal)?;
    }
    identity.certified(dir, pinned.authority, joined.certificate)?;
    // Last: a node with this file has joined.
    identity.keep_member(dir, &member)?;
    tracing::info!(node = %member.node, role = %member.role, cluster = member.cluster, "joined the cluster");
    Ok(member)
}

/// Refuses to join what this process itself serves at `taken`.
///
/// # Errors
/// `manager` leads there.
pub fn check_other(manager: &str, taken: Option<SocketAddr>) -> Outcome {
    let Some(taken) = taken else { return Ok(()) };
    // A name that nobody knows is told by who connects to it.
    let found = manager.to_socket_addrs().into_iter().flatten();
    let is_ours = |address: &SocketAddr| {
        // Only an address of this machine can be bound.
        let here = || UdpSocket::bind((address.ip(), 0)).is_ok();
        address.port() == taken.port()
            && (address.ip() == taken.ip() || (taken.ip().is_unspecified() && here()))
    };
    match found.into_iter().find(is_ours) {
        None => Ok(()),
        Some(_) => Err(Failure::usage(format!("--join {manager} is this machine itself")).hint(
            "name a manager of the cluster to join; a machine that joins nobody makes a cluster of its own",
        )),
    }
}

fn member_of(joined: &v1::JoinResponse) -> Outcome<Member> {
    let strange = |what: &str| {
        Failure::new(Exit::Failed, format!("the cluster's answer to the join has a strange {what}"))
            .hint("do both ends run the same version?")
    };
    Ok(Member {
        node: joined.node_id.parse::<NodeId>().map_err(|_| strange("node id"))?,
        role: match joined.role.as_str() {
            "manager" => Role::Manager,
            "worker" => Role::Worker,
            _ => return Err(strange("role")),
        },
        cluster: ClusterId(joined.cluster_id).to_string(),
        pool: joined.pool.parse().map_err(|_| strange("pool"))?,
        managers: joined.managers.clone(),
    })
}

fn told(manager: &str, status: Status) -> Failure {
    let code = status.code();
    let failure = Failure::from(status);
    let message = format!("{manager} does not let this machine in: {}", failure.message);
    match code {
        Code::Unimplemented => Failure::new(Exit::Failed, message)
            .hint("is it a manager of the same version? `warren cluster info` names the managers"),
        _ => Failure { message, ..failure },
    }
}
