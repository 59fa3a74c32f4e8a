//! Clients that never pause: each resolves a name, keeps the answer for as long as it may, and asks one address after
//! another. What they count is what a release costs its users.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hickory_proto::rr::{RData, RecordType};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::cluster::{Node, PORT};
use crate::dns::{self, Over};
use crate::{http, wait};

/// Clients of one name: enough that some hold an old answer at any moment.
const CLIENTS: usize = 3;
/// Between two requests of one client.
const PACE: Duration = Duration::from_millis(25);
/// Failures that are kept in words; the others are counted.
const WORDS_MAX: usize = 8;
/// How long a first answer, and an answer of a wanted version, may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Running clients; dropped, they stop.
pub struct Load {
    clients: JoinSet<()>,
    tallies: BTreeMap<String, Arc<Mutex<Tally>>>,
}

/// What the clients of one name saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests that were made.
    pub requests: u64,
    /// Those that were not answered with 200.
    pub failed: u64,
    /// The first of them in words.
    pub failures: Vec<String>,
    /// Questions that no DNS server answered: while the node is down. The last answer stays in use then.
    pub unresolved: u64,
    /// Who answered: by version, how often, and when last.
    pub versions: BTreeMap<String, (u64, Instant)>,
}

impl Load {
    /// Starts clients of each name, as in `web`, and waits until each was answered once.
    ///
    /// # Errors
    /// Where a name is not answered at all.
    pub async fn start(node: &Node, names: &[&str]) -> anyhow::Result<Self> {
        let mut load = Self { clients: JoinSet::new(), tallies: BTreeMap::new() };
        for name in names {
            let tally = Arc::new(Mutex::new(Tally::default()));
            for number in 0..CLIENTS {
                let client = Client {
                    run: node.run_file(),
                    name: format!("{name}.warren."),
                    addresses: Vec::new(),
                    expire: Instant::now(),
                    turn: number,
                };
                load.clients.spawn(client.run(Arc::clone(&tally)));
            }
            load.tallies.insert((*name).to_owned(), tally);
        }
        for name in names {
            wait::until(&format!("{name} answers"), ANSWER_TIME_MAX, async || {
                let seen = load.seen(name)?;
                ensure!(seen.requests > seen.failed, "{seen:?}");
                Ok(())
            })
            .await?;
            // A name that was not there yet is no failed request of a release.
            *lock(load.tally(name)?) = Tally::default();
        }
        Ok(load)
    }

    /// What the clients of a name have seen so far.
    ///
    /// # Errors
    /// Where it has no clients.
    pub fn seen(&self, name: &str) -> anyhow::Result<Tally> {
        Ok(lock(self.tally(name)?).clone())
    }

    /// Counts anew from here on, and gives what was seen until now.
    ///
    /// # Errors
    /// As [`Self::seen`].
    pub fn take(&self, name: &str) -> anyhow::Result<Tally> {
        Ok(std::mem::take(&mut *lock(self.tally(name)?)))
    }

    /// Fails where a request to `name` has failed since the last count, and says how many there were.
    ///
    /// # Errors
    /// With the first failures.
    pub fn all_answered(&self, name: &str, when: &str) -> anyhow::Result<Tally> {
        let seen = self.take(name)?;
        crate::say(&format!("{name}: {when}: {seen}"));
        ensure!(seen.failed == 0, "{name}: {when}: {seen}: {:#?}", seen.failures);
        ensure!(seen.requests > 0, "{name}: {when}: nobody asked");
        Ok(seen)
    }

    /// Waits until this version answers a request that began after this call.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn answered_by(&self, name: &str, version: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        wait::until(&format!("{name} is answered by {version}"), ANSWER_TIME_MAX, async || {
            let seen = self.seen(name)?;
            let last = seen.versions.get(version).map(|(_, last)| *last);
            ensure!(last.is_some_and(|last| last > start), "{seen}");
            Ok(())
        })
        .await
    }

    fn tally(&self, name: &str) -> anyhow::Result<&Mutex<Tally>> {
        Ok(self.tallies.get(name).with_context(|| format!("nobody asks for {name}"))?)
    }
}

impl Tally {
    /// How many requests this version answered.
    #[must_use]
    pub fn of(&self, version: &str) -> u64 {
        self.versions.get(version).map_or(0, |(count, _)| *count)
    }

    /// When this version answered last.
    #[must_use]
    pub fn last_of(&self, version: &str) -> Option<Instant> {
        self.versions.get(version).map(|(_, last)| *last)
    }

    fn count(&mut self, answer: anyhow::Result<String>) {
        self.requests += 1;
        match answer {
            Ok(version) => {
                let now = Instant::now();
                let (count, last) = self.versions.entry(version).or_insert((0, now));
                *count += 1;
                *last = now;
            }
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < WORDS_MAX {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} requests failed", self.failed, self.requests)?;
        for (version, (count, _)) in &self.versions {
            write!(f, ", {count} by {version}")?;
        }
        Ok(())
    }
}

/// One client with its own cache.
struct Client {
    run: PathBuf,
    name: String,
    addresses: Vec<SocketAddr>,
    expire: Instant,
    turn: usize,
}

impl Client {
    async fn run(mut self, tally: Arc<Mutex<Tally>>) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            if self.expire <= Instant::now() && self.resolve().await.is_err() {
                lock(&tally).unresolved += 1;
            }
            let answer = self.request().await;
            lock(&tally).count(answer);
        }
    }

    /// Asks anew. The server's port is another one after each start of the node.
    async fn resolve(&mut self) -> anyhow::Result<()> {
        let run: Value = serde_json::from_slice(&std::fs::read(&self.run)?)?;
        let server = run.get("dns").and_then(Value::as_str).context("no DNS address")?.parse()?;
        let answer = dns::ask(server, &self.name, RecordType::A, Over::Udp).await?;
        let found = answer.answers.iter().filter_map(|record| match record.data {
            RData::A(address) => Some(SocketAddr::new(address.0.into(), PORT)),
            _ => None,
        });
        self.addresses = found.collect();
        let ttl = answer.answers.iter().map(|record| record.ttl).min().unwrap_or(0);
        self.expire = Instant::now() + Duration::from_secs(ttl.into());
        Ok(())
    }

    async fn request(&mut self) -> anyhow::Result<String> {
        self.turn += 1;
        let count = self.addresses.len().max(1);
        let address = *self.addresses.get(self.turn % count).context("the name has no address")?;
        let (status, text) = http::get(address, "/").await?;
        ensure!(status == 200, "{address} answers {status}: {text}");
        let who: Value = serde_json::from_str(&text)?;
        Ok(who.get("version").and_then(Value::as_str).unwrap_or_default().to_owned())
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    // A count is whole at any moment, also where its holder ended early.
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
