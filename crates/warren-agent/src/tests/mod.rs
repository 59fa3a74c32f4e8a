//! The agent as its leader and its runtime see it: a real session over a unix socket, a runtime in memory.

mod files;
mod life;
mod manager;
mod offline;
mod relay;
mod sessions;
mod sim;

use crate::{Agent, Options, Published, Residue};
use manager::{Manager, Session};
pub(crate) use sim::Sim;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warren_core::assignment::{Assignment, Want};
use warren_core::node::{Encryption, NodeFacts};
use warren_core::spec::{HealthCheck, HostName, Probe};
use warren_core::units::{Bytes, MilliCpu};
use warren_wire::channel::{Dialer, Target};

/// Waits, but not for ever: what takes longer than this does not happen.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("{what}: it does not happen"))
}

/// How often a test looks at what tells nobody that it has changed.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for something on the disk, which tells nobody that it has changed.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(LOOK);
    let held = async {
        while !condition() {
            looks.tick().await;
        }
    };
    within(what, held).await;
}

/// A machine: its disk, its runtime, the socket of its manager.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
    pub(crate) sim: Sim,
}

/// An agent that runs on it.
pub(crate) struct Running {
    pub(crate) published: Published,
    shutdown: CancellationToken,
    agent: JoinSet<Residue>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), sim: Sim::new() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("manager.sock")
    }

    pub(crate) async fn manager(&self) -> Manager {
        Manager::listen(&self.socket()).await
    }

    /// A manager, an agent that runs, and their first session.
    pub(crate) async fn up(&self) -> (Manager, Running, Session) {
        let mut manager = self.manager().await;
        let agent = self.agent();
        let session = manager.welcome().await;
        (manager, agent, session)
    }

    pub(crate) fn agent(&self) -> Running {
        self.agent_with(None)
    }

    pub(crate) fn agent_with(&self, acked: Option<watch::Receiver<u64>>) -> Running {
        self.agent_of(options(&self.data(), self.socket()), acked)
    }

    pub(crate) fn agent_of(
        &self,
        options: Options,
        acked: Option<watch::Receiver<u64>>,
    ) -> Running {
        let (mut agent, published) = Agent::new(options, self.sim.opener()).unwrap();
        if let Some(acked) = acked {
            agent = agent.acknowledged_by(acked);
        }
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(agent.run(shutdown.clone()));
        Running { published, shutdown, agent: running }
    }
}

impl Running {
    pub(crate) async fn end(mut self) -> Residue {
        self.shutdown.cancel();
        within("the agent ends", self.agent.join_next()).await.unwrap().unwrap()
    }

    pub(crate) async fn until_ready(&mut self, task: u64, ready: bool) {
        let task = warren_core::id::TaskId(task);
        let wait = self.published.readiness.wait_for(|all| all.get(&task) == Some(&ready));
        within("readiness is published", wait).await.unwrap();
    }
}

pub(crate) fn options(dir: &Path, socket: PathBuf) -> Options {
    Options {
        data_dir: dir.to_owned(),
        key: "the-key-of-box".to_owned(),
        dialer: Dialer::local(),
        managers: vec![Target::Unix(socket)],
        facts: NodeFacts {
            hostname: HostName::parse("box").unwrap(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            platform: "linux/amd64".to_owned(),
            cpu: MilliCpu(2000),
            memory: Bytes::from_mib(512),
            runtime: "sim 1".to_owned(),
            version: "0".to_owned(),
            level: warren_core::level::Level::OURS,
            encryption: Encryption::default(),
            probe_port: 0,
        },
        encryption: watch::channel(Encryption::default()).1,
        manager: false,
        subnet: None,
        labels: BTreeMap::new(),
        resolver: true,
        mtu: None,
        problems: watch::channel(BTreeSet::new()).1,
    }
}

/// A task that is restarted soon, and `attempts` times.
pub(crate) fn task(id: u64, attempts: u32) -> Assignment {
    let mut task = crate::book::tests::task(id, Want::Run);
    task.slot = warren_core::id::Slot(u32::try_from(id).unwrap());
    task.address = Ipv4Addr::new(10, 210, 0, u8::try_from(id + 1).unwrap());
    task.restart.delay = Duration::from_millis(10);
    task.restart.attempts = attempts;
    task
}

pub(crate) fn with(mut task: Assignment, want: Want) -> Assignment {
    task.want = want;
    task
}

/// A check that runs `check` in the container ten times a second.
pub(crate) fn check() -> HealthCheck {
    HealthCheck {
        interval: Duration::from_millis(100),
        retries: 2,
        start_period: Duration::ZERO,
        ..HealthCheck::new(Probe::Exec { command: vec!["check".to_owned()] })
    }
}
