//! One service, again after each change. Only the newest picture matters: a slow reader skips what is outdated, and
//! nothing is queued for it.

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
use warren_wire::status::ApiError;
use warren_wire::v1::{self, WatchServiceResponse};

/// The shortest time between two pictures: faster than a person reads, and a service with 50,000 tasks costs a tenth of
/// a core at most.
const PACE: Duration = Duration::from_millis(100);

struct Watch {
    api: Api,
    id: ServiceId,
    states: watch::Receiver<Arc<State>>,
    published: watch::Receiver<Option<Arc<Published>>>,
    last: Option<WatchServiceResponse>,
    next_at: Instant,
    ended: bool,
    _open: OpenStream,
}

impl Api {
    /// The service now, and after each change of it or its tasks until it is gone.
    pub(super) fn watched(
        &self,
        id: ServiceId,
    ) -> BoxStream<'static, Result<WatchServiceResponse, Status>> {
        let watch = Watch {
            api: self.clone(),
            id,
            states: self.backend.raft.state(),
            published: self.backend.published.clone(),
            last: None,
            next_at: Instant::now(),
            ended: false,
            _open: OpenStream::new("WatchService"),
        };
        let pictures = stream::unfold(watch, |mut watch| async move {
            let picture = watch.next().await?;
            Some((picture.map_err(Status::from), watch))
        });
        pictures.boxed()
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Result<WatchServiceResponse, ApiError>> {
        while !self.ended {
            let picture = self.look();
            if self.last.as_ref().is_none_or(|last| differ(last, &picture)) {
                self.ended = picture.service.is_none();
                self.last = Some(picture.clone());
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

    fn look(&mut self) -> WatchServiceResponse {
        self.states.mark_unchanged();
        self.published.mark_unchanged();
        let look = self.api.glance();
        let revision = look.state.applied().0;
        let Some(service) = look.state.service(self.id) else {
            return WatchServiceResponse { revision, ..WatchServiceResponse::default() };
        };
        let sources = look.sources();
        WatchServiceResponse {
            revision,
            service: Some(sources.service(service)),
            tasks: sources.tasks_of(service),
            waits: sources.waits(service),
        }
    }
}

/// Whether two pictures differ in more than their age.
fn differ(one: &WatchServiceResponse, other: &WatchServiceResponse) -> bool {
    fn ageless(picture: &WatchServiceResponse) -> WatchServiceResponse {
        let tasks = picture.tasks.iter();
        let waits = picture.waits.iter();
        WatchServiceResponse {
            revision: 0,
            service: picture.service.clone(),
            tasks: tasks.map(|task| v1::Task { phase_age_ms: 0, ..task.clone() }).collect(),
            waits: waits
                .map(|wait| v1::Wait { waited_ms: 0, due_ms: None, ..wait.clone() })
                .collect(),
        }
    }
    ageless(one) != ageless(other)
}
