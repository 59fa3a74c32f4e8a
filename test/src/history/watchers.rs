//! Watchers of what happens, one at each manager, and whether each was sent every committed change once, whole and in
//! order, however often its stream broke.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use warren_wire::v1::events_client::EventsClient;
use warren_wire::v1::{Event, WatchEventsRequest, WatchEventsResponse};

use crate::api::channel;
use crate::fleet::SOON;
use crate::wait;

/// Between a stream that broke and the next.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a manager may take to begin a stream; another try follows.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Watchers; dropped, they stop.
pub struct Watchers {
    stop: CancellationToken,
    seen: Vec<Arc<Mutex<Seen>>>,
}

/// What one watcher was sent.
#[derive(Default)]
struct Seen {
    entries: Vec<WatchEventsResponse>,
    streams: usize,
    /// Why it could not go on from where it was, where it was told so.
    over: Option<Status>,
}

/// All committed changes, in their order.
pub struct Committed {
    entries: Vec<WatchEventsResponse>,
    streams: usize,
}

impl Watchers {
    /// Starts one at each of these managers, by their sockets.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn start(sockets: &[PathBuf]) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let (mut seen, mut work) = (Vec::new(), Vec::new());
        for socket in sockets {
            let one = Arc::new(Mutex::new(Seen::default()));
            work.push(watch(socket.clone(), Arc::clone(&one)));
            seen.push(one);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stopped = stop.clone();
        std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(futures::future::join_all(work)));
        });
        Ok(Self { stop, seen })
    }

    /// Waits until each was sent all that is committed now, and compares.
    ///
    /// # Errors
    /// Where one has a gap, something twice, something else or nothing for long; and where not all events are kept any
    /// more, so that nobody can know.
    pub async fn compared(&self, sockets: &[PathBuf]) -> anyhow::Result<Committed> {
        let first = sockets.first().context("a manager")?;
        let committed =
            wait::until("all events are told", SOON, async || kept(first).await).await?;
        let begins = committed.first().and_then(|entry| entry.events.first());
        let begins = begins.context("events")?;
        ensure!(begins.subject == "cluster", "the first events are not kept: {begins:?}");
        let last = committed.last().map_or(0, |entry| entry.revision);
        for (place, seen) in self.seen.iter().enumerate() {
            let what = format!("the watcher of manager {place} has revision {last}");
            wait::until(&what, SOON, async || {
                let seen = lock(seen);
                let came = seen.entries.last().map_or(0, |entry| entry.revision);
                // One that has to start over waits for nothing more.
                ensure!(came >= last || seen.over.is_some(), "{came} after {}", seen.streams);
                Ok(())
            })
            .await?;
            same(place, &lock(seen), &committed)?;
        }
        let streams = self.seen.iter().map(|seen| lock(seen).streams).sum();
        Ok(Committed { entries: committed, streams })
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn watch(socket: PathBuf, seen: Arc<Mutex<Seen>>) {
    let mut events = EventsClient::new(channel(&socket));
    loop {
        let after_revision = lock(&seen).entries.last().map(|entry| entry.revision);
        let request = WatchEventsRequest { after_revision, follow: true, ..Default::default() };
        match timeout(BEGIN_TIME_MAX, events.watch_events(request)).await {
            Ok(Ok(stream)) => {
                lock(&seen).streams += 1;
                let mut stream = stream.into_inner();
                while let Ok(Some(entry)) = stream.message().await {
                    lock(&seen).entries.push(entry);
                }
            }
            Ok(Err(status)) if status.code() == Code::OutOfRange => {
                lock(&seen).over = Some(status);
                return;
            }
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}

/// All events that are kept.
async fn kept(socket: &Path) -> anyhow::Result<Vec<WatchEventsResponse>> {
    let mut events = EventsClient::new(channel(socket));
    let mut stream = events.watch_events(WatchEventsRequest::default()).await?.into_inner();
    let mut entries = Vec::new();
    while let Some(entry) = stream.message().await? {
        entries.push(entry);
    }
    Ok(entries)
}

fn same(place: usize, seen: &Seen, committed: &[WatchEventsResponse]) -> anyhow::Result<()> {
    if let Some(status) = &seen.over {
        // The whole history is shorter than what is kept, so nobody has a reason to say that.
        anyhow::bail!("the watcher of manager {place} was told to start over: {status}");
    }
    for (number, entry) in committed.iter().enumerate() {
        let sent = seen.entries.get(number);
        ensure!(
            sent == Some(entry),
            "the watcher of manager {place} was sent {sent:?} where {entry:?} was committed"
        );
    }
    Ok(())
}

impl Committed {
    /// The changes of a service's intent, the making first: the one at place `n` made generation `n + 1`.
    pub(super) fn changes_of(&self, service: &str) -> Vec<&Event> {
        let intent = ["created", "updated", "scaled"];
        let of = |event: &&Event| {
            event.subject == "service"
                && event.service == service
                && intent.contains(&event.action.as_str())
        };
        self.events().filter(of).collect()
    }

    /// The names of the services that were made.
    pub(super) fn created(&self) -> impl Iterator<Item = &str> {
        let made =
            self.events().filter(|event| event.subject == "service" && event.action == "created");
        made.map(|event| event.service.as_str())
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.entries.iter().flat_map(|entry| &entry.events)
    }
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, streams) = (self.entries.len(), self.streams);
        write!(f, "{entries} change sets sent to every watcher, over {streams} streams in all")
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // What is in it is whole at any moment, also where its holder ended early.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
