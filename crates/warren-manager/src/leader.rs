//! Leadership: while this node leads, its hub and its reconciler run; they start after a barrier of the term, when
//! everything that was ever acknowledged is here, and stop when the term ends.
//!
//! A watchdog looks at both: a loop that stands still makes the manager unhealthy and is started anew.

use crate::freeze::{Calendar, FreezeWindow};
use crate::health::Health;
use crate::hub::{EVENTS_QUEUED, Event, Hub, Outlets};
use crate::members::Members;
use crate::metrics;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::reconciler::{Reconciler, Schedule};
use crate::relay::Relay;
use crate::releases::{self, Tally};
use crate::sessions::Sessions;
use crate::vault::Vault;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::lease::{Held, Suspect};
use warren_core::observed::Observed;
use warren_core::report::Report;
use warren_core::time::ClusterTime;
use warren_core::traffic::TrafficView;
use warren_drivers::hook::Hooks;
use warren_raft::{Leadership, Raft};

/// How often the watchdog looks.
const WATCH: Duration = Duration::from_secs(1);
/// A round that takes longer is wedged: the largest cluster is planned in 2 s, and a proposal gives up after 10 s.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// A hub that does not come round for so long is wedged: it never waits for longer than a second.
const HUB_ROUND_MAX: Duration = Duration::from_secs(15);
/// How long the loops have to end before they are cut off.
const STOP_MAX: Duration = Duration::from_secs(2);
/// The wait before a manager that leads tries again to take over.
const RETRY: Duration = Duration::from_millis(500);

/// What the leader knows, for the API: one consistent picture per round of planning.
#[derive(Clone, Debug)]
pub struct Published {
    /// The term in which it was made.
    pub term: u64,
    /// What was agreed.
    pub state: Arc<State>,
    /// What was heard.
    pub observed: Observed,
    /// What each unfinished thing waits for.
    pub report: Report,
    /// Nodes that are silent and not down.
    pub suspects: Vec<Suspect>,
    /// Whether nodes are kept up because too many fell silent at once.
    pub held: Option<Held>,
    /// When it was made.
    pub at: ClusterTime,
}

/// The hub of one term, for those who bring it something.
#[derive(Clone)]
pub(crate) struct Term {
    pub(crate) hub: mpsc::Sender<Event>,
    pub(crate) observed: watch::Receiver<Observed>,
}

/// The role of a manager. See [`Manager::run`].
pub struct Manager {
    options: Options,
    raft: Raft,
    hooks: Arc<dyn Hooks>,
    windows: Vec<FreezeWindow>,
    leadership: watch::Receiver<Leadership>,
    term: watch::Sender<Option<Term>>,
    published: watch::Sender<Option<Arc<Published>>>,
    traffic: watch::Sender<Arc<TrafficView>>,
    wedged: watch::Sender<Option<&'static str>>,
}

/// Looks at a [`Manager`]. Cheap to clone.
#[derive(Clone)]
pub struct ManagerHandle {
    raft: Raft,
    term: watch::Receiver<Option<Term>>,
    published: watch::Receiver<Option<Arc<Published>>>,
    traffic: watch::Receiver<Arc<TrafficView>>,
    wedged: watch::Receiver<Option<&'static str>>,
    vault: Vault,
}

/// Why a term's loops ended.
pub(crate) enum Ended {
    /// The process is to stop.
    Stop,
    /// Somebody else leads, or nobody.
    Led,
    /// A loop ended by itself or stands still.
    Broken(&'static str),
}

#[cfg(test)]
impl Ended {
    pub(crate) fn broken(&self) -> Option<&'static str> {
        match self {
            Self::Broken(which) => Some(which),
            Self::Stop | Self::Led => None,
        }
    }
}

impl Manager {
    /// A manager on top of `raft`, which calls hooks through `hooks`.
    #[must_use]
    pub fn new(options: Options, raft: Raft, hooks: Arc<dyn Hooks>) -> (Self, ManagerHandle) {
        let leadership = raft.leadership();
        let (term, term_seen) = watch::channel(None);
        let (published, published_seen) = watch::channel(None);
        let (traffic, traffic_seen) = watch::channel(Arc::default());
        let (wedged, wedged_seen) = watch::channel(None);
        let handle = ManagerHandle {
            raft: raft.clone(),
            term: term_seen,
            published: published_seen,
            traffic: traffic_seen,
            wedged: wedged_seen,
            vault: Vault::default(),
        };
        let windows = Vec::new();
        let manager =
            Self { options, raft, hooks, windows, leadership, term, published, traffic, wedged };
        (manager, handle)
    }

    /// The same, which holds releases in these windows while it leads.
    #[must_use]
    pub fn freezing(self, windows: Vec<FreezeWindow>) -> Self {
        Self { windows, ..self }
    }

    /// Runs until `shutdown`; its loops have ended when it returns. Run it once, beside the Raft runner, and stop it
    /// first.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while let Some(term) = self.next(&shutdown).await {
            if let Err(error) = self.raft.barrier().await {
                tracing::warn!(%error, term, "cannot take over yet");
                self.pause(&shutdown).await;
                continue;
            }
            tracing::info!(term, "leading");
            let ended = self.lead(term, &shutdown).await;
            self.published.send_replace(None);
            match ended {
                Ended::Stop => break,
                Ended::Led => tracing::info!(term, "leading no more"),
                Ended::Broken(which) => {
                    tracing::error!(term, which, "a loop of the leader is broken, starting anew");
                    metrics::wedged(true);
                    self.wedged.send_replace(Some(which));
                    self.pause(&shutdown).await;
                }
            }
        }
    }

    /// Waits until this manager leads. `None`: it is to stop.
    async fn next(&mut self, shutdown: &CancellationToken) -> Option<u64> {
        loop {
            if let Leadership::Leader { term } = *self.leadership.borrow_and_update() {
                return (!shutdown.is_cancelled()).then_some(term);
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                changed = self.leadership.changed() => changed.ok()?,
            }
        }
    }

    async fn pause(&self, shutdown: &CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(RETRY) => {}
        }
    }

    /// Runs the loops of one term until it ends.
    async fn lead(&mut self, term: u64, shutdown: &CancellationToken) -> Ended {
        let stop = CancellationToken::new();
        let mut loops = JoinSet::new();
        let (events, queue) = mpsc::channel(EVENTS_QUEUED);
        let since = self.raft.now();
        let nodes = self.raft.state().borrow().nodes().len();
        let told_from = since.after(self.options.warm_up_for(nodes));
        let observed = Observed { since, told_from, ..Observed::default() };
        let (observed, observed_seen) = watch::channel(observed);
        let (alive, hub_alive) = watch::channel(Instant::now());
        let (busy, busy_since) = watch::channel(None);
        let outlets = Outlets { observed, traffic: self.traffic.clone(), alive };
        let hub = Hub::new(
            self.raft.clone(),
            self.options.clone(),
            term,
            (events.clone(), queue),
            outlets,
        );
        let reconciler = Reconciler {
            raft: self.raft.clone(),
            options: self.options.clone(),
            term,
            states: self.raft.state(),
            observed: observed_seen.clone(),
            published: self.published.clone(),
            busy,
            schedule: Schedule::default(),
            last: None,
        };
        loops.spawn(named("hub", hub.run(stop.clone())));
        loops.spawn(named("reconciler", reconciler.run(stop.clone())));
        let hooks = Arc::clone(&self.hooks);
        let outbox = Outbox::new(self.raft.clone(), hooks, self.options.clone());
        loops.spawn(named("outbox", outbox.run(stop.clone())));
        let calendar = Calendar::new(self.raft.clone(), self.windows.clone());
        loops.spawn(named("calendar", calendar.run(stop.clone())));
        let members = Members { raft: self.raft.clone() };
        loops.spawn(named("members", members.run(stop.clone())));
        loops.spawn(named("tally", Tally::new(self.raft.state()).run(stop.clone())));
        self.term.send_replace(Some(Term { hub: events, observed: observed_seen }));
        let ended = self.watch(term, shutdown, &mut loops, &hub_alive, &busy_since).await;
        self.term.send_replace(None);
        stop.cancel();
        let orderly = timeout(STOP_MAX, async { while loops.join_next().await.is_some() {} });
        if orderly.await.is_err() {
            tracing::warn!(term, "a loop of the leader did not end in time and is cut off");
        }
        loops.shutdown().await;
        ended
    }

    /// Waits for the term to end, and looks after the loops meanwhile.
    pub(crate) async fn watch(
        &mut self,
        term: u64,
        shutdown: &CancellationToken,
        loops: &mut JoinSet<&'static str>,
        hub_alive: &watch::Receiver<Instant>,
        busy_since: &watch::Receiver<Option<Instant>>,
    ) -> Ended {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ended::Stop,
                changed = self.leadership.changed() => {
                    let leads = *self.leadership.borrow() == Leadership::Leader { term };
                    if changed.is_err() || !leads {
                        return Ended::Led;
                    }
                }
                ended = loops.join_next() => {
                    return Ended::Broken(ended.and_then(Result::ok).unwrap_or("leader's"));
                }
                () = sleep(WATCH) => {}
            }
            if hub_alive.borrow().elapsed() > HUB_ROUND_MAX {
                return Ended::Broken("hub");
            }
            let busy = *busy_since.borrow();
            if busy.is_some_and(|since| since.elapsed() > ROUND_MAX) {
                return Ended::Broken("reconciler");
            }
            if self.wedged.send_if_modified(|wedged| wedged.take().is_some()) {
                metrics::wedged(false);
            }
        }
    }
}

async fn named(name: &'static str, work: impl Future<Output = ()>) -> &'static str {
    work.await;
    name
}

impl ManagerHandle {
    /// What the leader knows; `None` while this manager does not lead.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.published.clone()
    }

    /// Where traffic goes, as the leader last told its nodes; the last view it told while it does not lead.
    #[must_use]
    pub fn traffic(&self) -> watch::Receiver<Arc<TrafficView>> {
        self.traffic.clone()
    }

    /// The gauges of releases, in the Prometheus text form; nothing while this manager does not lead. They are made
    /// when they are asked for, so that those of a deleted service are gone.
    #[must_use]
    pub fn release_gauges(&self) -> String {
        let published = self.published.borrow().clone();
        published.map_or_else(String::new, |published| releases::gauges(&published.state))
    }

    /// Asks nodes.
    #[must_use]
    pub fn relay(&self) -> Relay {
        Relay { term: self.term.clone(), raft: self.raft.clone() }
    }

    /// The service that agents attach to.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        let vault = self.vault.clone();
        Sessions { term: self.term.clone(), raft: self.raft.clone(), vault }
    }

    /// The way into secrets, which needs the cluster's key.
    #[must_use]
    pub fn vault(&self) -> Vault {
        self.vault.clone()
    }

    /// Whether this manager can do its work.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::look(&self.raft, self.term.borrow().is_some(), *self.wedged.borrow())
    }

    /// The agreed state and the way to change it.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }
}
