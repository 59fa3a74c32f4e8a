//! The agent's loop: waits for whatever happens, decides at once and without waiting, has the rest done by children.

mod desk;
mod floor;
mod link;
mod residue;
mod word;

#[cfg(test)]
pub(crate) use floor::LIST_EVERY;
pub use residue::Residue;

use crate::cache::{Cache, Membership};
use crate::courier::{self, Courier};
use crate::job::{Done, News};
use crate::prober::{LOOKED_QUEUED, Looked};
use crate::random::random;
use crate::runtime::OpenRuntime;
use crate::session::{self, Session};
use crate::{Options, StartError, metrics};
use desk::Desk;
use floor::{Floor, Work};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use warren_core::id::TaskId;
use warren_core::node::Role;
use warren_core::time::Tick;
use warren_core::traffic::TrafficView;
use warren_drivers::files::FileStore;
use warren_drivers::runtime::NetworkSpec;
use warren_wire::channel::Target;

/// Messages of the leader that wait to be handled: handling takes microseconds, so more than a few never do.
const SESSION_QUEUED: usize = 64;
/// What jobs say that waits to be handled: two for each step of each of the jobs under way.
const NEWS_QUEUED: usize = 128;
/// How long the last write of the cache may take at the end.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs one node's tasks.
pub struct Agent {
    options: Options,
    boot: u64,
    open: OpenRuntime,
    acked: Option<watch::Receiver<u64>>,
    publish: Publish,
}

/// What the agent tells the rest of its process. Each is the newest only, and changes at once.
#[derive(Clone, Debug)]
pub struct Published {
    /// Where traffic goes: what the node's resolver answers from.
    pub traffic: watch::Receiver<Arc<TrafficView>>,
    /// Whether each task of this node is ready, before any manager has heard of it.
    pub readiness: watch::Receiver<Arc<BTreeMap<TaskId, bool>>>,
    /// Who this node is, once it knows.
    pub membership: watch::Receiver<Option<Membership>>,
    /// The network of its tasks, once it is there: from then on its gateway can be listened on.
    pub network: watch::Receiver<Option<NetworkSpec>>,
    /// Why nothing is known of its containers; empty while the runtime answers.
    pub silent: watch::Receiver<String>,
    /// Whether there is a session with the leader.
    pub connected: watch::Receiver<bool>,
    /// Until when the leader's word on where traffic goes holds; none before the first.
    pub word: watch::Receiver<Option<Instant>>,
    /// What the cluster wants this node to be, once it has said so.
    pub role: watch::Receiver<Option<Role>>,
    /// Where managers can be reached, best first.
    pub managers: watch::Receiver<Vec<Target>>,
}

/// The other ends of [`Published`].
struct Publish {
    traffic: watch::Sender<Arc<TrafficView>>,
    readiness: watch::Sender<Arc<BTreeMap<TaskId, bool>>>,
    membership: watch::Sender<Option<Membership>>,
    network: watch::Sender<Option<NetworkSpec>>,
    silent: watch::Sender<String>,
    connected: watch::Sender<bool>,
    word: watch::Sender<Option<Instant>>,
    role: watch::Sender<Option<Role>>,
    managers: watch::Sender<Vec<Target>>,
}

/// Anything that can happen.
enum Event {
    Shutdown,
    Session(session::Event),
    News(News),
    Done(Done),
    Looked(Looked),
    Work(Work),
    Acked,
    RelayEnded(Id),
    /// A moment that something waited for.
    Time,
}

impl Agent {
    /// An agent that is set up and does nothing yet. `open` opens the container runtime.
    ///
    /// # Errors
    /// The data directory cannot be used.
    pub fn new(options: Options, open: OpenRuntime) -> Result<(Self, Published), StartError> {
        let boot = random::<8>().map(u64::from_le_bytes);
        let boot = boot.map_err(|source| {
            let path = options.data_dir.clone();
            StartError::DataDir { path, source }
        })?;
        std::fs::create_dir_all(&options.data_dir).map_err(|source| {
            let path = options.data_dir.clone();
            StartError::DataDir { path, source }
        })?;
        let (traffic, traffic_news) = watch::channel(Arc::default());
        let (readiness, readiness_news) = watch::channel(Arc::default());
        let (membership, membership_news) = watch::channel(None);
        let (network, network_news) = watch::channel(None);
        let (silent, silent_news) = watch::channel(String::new());
        let (connected, connected_news) = watch::channel(false);
        let (word, word_news) = watch::channel(None);
        let (role, role_news) = watch::channel(None);
        let (managers, managers_news) = watch::channel(options.managers.clone());
        let publish = Publish {
            traffic,
            readiness,
            membership,
            network,
            silent,
            connected,
            word,
            role,
            managers,
        };
        let published = Published {
            traffic: traffic_news,
            readiness: readiness_news,
            membership: membership_news,
            network: network_news,
            silent: silent_news,
            connected: connected_news,
            word: word_news,
            role: role_news,
            managers: managers_news,
        };
        Ok((Self { options, boot, open, acked: None, publish }, published))
    }

    /// Has traffic epochs acknowledged only once the node's resolver says on `acked` that it answers with them.
    /// Without, they are as soon as they are published.
    #[must_use]
    pub fn acknowledged_by(mut self, acked: watch::Receiver<u64>) -> Self {
        self.acked = Some(acked);
        self
    }

    /// Runs tasks until `shutdown`; then leaves them running, to be adopted by the next agent. What it returns can
    /// stop them.
    pub async fn run(self, shutdown: CancellationToken) -> Residue {
        let cache = Cache::open(&self.options.data_dir).await;
        let cached = cache.cached().clone();
        let stop = CancellationToken::new();
        let mut children = JoinSet::new();
        let (keep, news) = watch::channel(Arc::new(cached.clone()));
        children.spawn(cache.run(news, stop.clone()));

        let (session_events, session) = mpsc::channel(SESSION_QUEUED);
        let desk = Desk::new(self.options, self.boot, &cached, self.publish, keep);
        let (hello, managers) = (desk.hello(), desk.managers());
        let dialer = desk.options().dialer.clone();
        let encryption = desk.options().encryption.clone();
        let (link, linked) = watch::channel(None);
        let courier = courier(desk.options(), linked);
        let dialler = Session { hello, encryption, managers, dialer, events: session_events, link };
        children.spawn(dialler.run(stop.clone()));

        let (news_sender, news) = mpsc::channel(NEWS_QUEUED);
        let (looked_sender, looked) = mpsc::channel(LOOKED_QUEUED);
        let floor = Floor::new(self.open, &cached, courier, news_sender, looked_sender);
        let inbox = Inbox { shutdown, session, news, looked, acked: self.acked };
        let begun = Instant::now();
        let mut running = Running { begun, turned: Tick::default(), desk, floor, inbox };
        running.run().await;
        stop.cancel();
        let ended = async { while children.join_next().await.is_some() {} };
        if timeout(LAST_WRITE_TIMEOUT, ended).await.is_err() {
            tracing::warn!("local cache was not written in time");
        }
        let Running { desk, floor, .. } = running;
        floor.residue(&desk)
    }
}

/// Brings tasks their files. Processes open them themselves, so they must pass through the folder.
fn courier(options: &Options, link: watch::Receiver<Option<Channel>>) -> Courier {
    let containers = options.resolver;
    let mode = if containers { 0o700 } else { 0o711 };
    let store = Arc::new(FileStore::new(courier::folder(&options.data_dir), mode));
    Courier { store, link, containers }
}

/// Where events come from.
struct Inbox {
    shutdown: CancellationToken,
    session: mpsc::Receiver<session::Event>,
    news: mpsc::Receiver<News>,
    looked: mpsc::Receiver<Looked>,
    acked: Option<watch::Receiver<u64>>,
}

/// The loop and all that it owns: the desk, which talks with the leader, and the floor, where tasks run.
struct Running {
    begun: Instant,
    /// When the last turn was.
    turned: Tick,
    desk: Desk,
    floor: Floor,
    inbox: Inbox,
}

impl Running {
    async fn run(&mut self) {
        self.turn();
        loop {
            let event = self.next().await;
            if matches!(event, Event::Shutdown) {
                return;
            }
            self.handle(event);
            self.turn();
        }
    }

    fn now(&self) -> Tick {
        Tick::from_ms(0).after(self.begun.elapsed())
    }

    /// Waits for the next event; loses none where it is dropped.
    async fn next(&mut self) -> Event {
        let wake_at = self.desk.wake_at().into_iter().chain(self.floor.wake_at(&self.desk)).min();
        debug_assert!(
            wake_at.is_none_or(|at| at > self.turned),
            "what was due at a turn is done or put off by it, or the loop would spin"
        );
        let begun = self.begun;
        let time = async {
            match wake_at {
                Some(at) => sleep_until(begun + Duration::from_millis(at.as_ms())).await,
                None => std::future::pending().await,
            }
        };
        let inbox = &mut self.inbox;
        tokio::select! {
            biased;
            () = inbox.shutdown.cancelled() => Event::Shutdown,
            Some(event) = inbox.looked.recv() => Event::Looked(event),
            Some(news) = inbox.news.recv() => Event::News(news),
            event = self.floor.next() => event,
            Some(event) = inbox.session.recv() => Event::Session(event),
            () = changed(&mut inbox.acked) => Event::Acked,
            ended = self.desk.relays.ended() => Event::RelayEnded(ended),
            () = time => Event::Time,
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Shutdown | Event::Time => {}
            Event::Session(event) => self.desk.handle(event, &self.floor, now),
            Event::News(news) => self.floor.handle_news(news),
            Event::Done(done) => self.floor.handle_done(done, now),
            Event::Looked(looked) => self.floor.handle_looked(looked),
            Event::Work(work) => self.floor.handle_work(work, &self.desk, now),
            Event::Acked => {
                let epoch = self.inbox.acked.as_mut().map(|acked| *acked.borrow_and_update());
                self.desk.resolver_answers(epoch.unwrap_or_default(), now);
            }
            Event::RelayEnded(id) => self.desk.relays.forget(id),
        }
    }

    /// Brings everything in line with what is known now. May be called at any time.
    fn turn(&mut self) {
        let now = self.now();
        self.turned = now;
        if self.inbox.acked.is_none() {
            self.desk.resolver_answers(u64::MAX, now);
        }
        let round = self.floor.turn(&self.desk, now);
        self.desk.take_over(round, &self.floor, now);
        metrics::flag(metrics::CONNECTED, self.desk.is_connected());
    }
}

/// Waits for a change; for ever where there is nothing to change, or nobody to change it.
async fn changed(acked: &mut Option<watch::Receiver<u64>>) {
    if let Some(receiver) = acked
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
