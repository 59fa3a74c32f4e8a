//! The gate before every call.

use super::Caller;
use super::forward::{self, Forward};
use super::table::{Need, Place, need};
use crate::metrics;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};
use warren_core::id::NodeId;
use warren_core::time::{WallTime, millis};
use warren_raft::{Leadership, Raft};
use warren_wire::trust::TokenSecret;

/// Puts a [`Gate`] before a service.
#[derive(Clone)]
pub struct GateLayer {
    raft: Raft,
    forward: Forward,
}

impl GateLayer {
    /// With what `raft` knows of nodes and of who leads.
    #[must_use]
    pub fn new(raft: Raft, forward: Forward) -> Self {
        Self { raft, forward }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, layer: self.clone() }
    }
}

/// Lets calls through that may be made, with the [`Caller`] in their extensions.
#[derive(Clone)]
pub struct Gate<S> {
    inner: S,
    layer: GateLayer,
}

/// Where a call goes on.
enum Way {
    Here,
    Leader { node: NodeId, address: String, caller: Caller },
}

impl GateLayer {
    fn admit(&self, request: &mut Request<Body>) -> Result<Way, Status> {
        let path = request.uri().path();
        let (need, place) = need(path).ok_or_else(|| {
            let shown: String = path.chars().take(100).collect();
            Status::unimplemented(format!("there is no call {shown}: is the client newer?"))
        })?;
        let state = Arc::clone(&self.raft.state().borrow());
        let mut caller = Caller::of(request.extensions(), &state);
        if caller.may(Need::Manager)
            && let Some(vouched) = forward::vouched(request.headers())
            && matches!(caller, Caller::Node { .. })
        {
            caller = vouched;
        }
        if let Caller::Stranger { .. } = caller
            && let Some(secret) = bearer(request.headers())
        {
            caller = Caller::with_token(&secret, &state, wall_now()).ok_or_else(|| {
                metrics::refused("token");
                Status::unauthenticated(
                    "the access token is unknown, expired or revoked: `warren token create` on a manager makes another, \
                     and `warren login` keeps it",
                )
            })?;
        }
        if !caller.may(need) {
            metrics::refused(word(need));
            return Err(refusal(&caller, need));
        }
        let way = match (place, self.raft.status().leadership) {
            (Place::Here, _) | (Place::Leader, Leadership::Leader { .. } | Leadership::None) => {
                Way::Here
            }
            (Place::Leader, Leadership::Follower { leader }) => {
                let address = self.raft.status().voters.get(&leader).cloned();
                match address {
                    Some(address) => Way::Leader { node: leader, address, caller: caller.clone() },
                    None => Way::Here,
                }
            }
        };
        request.extensions_mut().insert(caller);
        Ok(way)
    }
}

/// The secret of the access token that a request shows.
fn bearer(headers: &HeaderMap) -> Option<TokenSecret> {
    let shown: &str = headers.get(AUTHORIZATION)?.to_str().ok()?;
    TokenSecret::parse(shown.strip_prefix("Bearer ")?.trim())
}

fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(millis(since))
}

fn refusal(caller: &Caller, need: Need) -> Status {
    let wanted = match need {
        Need::Nothing => "nothing",
        Need::View => "the role viewer",
        Need::Deploy => "the role deployer",
        Need::Rollback => "the role operator or deployer",
        Need::Approve => "the role approver",
        Need::Admin => "the role admin",
        Need::Node => "the certificate of a node of this cluster",
        Need::Manager => "the certificate of a manager of this cluster",
    };
    let who = caller.actor().0;
    match caller {
        Caller::Stranger { .. } => Status::unauthenticated(format!(
            "nobody is known who calls from {who}: this call needs {wanted}"
        )),
        Caller::Removed { node } => Status::permission_denied(format!(
            "{node} is no node of the cluster, or was removed: join it anew with an empty data directory"
        )),
        Caller::Local { .. } | Caller::Node { .. } | Caller::Person { .. } => {
            Status::permission_denied(format!("{who} may not do this: it needs {wanted}"))
        }
    }
}

/// The word for a need in metrics.
fn word(need: Need) -> &'static str {
    match need {
        Need::Nothing => "nothing",
        Need::View => "view",
        Need::Deploy => "deploy",
        Need::Rollback => "rollback",
        Need::Approve => "approve",
        Need::Admin => "admin",
        Need::Node => "node",
        Need::Manager => "manager",
    }
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone has not been asked whether it is ready; the one that has goes with the call.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let layer = self.layer.clone();
        Box::pin(async move {
            match layer.admit(&mut request) {
                Err(status) => Ok(status.into_http()),
                Ok(Way::Here) => inner.call(request).await,
                Ok(Way::Leader { node, address, caller }) => {
                    let sent = layer.forward.send(node, &address, &caller, request).await;
                    Ok(sent.unwrap_or_else(Status::into_http))
                }
            }
        })
    }
}
