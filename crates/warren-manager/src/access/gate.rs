//! The gate before every call.

use super::forward::{self, Forward};
use super::line::Busy;
use super::rates::{Rates, Who};
use super::table::{Need, Place, need};
use super::{Caller, Remote};
use crate::api::OR_OLDER;
use crate::metrics;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};
use warren_core::State;
use warren_core::id::NodeId;
use warren_core::time::{WallTime, millis};
use warren_raft::{Leadership, Raft};
use warren_wire::status::{ApiError, EPOCH, RETRY_AFTER, STALE};
use warren_wire::trust::{AccessToken, TokenSecret};

/// How long a call of somebody unknown may take, its request included: they join, renew and ask whether the manager is
/// healthy, which takes milliseconds, unless the cluster elects a leader just then.
const STRANGERS_CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// How the calls begin that take a token or a key in their request.
const MEMBERSHIP: &str = "/warren.v1.Membership/";

/// Puts a [`Gate`] before a service.
#[derive(Clone)]
pub struct GateLayer {
    raft: Raft,
    forward: Forward,
    rates: Arc<Mutex<Rates>>,
}

impl GateLayer {
    /// With what `raft` knows of nodes and of who leads. A caller that is no node may make `calls_per_second`; 0 for no
    /// limit.
    #[must_use]
    pub fn new(raft: Raft, forward: Forward, calls_per_second: u32) -> Self {
        let rates = Arc::new(Mutex::new(Rates::new(calls_per_second)));
        Self { raft, forward, rates }
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
    Leader { node: NodeId, address: String, caller: Caller, reads: bool },
}

/// A call that was let in.
struct Admitted {
    way: Way,
    /// The address of somebody unknown.
    stranger: Option<Who>,
}

impl GateLayer {
    fn admit(&self, request: &mut Request<Body>) -> Result<Admitted, Status> {
        let path = request.uri().path();
        let (need, place) = need(path).ok_or_else(|| {
            let shown: String = path.chars().take(100).collect();
            Status::unimplemented(format!("there is no call {shown}: is the client newer?"))
        })?;
        let state = Arc::clone(&self.raft.state().borrow());
        let caller = self.recognise(request, &state)?;
        if !caller.may(need) {
            metrics::refused(word(need));
            let mut status = refusal(&caller, need);
            if let (Caller::Removed { .. }, Need::Manager) = (&caller, need) {
                // A manager that was left behind when the cluster was restored is to know it.
                let epoch = state.cluster().map_or(0, |cluster| cluster.epoch);
                status.metadata_mut().insert(EPOCH, epoch.into());
            }
            return Err(status);
        }
        let here = match place {
            Place::Here => true,
            Place::Leader => false,
            Place::Read => request.headers().contains_key(STALE),
        };
        let way = match self.raft.status().leadership {
            Leadership::Follower { .. } if here => Way::Here,
            Leadership::Leader { .. } | Leadership::None => Way::Here,
            Leadership::Follower { leader } => {
                let address = self.raft.status().voters.get(&leader).cloned();
                match address {
                    Some(address) => {
                        let (caller, reads) = (caller.clone(), place == Place::Read);
                        Way::Leader { node: leader, address, caller, reads }
                    }
                    None => Way::Here,
                }
            }
        };
        let stranger = match &caller {
            Caller::Stranger { address } => Some(Who::at(*address)),
            Caller::Local { .. }
            | Caller::Node { .. }
            | Caller::Person { .. }
            | Caller::Removed { .. } => None,
        };
        request.extensions_mut().insert(caller);
        Ok(Admitted { way, stranger })
    }

    /// Finds out who calls, and whether they call too often.
    fn recognise(&self, request: &Request<Body>, state: &State) -> Result<Caller, Status> {
        let (headers, now) = (request.headers(), Instant::now());
        let mut caller = Caller::of(request.extensions(), state);
        if caller.may(Need::Manager)
            && let Caller::Node { node, .. } = &caller
            && let Some(vouched) = forward::vouched(headers, node)
        {
            // The manager that sent it on has counted it.
            return Ok(vouched);
        }
        if let Caller::Stranger { address } = caller {
            let shown = headers.get(AUTHORIZATION);
            if shown.is_some() || request.uri().path().starts_with(MEMBERSHIP) {
                let waits = self.rates().may_try(&Who::at(address), now);
                waits.map_err(|wait| too_many_tries(address, wait))?;
            }
            if let Some(shown) = shown {
                caller = self.known(bearer(shown).as_ref(), state, address)?;
            }
        }
        if let Some(who) = Who::of(&caller) {
            let mut rates = self.rates();
            let made = rates.call(&who, now);
            made.map_err(|wait| too_many_calls(&caller, rates.per_second(), wait))?;
        }
        Ok(caller)
    }

    /// Whose access token has this secret; nobody's where what was shown is no token.
    fn known(
        &self,
        secret: Option<&TokenSecret>,
        state: &State,
        address: Option<IpAddr>,
    ) -> Result<Caller, Status> {
        let known =
            secret.and_then(|secret| Caller::with_token(secret, state, wall_now(), address));
        known.ok_or_else(|| {
            metrics::refused("token");
            self.rates().was_wrong(&Who::at(address), Instant::now());
            Status::unauthenticated(
                "the access token is unknown, expired or revoked: `warren token create` on a manager makes another, \
                 and `warren login` keeps it; a program sends it as `authorization: Bearer WRA-1-…`",
            )
        })
    }

    /// Counts a join or a renewal of somebody unknown that was refused.
    fn tried(&self, stranger: Option<Who>, response: &Response<Body>) {
        let Some(who) = stranger else { return };
        let refused = Status::from_header_map(response.headers()).is_some_and(|status| {
            matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        });
        if refused {
            self.rates().was_wrong(&who, Instant::now());
        }
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many_calls(caller: &Caller, per_second: f64, wait: Duration) -> Status {
    metrics::refused("rate");
    let who = caller.actor().name;
    let problem =
        format!("{who} makes more than {per_second} calls a second, the most of one caller");
    later(problem, wait, "calls_per_second in the configuration of the managers is that limit")
}

fn too_many_tries(address: Option<IpAddr>, wait: Duration) -> Status {
    metrics::refused("tries");
    let from = address.map_or_else(|| "an unknown address".to_owned(), |from| from.to_string());
    later(
        format!("too many tokens or keys that are none of this cluster came from {from}"),
        wait,
        "compare the token with what `warren cluster token` or `warren token create` printed",
    )
}

/// RESOURCE_EXHAUSTED, with when to call again: for people, and in metadata for programs.
fn later(problem: String, wait: Duration, hint: &str) -> Status {
    // Rounded up: who comes back then is not too early.
    let wait_ms = millis(wait) + 1;
    let shown = humantime::format_duration(Duration::from_millis(wait_ms));
    let error = ApiError::new(Code::ResourceExhausted, format!("{problem}: try again in {shown}"));
    let mut status = Status::from(error.hint(hint));
    status.metadata_mut().insert(RETRY_AFTER, wait_ms.into());
    status
}

/// The secret of the access token that a request shows: the whole token as it was printed, or its last part alone.
fn bearer(shown: &HeaderValue) -> Option<TokenSecret> {
    let text = shown.to_str().ok()?.strip_prefix("Bearer ")?.trim();
    let whole = text.parse::<AccessToken>().ok().map(|token| token.secret);
    whole.or_else(|| TokenSecret::parse(text))
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
    let who = caller.actor().name;
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

/// The refusal of a call that did not reach the leader. One that only looks may be answered here.
fn or_older(status: Status, reads: bool) -> Status {
    if !reads {
        return status;
    }
    ApiError::from(status).hint(OR_OLDER).into()
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
        let busy = request.extensions().get::<Remote>().map(|remote| remote.line.call());
        Box::pin(async move {
            let Admitted { way, stranger } = match layer.admit(&mut request) {
                Ok(admitted) => admitted,
                Err(status) => return Ok(status.into_http()),
            };
            let member = request.uri().path().starts_with(MEMBERSHIP);
            let unknown = stranger.is_some();
            let answer = async {
                match way {
                    Way::Here => inner.call(request).await,
                    Way::Leader { node, address, caller, reads } => {
                        let sent = layer.forward.send(node, &address, &caller, request).await;
                        Ok(sent.unwrap_or_else(|status| or_older(status, reads).into_http()))
                    }
                }
            };
            let response = if unknown {
                match timeout(STRANGERS_CALL_TIME_MAX, answer).await {
                    Ok(response) => response?,
                    Err(_) => {
                        let why =
                            format!("no whole request came within {STRANGERS_CALL_TIME_MAX:?}");
                        Status::deadline_exceeded(why).into_http()
                    }
                }
            } else {
                answer.await?
            };
            layer.tried(stranger.filter(|_| member), &response);
            Ok(counted(response, busy))
        })
    }
}

/// A call lasts until the last of its answer has gone.
fn counted(response: Response<Body>, busy: Option<Busy>) -> Response<Body> {
    let Some(busy) = busy else { return response };
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _until_the_end = &busy;
            frame
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_whole_or_by_its_secret() {
        let secret = "0123456789abcdef0123456789abcdef";
        let whole = format!("WRA-1-{}-{secret}", "ab".repeat(32));
        let read = |text: &str| bearer(&HeaderValue::from_str(text).unwrap());
        let found = read(&format!("Bearer {whole}")).unwrap();
        assert_eq!(found.to_text().as_str(), secret);
        assert!(read(&format!("Bearer {secret}")).is_some_and(|read| read == found));
        for wrong in
            [&whole, secret, "Bearer", "Bearer x", "Basic YTpi", &format!("Bearer {whole}0")]
        {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }
}
