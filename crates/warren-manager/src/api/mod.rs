//! The public API. A handler parses what it is asked, proposes or looks, and shows what came of it; it decides nothing.
//!
//! [`Api`] is every service of `proto/warren/v1` but the ones that nodes use among themselves. [`router`] makes it a
//! set of routes, [`server`] a server with the limits that a public port needs.

mod actor;
mod backup;
mod cluster;
mod errors;
mod events;
mod exec;
mod files;
mod health;
mod logs;
mod lookup;
pub mod metrics;
mod nodes;
mod plan;
mod reach;
mod read;
mod rebalance;
mod rollouts;
mod router;
mod services;
mod tasks;
mod tokens;
mod update;
mod versions;
mod watched;

#[cfg(test)]
mod tests;

pub(crate) use errors::proposed;
pub use health::HealthReport;
pub(crate) use nodes::check_leave;
pub use reach::{Input, Reach, Replies};
pub(crate) use read::OR_OLDER;
pub use router::{REQUESTS_PER_CONNECTION_MAX, Served, router, server};

use crate::leader::{ManagerHandle, Published};
use crate::vault::Vault;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};
use warren_core::State;
use warren_core::command::{Applied, Command};
use warren_core::id::{NodeId, ServiceId};
use warren_core::node::Node;
use warren_core::observed::Observed;
use warren_core::report::Report;
use warren_core::time::ClusterTime;
use warren_raft::{Leadership, Raft};
use warren_wire::status::{ApiError, Code};
use warren_wire::v1;
use warren_wire::view::Sources;

/// How long a call may take that looks or writes: a proposal gives up after 10 s, and so does a barrier.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call may take that has nodes resolve an image: a relay gives each of three nodes 120 s.
const RESOLVE_CALL_TIMEOUT: Duration = Duration::from_secs(400);

/// What this manager says of itself.
#[derive(Clone, Debug)]
pub struct Info {
    /// The version of Warren.
    pub version: String,
    /// Where the resolvers of its node listen.
    pub dns_addresses: watch::Receiver<Vec<String>>,
}

/// What the API stands on.
pub struct Backend {
    /// The agreed state.
    pub raft: Raft,
    /// What the leader knows beyond it; absent where this manager does not lead.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// The way into nodes.
    pub reach: Arc<dyn Reach>,
    /// The way into what is sealed.
    pub vault: Vault,
    /// What this manager says of itself.
    pub info: Info,
    /// Ends every stream.
    pub shutdown: CancellationToken,
}

/// The public API. Clones are the same.
#[derive(Clone)]
pub struct Api {
    backend: Arc<Backend>,
}

/// One consistent-enough look: the newest state that is applied here, with what the leader's last round knew.
struct Look {
    state: Arc<State>,
    published: Option<Arc<Published>>,
    nothing: (Observed, Report),
    now: ClusterTime,
}

impl Look {
    fn sources(&self) -> Sources<'_> {
        let (observed, report) = match &self.published {
            Some(published) => (&published.observed, &published.report),
            None => (&self.nothing.0, &self.nothing.1),
        };
        Sources { state: &self.state, observed, report, now: self.now }
    }

    /// What is known of nodes that are silent and not down; of those alone that run tasks of a service, where one is
    /// named.
    fn silences(&self, of: Option<ServiceId>) -> Vec<v1::Wait> {
        let suspects = self.published.iter().flat_map(|now| &now.suspects);
        let runs = |node| {
            let mut tasks = self.state.tasks_on(node).filter(|task| task.is_live());
            of.is_none_or(|service| tasks.any(|task| task.service == service))
        };
        let waits = suspects.filter(|suspect| runs(suspect.node)).filter_map(|suspect| {
            let node = self.state.node(suspect.node).filter(|node| node.up)?;
            let subject = node.facts.hostname.to_string();
            Some(v1::Wait { subject, reason: suspect.to_string(), ..v1::Wait::default() })
        });
        waits.collect()
    }

    /// One node; `leader` is who leads.
    fn node(&self, node: &Node, leader: Option<NodeId>) -> v1::Node {
        let mut shown = self.sources().node(node, leader);
        let suspects = self.published.iter().flat_map(|now| &now.suspects);
        let suspect = suspects.into_iter().find(|suspect| suspect.node == node.id);
        if let Some(suspect) = suspect.filter(|_| node.up) {
            "suspect".clone_into(&mut shown.status);
            shown.problems.insert(0, suspect.to_string());
        }
        shown
    }
}

impl Backend {
    /// The backend of a manager.
    #[must_use]
    pub fn of(manager: &ManagerHandle, info: Info, shutdown: CancellationToken) -> Self {
        Self {
            raft: manager.raft().clone(),
            published: manager.published(),
            reach: Arc::new(manager.relay()),
            vault: manager.vault(),
            info,
            shutdown,
        }
    }
}

impl Api {
    /// The API on top of `backend`.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self { backend: Arc::new(backend) }
    }

    /// Runs one call: bounds its time, counts it, and gives its error the form of the wire.
    async fn call<T>(
        &self,
        method: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<Response<T>, Status> {
        let begun = Instant::now();
        let result = timeout(limit, work).await.unwrap_or_else(|_| {
            let message =
                format!("{method} took longer than {} s and was given up", limit.as_secs());
            Err(ApiError::new(Code::DeadlineExceeded, message))
        });
        let code = result.as_ref().err().map_or(Code::Ok, |error| error.code);
        metrics::called(method, code, begun.elapsed());
        if let Err(error) = &result {
            tracing::debug!(method, ?code, %error, "call refused");
        }
        result.map(Response::new).map_err(Status::from)
    }

    /// The state as of now: what was acknowledged before is in it.
    async fn look(&self) -> Result<Look, ApiError> {
        self.backend.raft.barrier().await.map_err(proposed)?;
        Ok(self.glance())
    }

    /// The state as applied here, which may be behind where this manager does not lead.
    fn glance(&self) -> Look {
        Look {
            state: self.state(),
            published: self.backend.published.borrow().clone(),
            nothing: (Observed::default(), Report::default()),
            now: self.backend.raft.now(),
        }
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.backend.raft.state().borrow())
    }

    fn leads(&self) -> bool {
        matches!(*self.backend.raft.leadership().borrow(), Leadership::Leader { .. })
    }

    /// Asks for one command and waits until it is applied here.
    async fn propose(&self, command: Command) -> Result<Applied, ApiError> {
        let outcomes = self.backend.raft.propose(vec![command]).await.map_err(proposed)?;
        let outcome = outcomes.into_iter().next();
        let missing = || ApiError::new(Code::Internal, "the change was agreed without an outcome");
        Ok(outcome.ok_or_else(missing)??)
    }
}
