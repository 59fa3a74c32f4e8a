//! Clients that never pause: each resolves a name, keeps the answer for as long as it may, and asks one address after
//! another. What they count is what a release costs its users.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use hickory_proto::rr::{RData, RecordType};
use nix::sched::CloneFlags;
use serde_json::Value;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

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

/// Running clients, on a thread of their own; dropped, they stop.
pub struct Load {
    stop: CancellationToken,
    tallies: BTreeMap<String, Arc<Mutex<Tally>>>,
}

/// Whom clients ask for addresses, and from where.
#[derive(Clone, Debug)]
pub enum Resolver {
    /// A node's DNS server, whose port is another one after each start; this is the file that names it.
    Node(PathBuf),
    /// A container's resolver, seen from the network of the process with this id. What it answers is not kept at all.
    Container(u32),
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
    /// Only requests that began from then on count; all where absent.
    since: Option<Instant>,
}

impl Load {
    /// Starts clients of each service, as in `web`, and waits until each was answered once.
    ///
    /// # Errors
    /// Where a name is not answered at all.
    pub async fn start(node: &Node, names: &[&str]) -> anyhow::Result<Self> {
        Self::start_from(&Resolver::Node(node.run_file()), ".warren.", names).await
    }

    /// As [`Self::start`], with names that end in `suffix`.
    ///
    /// # Errors
    /// As [`Self::start`], or where there is no such process.
    pub async fn start_from(from: &Resolver, suffix: &str, names: &[&str]) -> anyhow::Result<Self> {
        let mut load = Self { stop: CancellationToken::new(), tallies: BTreeMap::new() };
        let mut clients = Vec::new();
        for name in names {
            let tally = Arc::new(Mutex::new(Tally::default()));
            for number in 0..CLIENTS {
                let client = Client {
                    from: from.clone(),
                    name: format!("{name}{suffix}"),
                    addresses: Vec::new(),
                    expire: Instant::now(),
                    turn: number,
                };
                clients.push(client.run(Arc::clone(&tally)));
            }
            load.tallies.insert((*name).to_owned(), tally);
        }
        run_apart(from.clone(), clients, load.stop.clone())?;
        for name in names {
            wait::until(&format!("{name} answers"), ANSWER_TIME_MAX, async || {
                let seen = load.seen(name)?;
                ensure!(seen.requests > seen.failed, "{seen:?}");
                Ok(())
            })
            .await?;
            // A name that was not there yet is no failed request of a release.
            load.begin_anew(name)?;
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
        let mut tally = lock(self.tally(name)?);
        let anew = Tally { since: tally.since, ..Tally::default() };
        Ok(std::mem::replace(&mut *tally, anew))
    }

    /// As [`Self::take`], and what was asked before now counts no more, neither well answered nor failed: a client that
    /// hangs on a dead address learns of it after its time is up.
    ///
    /// # Errors
    /// As [`Self::seen`].
    pub fn begin_anew(&self, name: &str) -> anyhow::Result<Tally> {
        let anew = Tally { since: Some(Instant::now()), ..Tally::default() };
        Ok(std::mem::replace(&mut *lock(self.tally(name)?), anew))
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

    fn count(&mut self, began: Instant, answer: anyhow::Result<String>) {
        if self.since.is_some_and(|since| began < since) {
            return;
        }
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
                    self.failures.push(format!("begun at {}: {error:#}", wall_clock(began)));
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
    from: Resolver,
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
            let began = Instant::now();
            let answer = self.request().await;
            lock(&tally).count(began, answer);
        }
    }

    async fn resolve(&mut self) -> anyhow::Result<()> {
        let answer = dns::ask(self.from.server()?, &self.name, RecordType::A, Over::Udp).await?;
        let found = answer.answers.iter().filter_map(|record| match record.data {
            RData::A(address) => Some(SocketAddr::new(address.0.into(), PORT)),
            _ => None,
        });
        self.addresses = found.collect();
        let ttl = answer.answers.iter().map(|record| record.ttl).min().unwrap_or(0);
        let kept = match self.from {
            Resolver::Node(_) => Duration::from_secs(ttl.into()),
            Resolver::Container(_) => Duration::ZERO,
        };
        self.expire = Instant::now() + kept;
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

impl Resolver {
    /// Where Docker's resolver is in every container of a network that has one.
    pub const CONTAINERS: SocketAddr =
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);

    fn server(&self) -> anyhow::Result<SocketAddr> {
        let file = match self {
            Self::Container(_) => return Ok(Self::CONTAINERS),
            Self::Node(file) => file,
        };
        let run: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        Ok(run.get("dns").and_then(Value::as_str).context("no DNS address")?.parse()?)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Runs clients on a thread, so that a test that is busy does not slow them, and in another network where that is
/// wanted.
fn run_apart(
    from: Resolver,
    clients: Vec<impl Future<Output = ()> + Send + 'static>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let network = match from {
        Resolver::Node(_) => None,
        Resolver::Container(process) => Some(File::open(format!("/proc/{process}/ns/net"))?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        if let Some(network) = network
            && let Err(error) = nix::sched::setns(network, CloneFlags::CLONE_NEWNET)
        {
            return crate::say(&format!("no way into the container's network: {error}"));
        }
        runtime.block_on(stop.run_until_cancelled(futures::future::join_all(clients)));
    });
    Ok(())
}

/// The time of day of a moment in UTC, as events show it, to the millisecond.
fn wall_clock(moment: Instant) -> String {
    let at = SystemTime::now() - moment.elapsed();
    let ms = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() % 86_400_000);
    let (seconds, minutes) = (ms / 1_000, ms / 60_000);
    format!("{:02}:{:02}:{:02}.{:03}Z", minutes / 60, minutes % 60, seconds % 60, ms % 1_000)
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    // A count is whole at any moment, also where its holder ended early.
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
