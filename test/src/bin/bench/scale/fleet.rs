//! Many simulated nodes in this process, and what all of them together have come to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use warren_test::wait;
use warren_wire::trust::{JoinToken, install_provider, pin_authority};

use super::agent::Agent;

/// By this label services find simulated nodes, and no other.
pub(super) const LABEL: (&str, &str) = ("simulated", "yes");
/// Joins under way at once: what a tool that starts many machines would do.
const JOINS_AT_ONCE: usize = 64;
/// A join that came to nothing is tried again so often: a leader may change meanwhile.
const JOIN_TRIES: usize = 20;
/// Before a join is tried again: about as long as an election takes.
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// What all nodes share.
pub(super) struct Shared {
    pub(super) managers: Vec<String>,
    pub(super) authority: String,
    pub(super) secret: String,
    pub(super) counts: Counts,
    /// Why a session or a join ended last: shown where something takes too long.
    last_error: Mutex<String>,
}

impl Shared {
    /// Takes note of why a session or a join ended.
    pub(super) fn trouble(&self, error: &anyhow::Error) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = format!("{error:#}");
    }
}

/// How far all nodes have come.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) joined: AtomicUsize,
    pub(super) sessions: AtomicUsize,
    /// Assignments that are held.
    pub(super) assigned: AtomicUsize,
    /// Of them, what the present leader has acknowledged as running.
    pub(super) acknowledged: AtomicUsize,
    pub(super) traffic_bytes: AtomicUsize,
}

/// The nodes. Dropped, all of them are gone at once.
pub(super) struct Fleet {
    shared: Arc<Shared>,
    _agents: JoinSet<()>,
}

impl Fleet {
    /// Has `count` nodes join through `managers` with a real token, and attach.
    pub(super) async fn join(
        managers: Vec<String>,
        token: &JoinToken,
        count: usize,
    ) -> anyhow::Result<Self> {
        install_provider();
        let pinned = pin_authority(managers.first().context("a manager")?, token.authority).await?;
        let shared = Arc::new(Shared {
            managers,
            authority: pinned.authority,
            secret: token.secret.to_text().to_string(),
            counts: Counts::default(),
            last_error: Mutex::default(),
        });
        let (numbers, queue) = mpsc::channel(count);
        for number in 0..count {
            numbers.try_send(number)?;
        }
        drop(numbers);
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        let mut workers = JoinSet::new();
        let (ready, mut joined) = mpsc::channel(JOINS_AT_ONCE);
        for _ in 0..JOINS_AT_ONCE {
            let (shared, queue, ready) = (Arc::clone(&shared), Arc::clone(&queue), ready.clone());
            workers.spawn(async move {
                while let Some(number) = next(&queue).await {
                    let agent = join_one(&shared, number).await?;
                    ready.send(agent).await.ok().context("nobody waits for nodes")?;
                }
                anyhow::Ok(())
            });
        }
        drop(ready);
        let mut agents = JoinSet::new();
        while let Some(agent) = joined.recv().await {
            shared.counts.joined.fetch_add(1, Ordering::Relaxed);
            agents.spawn(agent.run());
        }
        while let Some(worker) = workers.join_next().await {
            worker??;
        }
        Ok(Self { shared, _agents: agents })
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Waits until a count is what it should be.
    pub(super) async fn until(
        &self,
        what: &str,
        time_max: Duration,
        count: fn(&Counts) -> &AtomicUsize,
        wanted: usize,
    ) -> anyhow::Result<()> {
        wait::until(what, time_max, async || {
            let now = count(&self.shared.counts).load(Ordering::Relaxed);
            let error = self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner);
            ensure!(now == wanted, "{now} of {wanted}; the last session ended because: {error}");
            Ok(())
        })
        .await
    }
}

async fn next(queue: &tokio::sync::Mutex<mpsc::Receiver<usize>>) -> Option<usize> {
    queue.lock().await.recv().await
}

async fn join_one(shared: &Arc<Shared>, number: usize) -> anyhow::Result<Agent> {
    let mut tried = 0;
    loop {
        tried += 1;
        match Agent::join(Arc::clone(shared), number, tried).await {
            Ok(agent) => return Ok(agent),
            Err(error) if tried == JOIN_TRIES => return Err(error.context("a join failed")),
            Err(error) => {
                shared.trouble(&error);
                tokio::time::sleep(JOIN_PAUSE).await;
            }
        }
    }
}
