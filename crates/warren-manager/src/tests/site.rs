//! One manager with its Raft and its server, on a directory of its own.

use super::agent::{Agent, Attached};
use super::{DEADLINE, soon};
use crate::{FreezeWindow, Manager, ManagerHandle, Options, Published};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use warren_core::command::{Applied, Command, Rejection};
use warren_core::id::{NodeId, ServiceId};
use warren_core::lease::Leases;
use warren_core::service::Actor;
use warren_core::spec::{
    Image, Mode, Placement, RestartPolicy, ServiceName, ServiceSpec, Template, UpdateSettings,
};
use warren_core::{ClusterId, State};
use warren_drivers::hook::{Hooks, HttpHooks};
use warren_raft::{Alone, Leadership, Raft, SNAPSHOTS, StoreKind, TIMERS};

/// Short enough for tests, long enough for a busy machine.
pub(super) const OPTIONS: Options = Options {
    leases: Leases { lease: Duration::from_secs(2), grace: 3 },
    slow: Duration::from_secs(2),
    warm_up: Duration::from_secs(20),
    hook_back_off: &[Duration::from_millis(10), Duration::from_millis(20)],
};

/// The directory that outlives the manager's process.
pub(super) struct Home {
    dir: TempDir,
    /// When the managers that start here hold releases.
    pub(super) windows: Vec<FreezeWindow>,
}

/// A running manager.
pub(super) struct Site {
    pub(super) raft: Raft,
    pub(super) handle: ManagerHandle,
    socket: PathBuf,
    manager_stop: CancellationToken,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// A manager on a directory of its own, with a node of that name.
pub(super) async fn with_node(name: &str) -> (Home, Site, Attached) {
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    let node = Agent::new(name).attach(&site).await;
    (home, site, node)
}

impl Home {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), windows: Vec::new() }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a manager here, with a cluster if there is none yet.
    pub(super) async fn start(&self, options: Options) -> Site {
        let site = self.start_bare(options).await;
        if site.state().cluster().is_none() {
            let pool = "10.210.0.0/16".parse().unwrap();
            let init = Command::InitCluster { id: ClusterId(7), zone: "warren".to_owned(), pool };
            site.apply(init).await.unwrap();
        }
        site
    }

    /// Starts a manager here that leads, without a cluster.
    pub(super) async fn start_bare(&self, options: Options) -> Site {
        let raft_options = warren_raft::Options {
            data_dir: self.path().to_owned(),
            store: StoreKind::Redb,
            node: NodeId(1),
            address: String::new(),
            timers: TIMERS,
            snapshots: SNAPSHOTS,
            transport: Arc::new(Alone),
        };
        let (raft, runner) = warren_raft::start(raft_options).await.unwrap();
        let (manager, handle) = Manager::new(options, raft.clone(), hooks());
        let manager = manager.freezing(self.windows.clone());
        let (manager_stop, stop) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let runner_stop = stop.clone();
        tasks.spawn(async move { runner.run(runner_stop).await.unwrap() });
        tasks.spawn(manager.run(manager_stop.clone()));
        if !raft.is_initialised().await.unwrap() {
            raft.init_single("").await.unwrap();
        }
        let socket = self.path().join(format!("s{}", rand_suffix()));
        let listener = UnixListener::bind(&socket).unwrap();
        let server = Server::builder().add_service(handle.sessions().into_server());
        let server_stop = stop.clone();
        tasks.spawn(async move {
            let incoming = UnixListenerStream::new(listener);
            tokio::select! {
                () = server_stop.cancelled() => {}
                served = server.serve_with_incoming(incoming) => served.unwrap(),
            }
        });
        let site = Site { raft, handle, socket, manager_stop, stop, tasks };
        site.leads().await;
        site
    }
}

/// The hooks that the product has, without HTTPS.
pub(super) fn hooks() -> Arc<dyn Hooks> {
    Arc::new(HttpHooks::trusting(Vec::new()))
}

fn rand_suffix() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

impl Site {
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.raft.state().borrow())
    }

    async fn leads(&self) {
        let mut published = self.handle.published();
        soon("the manager leads", published.wait_for(Option::is_some)).await.unwrap();
    }

    /// Stops Raft and the server under the manager.
    pub(super) fn stop_raft(&self) {
        self.stop.cancel();
    }

    /// Stops everything in order, as the process would.
    pub(super) async fn stop(mut self) {
        self.manager_stop.cancel();
        let mut leadership = self.handle.published();
        soon("the loops end", leadership.wait_for(Option::is_none)).await.unwrap();
        self.stop.cancel();
        soon("everything ends", async { while self.tasks.join_next().await.is_some() {} }).await;
    }

    pub(super) async fn apply(&self, command: Command) -> Result<Applied, Rejection> {
        self.raft.propose(vec![command]).await.unwrap().remove(0)
    }

    pub(super) async fn create(&self, name: &str, replicas: u32) -> ServiceId {
        let spec = Box::new(service(name, replicas));
        match self.apply(Command::CreateService { spec, by: Actor::named("test".to_owned()) }).await
        {
            Ok(Applied::Service { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    /// Updates a service to another image, after `change`.
    pub(super) async fn update(
        &self,
        service: ServiceId,
        image: &str,
        change: impl FnOnce(&mut UpdateSettings),
    ) {
        let found = self.state().service(service).cloned().unwrap();
        let mut spec = Box::new(found.spec.clone());
        spec.template.image = Image::parse(image).unwrap();
        change(&mut spec.update);
        let (expect, by) = (found.generation, Actor::named("test".to_owned()));
        let cause = String::new();
        let freeze_override = None;
        let update = Command::UpdateService { service, expect, spec, by, cause, freeze_override };
        self.apply(update).await.unwrap();
    }

    /// The state, once it is as wanted.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) -> Arc<State> {
        let mut states = self.raft.state();
        let found = tokio::time::timeout(DEADLINE, states.wait_for(|state| wanted(state))).await;
        match found {
            Ok(state) => Arc::clone(&state.unwrap()),
            Err(_) => panic!("waited in vain: {what}; tasks: {:#?}", tasks(&self.state())),
        }
    }

    /// What the leader publishes, once it is as wanted.
    pub(super) async fn published(
        &self,
        what: &str,
        wanted: impl Fn(&Published) -> bool,
    ) -> Arc<Published> {
        let mut published = self.handle.published();
        let found = published.wait_for(|now| now.as_ref().is_some_and(|now| wanted(now)));
        let found = soon(what, found).await.unwrap();
        Arc::clone(found.as_ref().unwrap())
    }

    pub(super) fn leads_now(&self) -> bool {
        matches!(*self.raft.leadership().borrow(), Leadership::Leader { .. })
    }
}

fn tasks(state: &State) -> Vec<String> {
    state.tasks().map(|task| format!("{} {} {:?}", task.id, task.phase, task.desired)).collect()
}

/// A service whose tasks count as soon as they are ready.
pub(super) fn service(name: &str, replicas: u32) -> ServiceSpec {
    let update =
        UpdateSettings { min_ready: Duration::from_millis(50), ..UpdateSettings::default() };
    ServiceSpec {
        name: ServiceName::parse(name).unwrap(),
        mode: Mode::Replicated { replicas },
        template: Template::new(Image::parse("web:v1").unwrap()),
        placement: Placement::default(),
        restart: RestartPolicy::default(),
        update,
        labels: std::collections::BTreeMap::new(),
    }
}
