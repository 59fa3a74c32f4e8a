//! How the floor reaches the container runtime: opens it, lists it, hears its events, and knows when it is silent.

use super::{Floor, Work};
use crate::agent::desk::Desk;
use crate::cache::Membership;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use warren_core::time::Tick;
use warren_drivers::runtime::{
    BoxStream, ContainerRuntime, NetworkSpec, RuntimeError, RuntimeEvent, Scope,
};

/// The wait before a stream of events that has ended is begun again.
pub(super) const HEAR_AGAIN: Duration = Duration::from_millis(500);
/// How long a listing may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long opening the runtime and making the network may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// The wait before a runtime that does not answer is tried again.
pub(super) const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// How far the runtime is.
pub(super) enum Link {
    /// To be opened, not before this.
    Closed(Tick),
    Opening,
    Open(Arc<dyn ContainerRuntime>),
}

impl Floor {
    pub(super) fn runtime_is_silent(&mut self, error: &RuntimeError) {
        let why = format!("the container runtime does not answer: {error}");
        // The words of an error change from try to try; that it is away is news once.
        if self.silent.is_none() {
            tracing::warn!(%error, "container runtime does not answer");
        }
        self.silent = Some(why);
        self.listing = None;
        // Commands cannot be run now, which says nothing about the tasks.
        self.prober.pause_commands();
    }

    pub(super) fn reach_runtime(&mut self, desk: &Desk, now: Tick) {
        let Some(membership) = &desk.membership else { return };
        match &self.link {
            Link::Closed(at) if *at <= now => {
                let scope =
                    Scope { cluster: membership.cluster.to_string(), node: membership.node };
                let network = network(membership, desk.options().mtu);
                let open = (self.open)(scope);
                self.work.spawn(async move {
                    let opened = limited("opening the container runtime", OPEN_TIMEOUT, async {
                        let runtime = open.await?;
                        runtime.prepare_network(&network).await?;
                        Ok((runtime, network))
                    });
                    Work::Opened(opened.await)
                });
                self.link = Link::Opening;
            }
            Link::Open(runtime) => {
                if !self.listing_now && self.list_at <= now {
                    let runtime = Arc::clone(runtime);
                    self.work.spawn(async move {
                        let listed = limited("listing containers", LIST_TIMEOUT, runtime.list());
                        Work::Listed(listed.await)
                    });
                    self.listing_now = true;
                    self.fresh_soon = self.stale.clone();
                    if !self.hearing {
                        self.hear_events();
                    }
                }
            }
            Link::Closed(_) | Link::Opening => {}
        }
    }

    /// Why nothing is known of the containers; empty while the runtime answers.
    pub(in crate::agent) fn silent(&self) -> &str {
        self.silent.as_deref().unwrap_or_default()
    }

    fn hear_events(&mut self) {
        let Some(runtime) = self.runtime().cloned() else { return };
        self.work.spawn(async move {
            let stream =
                limited("listening to the container runtime", LIST_TIMEOUT, runtime.events());
            Work::Events(stream.await)
        });
        self.hearing = true;
    }
}

fn network(membership: &Membership, mtu: Option<u16>) -> NetworkSpec {
    let cluster: String = membership.cluster.to_string().chars().take(8).collect();
    NetworkSpec {
        name: format!("warren-{cluster}-{}", membership.node),
        subnet: membership.subnet,
        gateway: membership.gateway(),
        mtu,
    }
}

/// Waits for the next event of the runtime, and a moment for those that come with it.
pub(super) async fn hear(mut stream: BoxStream<RuntimeEvent>) -> Work {
    use futures::StreamExt;
    match stream.next().await {
        Some(Ok(_)) => {
            while let std::task::Poll::Ready(Some(Ok(_))) = futures::poll!(stream.next()) {}
            Work::Hint(Some(stream))
        }
        Some(Err(_)) | None => Work::Hint(None),
    }
}

/// Gives a call of the runtime so long, and says what took longer.
pub(super) async fn limited<T>(
    what: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    let late = |_| RuntimeError::Timeout { what: what.to_owned(), after: limit };
    timeout(limit, work).await.map_err(late).and_then(|done| done)
}
