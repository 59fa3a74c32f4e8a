//! One service or its release, again after each change. Only the newest picture matters: a slow reader skips what is
//! outdated, and nothing is queued for it.

use super::metrics::OpenStream;
use super::{Api, errors};
use crate::leader::Published;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use warren_core::State;
use warren_core::id::ServiceId;
use warren_core::service::Service;
use warren_wire::status::ApiError;
use warren_wire::v1::{self, WatchRolloutResponse, WatchServiceResponse};
use warren_wire::view::Sources;

/// The shortest time between two pictures: faster than a person reads, and a service with 50,000 tasks costs a tenth of
/// a core at most.
const PACE: Duration = Duration::from_millis(100);

/// What is shown again and again.
pub(super) trait Picture: Clone + PartialEq + Send + 'static {
    /// The call that shows it.
    const METHOD: &'static str;
    /// The service as of the state's `revision`; `None` once it is gone.
    fn of(revision: u64, service: Option<&Service>, sources: &Sources<'_>) -> Self;
    /// The same without what time alone changes.
    fn ageless(&self) -> Self;
}

struct Watch<P> {
    api: Api,
    id: ServiceId,
    states: watch::Receiver<Arc<State>>,
    published: watch::Receiver<Option<Arc<Published>>>,
    /// The last picture, ageless.
    last: Option<P>,
    next_at: Instant,
    ended: bool,
    _open: OpenStream,
}

impl Api {
    /// The picture now, and after each change of it until the service is gone.
    pub(super) fn watched<P: Picture>(
        &self,
        id: ServiceId,
    ) -> BoxStream<'static, Result<P, Status>> {
        let watch = Watch {
            api: self.clone(),
            id,
            states: self.backend.raft.state(),
            published: self.backend.published.clone(),
            last: None,
            next_at: Instant::now(),
            ended: false,
            _open: OpenStream::new(P::METHOD),
        };
        let pictures = stream::unfold(watch, |mut watch| async move {
            let picture = watch.next().await?;
            Some((picture.map_err(Status::from), watch))
        });
        pictures.boxed()
    }
}

impl<P: Picture> Watch<P> {
    async fn next(&mut self) -> Option<Result<P, ApiError>> {
        while !self.ended {
            let (picture, gone) = self.look();
            let ageless = picture.ageless();
            if self.last.as_ref() != Some(&ageless) {
                self.ended = gone;
                self.last = Some(ageless);
                self.next_at = Instant::now() + PACE;
                return Some(Ok(picture));
            }
            if let Err(error) = self.change().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
        None
    }

    /// Waits until something has changed, and the next picture is due.
    async fn change(&mut self) -> Result<(), ApiError> {
        let shutdown = self.api.backend.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => return Err(errors::stopping()),
            changed = self.states.changed() => changed.map_err(|_| errors::stopping())?,
            changed = self.published.changed() => changed.map_err(|_| errors::stopping())?,
        }
        tokio::select! {
            () = shutdown.cancelled() => return Err(errors::stopping()),
            () = sleep_until(self.next_at) => {}
        }
        if self.api.leads() { Ok(()) } else { Err(errors::leads_no_more()) }
    }

    /// The picture, and whether it is the last.
    fn look(&mut self) -> (P, bool) {
        self.states.mark_unchanged();
        self.published.mark_unchanged();
        let look = self.api.glance();
        let service = look.state.service(self.id).map(AsRef::as_ref);
        (P::of(look.state.applied().0, service, &look.sources()), service.is_none())
    }
}

impl Picture for WatchServiceResponse {
    const METHOD: &'static str = "WatchService";

    fn of(revision: u64, service: Option<&Service>, sources: &Sources<'_>) -> Self {
        let Some(service) = service else {
            return Self { revision, ..Self::default() };
        };
        Self {
            revision,
            service: Some(sources.service(service)),
            tasks: sources.tasks_of(service),
            waits: sources.waits(service),
        }
    }

    fn ageless(&self) -> Self {
        let tasks = self.tasks.iter();
        let waits = self.waits.iter();
        let service = self.service.clone().map(|service| v1::Service {
            rollout: service.rollout.map(ageless_rollout),
            ..service
        });
        Self {
            revision: 0,
            service,
            tasks: tasks.map(|task| v1::Task { phase_age_ms: 0, ..task.clone() }).collect(),
            waits: waits
                .map(|wait| v1::Wait {
                    waited_ms: 0,
                    due_ms: None,
                    reason: undated(&wait.reason),
                    ..wait.clone()
                })
                .collect(),
        }
    }
}

impl Picture for WatchRolloutResponse {
    const METHOD: &'static str = "WatchRollout";

    fn of(revision: u64, service: Option<&Service>, sources: &Sources<'_>) -> Self {
        let rollout = service.and_then(|service| sources.live_or_last(service));
        Self { revision, rollout }
    }

    fn ageless(&self) -> Self {
        Self { revision: 0, rollout: self.rollout.clone().map(ageless_rollout) }
    }
}

fn ageless_rollout(rollout: v1::Rollout) -> v1::Rollout {
    let waits = rollout.waits.iter().map(|wait| undated(wait)).collect();
    v1::Rollout { phase_for_ms: 0, held_ms: 0, duration_ms: 0, waits, ..rollout }
}

/// A wait without the seconds that run down.
fn undated(reason: &str) -> String {
    match reason.split_once(" for another ") {
        Some((what, _)) => what.to_owned(),
        None => reason.to_owned(),
    }
}
