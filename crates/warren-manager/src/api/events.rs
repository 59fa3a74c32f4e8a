//! Events: what is kept, and what happens from now on. The replicated state is the only queue: a watcher holds a place
//! in it, and one that falls behind what is kept is told so.

use super::metrics::OpenStream;
use super::{Api, CALL_TIMEOUT, errors, lookup};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use v1::events_server::Events;
use warren_core::State;
use warren_core::event::Event;
use warren_core::id::{LogIndex, ServiceId};
use warren_wire::convert::event::service_of;
use warren_wire::status::{ApiError, Code};
use warren_wire::{v1, view};

#[tonic::async_trait]
impl Events for Api {
    type WatchEventsStream = BoxStream<'static, Result<v1::WatchEventsResponse, Status>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let request = request.into_inner();
        let work = Box::pin(async move {
            let state = self.look().await?.state;
            let watch = self.place(&state, &request)?;
            let messages = stream::unfold(watch, |mut watch| async move {
                let message = watch.next().await?;
                Some((message.map_err(Status::from), watch))
            });
            Ok(messages.boxed())
        });
        self.call("WatchEvents", CALL_TIMEOUT, work).await
    }
}

struct Watch {
    states: watch::Receiver<Arc<State>>,
    shutdown: CancellationToken,
    only: Option<ServiceId>,
    follow: bool,
    /// Everything up to here was taken out of the state.
    cursor: LogIndex,
    /// Taken, and not sent yet: pointers, as many as are kept at most.
    taken: VecDeque<Arc<Event>>,
    ended: bool,
    _open: OpenStream,
}

impl Api {
    fn place(&self, state: &State, request: &v1::WatchEventsRequest) -> Result<Watch, ApiError> {
        let only = if request.service_id.is_empty() {
            None
        } else {
            Some(lookup::service(state, &request.service_id)?.id)
        };
        let compacted = state.events_compacted();
        let cursor = request.after_revision.map_or(compacted, LogIndex);
        if cursor < compacted {
            let message = format!(
                "events up to revision {compacted} are no longer kept, and {cursor} was asked for"
            );
            let error = ApiError::new(Code::OutOfRange, message);
            return Err(error.hint("list anew, then watch without a revision"));
        }
        // What changes nothing has a place in the log too, and may have been shown as the newest.
        let newest = state.applied().max(self.backend.raft.status().applied);
        if cursor > newest {
            let message =
                format!("nothing has happened yet at revision {cursor}: the newest is {newest}");
            let error = ApiError::new(Code::OutOfRange, message);
            return Err(error.hint(
                "is it a revision of another cluster? Leave it out to see all that is kept",
            ));
        }
        Ok(Watch {
            states: self.backend.raft.state(),
            shutdown: self.backend.shutdown.clone(),
            only,
            follow: request.follow,
            cursor,
            taken: VecDeque::new(),
            ended: false,
            _open: OpenStream::new("WatchEvents"),
        })
    }
}

impl Watch {
    /// The next entry's events, all of them.
    async fn next(&mut self) -> Option<Result<v1::WatchEventsResponse, ApiError>> {
        while !self.ended {
            if let Some(message) = self.message() {
                return Some(Ok(message));
            }
            match self.take() {
                Ok(true) => continue,
                Ok(false) if !self.follow => self.ended = true,
                Ok(false) => {
                    if let Err(error) = self.change().await {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    fn message(&mut self) -> Option<v1::WatchEventsResponse> {
        let index = self.taken.front()?.index;
        let mut events = Vec::new();
        while let Some(event) = self.taken.pop_front_if(|event| event.index == index) {
            events.push(event);
        }
        let events: Vec<_> = events.iter().map(Arc::as_ref).collect();
        Some(view::events(index.0, &events))
    }

    /// Takes what has happened since the cursor. Returns whether there is something to send.
    fn take(&mut self) -> Result<bool, ApiError> {
        let state = Arc::clone(&self.states.borrow_and_update());
        if self.cursor < state.events_compacted() {
            let message = format!(
                "lagged: more happened than is kept; watch again from revision {}",
                self.cursor
            );
            return Err(ApiError::new(Code::Aborted, message));
        }
        for event in state.events().rev().take_while(|event| event.index > self.cursor) {
            if self.only.is_none() || service_of(event) == self.only {
                self.taken.push_front(Arc::clone(event));
            }
        }
        self.cursor = self.cursor.max(state.applied());
        Ok(!self.taken.is_empty())
    }

    async fn change(&mut self) -> Result<(), ApiError> {
        tokio::select! {
            () = self.shutdown.cancelled() => Err(errors::stopping()),
            changed = self.states.changed() => changed.map_err(|_| errors::stopping()),
        }
    }
}
