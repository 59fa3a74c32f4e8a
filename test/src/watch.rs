//! When the answers of DNS change over from one set of tasks to another, seen by clients that ask without a pause.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{dns, wait};

/// Questions are asked so many at a time, each client the next one once it has its answer.
const ASKERS: usize = 4;
/// After so long without an answer that names the old tasks none comes any more.
const QUIET: Duration = Duration::from_millis(300);
/// A change that takes longer is none.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Clients that ask for one name; dropped, they stop.
pub struct Watch {
    askers: JoinSet<anyhow::Result<()>>,
    seen: Arc<Mutex<Change>>,
    stop: CancellationToken,
}

/// How the answers changed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// When an answer last named an old task.
    pub last_old: Option<Instant>,
    /// When an answer first named none.
    pub first_new: Option<Instant>,
}

impl Watch {
    /// Starts to ask; `old` are the addresses of the old tasks.
    #[must_use]
    pub fn start(server: SocketAddr, name: &str, old: &BTreeSet<IpAddr>) -> Self {
        let (seen, stop) = (Arc::default(), CancellationToken::new());
        let mut askers = JoinSet::new();
        for _ in 0..ASKERS {
            let (name, old) = (name.to_owned(), old.clone());
            askers.spawn(ask(server, name, old, Arc::clone(&seen), stop.clone()));
        }
        Self { askers, seen, stop }
    }

    /// Waits until no answer names an old task any more.
    ///
    /// # Errors
    /// Where that does not come, where no answer named one before, or where a question was not answered.
    pub async fn over(mut self) -> anyhow::Result<Change> {
        let change = wait::until("no answer names an old task", TIME_MAX, async || {
            let seen = *self.seen.lock().map_err(|_| anyhow!("an asker panicked"))?;
            let last = seen.last_old.context("there was no answer before")?;
            ensure!(seen.first_new.is_some(), "none has changed");
            ensure!(last.elapsed() > QUIET, "one did just now");
            Ok(seen)
        })
        .await?;
        self.stop.cancel();
        while let Some(ended) = self.askers.join_next().await {
            ended??;
        }
        Ok(change)
    }
}

async fn ask(
    server: SocketAddr,
    name: String,
    old: BTreeSet<IpAddr>,
    seen: Arc<Mutex<Change>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let found = dns::addresses(server, &name).await?;
        let (now, is_old) = (Instant::now(), found.iter().any(|address| old.contains(address)));
        let mut seen = seen.lock().map_err(|_| anyhow!("an asker panicked"))?;
        if is_old {
            seen.last_old = Some(now);
        } else {
            seen.first_new.get_or_insert(now);
        }
    }
    Ok(())
}
