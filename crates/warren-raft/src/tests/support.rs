//! What the tests of this crate share: managers in this process, and a command whose effect is easy to find again.

use crate::{
    Alone, Leadership, LocalNetwork, MemoryDisk, Options, Raft, SnapshotPolicy, StoreKind, TIMERS,
    Timers, start,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::command::Command;
use warren_core::id::NodeId;
use warren_core::node::{NodeFacts, Role};
use warren_core::service::Actor;
use warren_core::units::{Bytes, MilliCpu};

/// Longer than anything here takes on a machine that is busy with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const ME: NodeId = NodeId(1);

/// A manager with the task behind it.
pub(crate) struct Manager {
    pub(crate) raft: Raft,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), crate::StorageFault>>,
}

impl Manager {
    pub(crate) async fn start(options: Options) -> Self {
        let (raft, runner) = start(options).await.unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(runner.run(stop.clone()));
        Self { raft, stop, tasks }
    }

    pub(crate) async fn alone(options: Options) -> Self {
        let manager = Self::start(options).await;
        if !manager.raft.is_initialised().await.unwrap() {
            manager.raft.init_single("").await.unwrap();
        }
        manager.lead().await;
        manager
    }

    pub(crate) async fn lead(&self) -> u64 {
        let mut leadership = self.raft.leadership();
        let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
        match *timeout(PATIENCE, leads).await.expect("leads in time").unwrap() {
            Leadership::Leader { term } => term,
            Leadership::Follower { .. } | Leadership::None => unreachable!(),
        }
    }

    /// Waits until the state here is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl FnMut(&Arc<State>) -> bool) {
        let mut state = self.raft.state();
        timeout(PATIENCE, state.wait_for(wanted)).await.expect(what).unwrap();
    }

    pub(crate) async fn stop(self) -> Result<(), crate::StorageFault> {
        self.stop.cancel();
        self.ended().await
    }

    /// Ends it where it stands, without its doing anything about it.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
        self.raft.shared.core.shutdown().await.unwrap();
    }

    pub(crate) async fn ended(mut self) -> Result<(), crate::StorageFault> {
        timeout(PATIENCE, self.tasks.join_next()).await.expect("ends in time").unwrap().unwrap()
    }
}

pub(crate) fn options(data_dir: &Path, store: StoreKind) -> Options {
    Options {
        data_dir: data_dir.to_owned(),
        store,
        node: ME,
        address: String::new(),
        timers: quick(),
        snapshots: SnapshotPolicy { entries: 1 << 40, bytes: 1 << 40, keep: 4 },
        transport: Arc::new(Alone),
    }
}

/// Half of the product's timers: tests have no disk that stalls, and a busy machine has enough with these.
pub(crate) fn quick() -> Timers {
    Timers {
        heartbeat: Duration::from_millis(50),
        election_min: Duration::from_millis(200),
        election_max: Duration::from_millis(400),
        propose: PATIENCE,
    }
}

pub(crate) async fn three(network: &LocalNetwork, dirs: &[tempfile::TempDir]) -> Vec<Manager> {
    let mut managers = Vec::new();
    for (id, dir) in (1..).zip(dirs) {
        managers.push(join(network, NodeId(id), dir.path()).await);
    }
    managers[0].raft.init_single("first").await.unwrap();
    managers[0].lead().await;
    for id in 2..=dirs.len() as u64 {
        managers[0].raft.add_learner(NodeId(id), "next").await.unwrap();
    }
    let voters: BTreeSet<NodeId> = (1..=dirs.len() as u64).map(NodeId).collect();
    managers[0].raft.set_voters(&voters).await.unwrap();
    managers
}

/// Managers in memory with the timers of the product, on a network that can be disturbed.
pub(crate) struct Site {
    pub(crate) network: LocalNetwork,
    pub(crate) managers: BTreeMap<NodeId, Manager>,
    disks: BTreeMap<NodeId, MemoryDisk>,
    snapshots: SnapshotPolicy,
    propose: Duration,
    dir: tempfile::TempDir,
}

impl Site {
    /// So many managers in memory, all voting, and [`found`] in their state.
    pub(crate) async fn new(count: u64) -> Self {
        let never = SnapshotPolicy { entries: 1 << 40, bytes: 1 << 40, keep: 4 };
        Self::with(count, never, TIMERS.propose).await
    }

    /// As [`Self::new`], where the log is cut often and nobody waits long for an answer.
    pub(crate) async fn cutting(count: u64) -> Self {
        let often = SnapshotPolicy { entries: 50, bytes: 1 << 40, keep: 4 };
        Self::with(count, often, Duration::from_secs(1)).await
    }

    async fn with(count: u64, snapshots: SnapshotPolicy, propose: Duration) -> Self {
        let disks = (1..=count).map(|id| (NodeId(id), MemoryDisk::new())).collect();
        let (network, managers) = (LocalNetwork::new(), BTreeMap::new());
        let dir = tempfile::tempdir().unwrap();
        let mut site = Self { network, managers, disks, snapshots, propose, dir };
        for id in 1..=count {
            site.start(NodeId(id)).await;
        }
        let first = &site.managers[&ME].raft;
        first.init_single("n1").await.unwrap();
        site.managers[&ME].lead().await;
        first.propose(found()).await.unwrap();
        for id in 2..=count {
            first.add_learner(NodeId(id), &format!("n{id}")).await.unwrap();
        }
        first.set_voters(&(1..=count).map(NodeId).collect()).await.unwrap();
        site
    }

    /// Starts a manager on its disk.
    pub(crate) async fn start(&mut self, node: NodeId) {
        let options = Options {
            node,
            address: node.to_string(),
            transport: self.network.port(node),
            timers: Timers { propose: self.propose, ..TIMERS },
            snapshots: self.snapshots,
            ..options(self.dir.path(), StoreKind::Memory(self.disks[&node].clone()))
        };
        let manager = Manager::start(options).await;
        self.network.isolate(node, false);
        self.network.attach(node, manager.raft.clone());
        self.managers.insert(node, manager);
    }

    /// The manager says nothing any more, to anybody, from one moment to the next.
    pub(crate) async fn kill(&mut self, node: NodeId) {
        self.network.isolate(node, true);
        self.network.detach(node);
        self.managers.remove(&node).unwrap().kill().await;
        self.network.isolate(node, false);
    }

    /// The machine loses its power: nobody there says that the manager is gone.
    pub(crate) async fn lose(&mut self, node: NodeId) {
        self.kill(node).await;
        self.network.isolate(node, true);
    }

    /// The manager stops as it is meant to.
    pub(crate) async fn stop_one(&mut self, node: NodeId) {
        let manager = self.managers.remove(&node).unwrap();
        manager.stop().await.unwrap();
        self.network.detach(node);
    }

    /// What the manager writes to.
    pub(crate) fn disk(&self, node: NodeId) -> &MemoryDisk {
        &self.disks[&node]
    }

    /// Waits until the manager has ended by itself, and gives its reason.
    pub(crate) async fn ended(&mut self, node: NodeId) -> Result<(), crate::StorageFault> {
        let manager = self.managers.remove(&node).unwrap();
        let ended = manager.ended().await;
        self.network.detach(node);
        ended
    }

    /// Who leads, once somebody does.
    pub(crate) async fn leader(&self) -> NodeId {
        let leads = |manager: &Manager| {
            matches!(*manager.raft.leadership().borrow(), Leadership::Leader { .. })
        };
        until("somebody leads", || {
            self.managers.iter().find(|(_, manager)| leads(manager)).map(|(node, _)| *node)
        })
        .await
    }

    pub(crate) fn raft(&self, node: NodeId) -> &Raft {
        &self.managers[&node].raft
    }

    pub(crate) fn term(&self, node: NodeId) -> u64 {
        self.raft(node).status().term
    }

    /// Waits until all managers have the same state as the one that leads.
    pub(crate) async fn agree(&self) {
        until("all managers show the same state", || {
            let mut states = self.managers.values().map(|m| m.raft.state().borrow().clone());
            let first = states.next().unwrap();
            states.all(|state| *state == *first).then_some(())
        })
        .await;
    }

    pub(crate) async fn end(self) {
        for (node, manager) in self.managers {
            self.network.detach(node);
            manager.kill().await;
        }
    }
}

/// Looks every few milliseconds until `found` has something.
pub(crate) async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let looked = async {
        loop {
            if let Some(found) = found() {
                return found;
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Proposes until some manager takes it; returns who did and in which term.
pub(crate) async fn write_somewhere(rafts: &[Raft], command: &Command) -> (NodeId, u64) {
    let written = async {
        loop {
            for raft in rafts {
                let term = match *raft.leadership().borrow() {
                    Leadership::Leader { term } => term,
                    Leadership::Follower { .. } | Leadership::None => continue,
                };
                if let Ok(answers) = raft.propose(vec![command.clone()]).await {
                    assert_eq!(answers, [Ok(warren_core::command::Applied::Done)]);
                    return (raft.status().node, term);
                }
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, written).await.expect("somebody takes it in time")
}

pub(crate) async fn join(network: &LocalNetwork, node: NodeId, dir: &Path) -> Manager {
    let options = Options { node, transport: network.port(node), ..options(dir, StoreKind::Redb) };
    let manager = Manager::start(options).await;
    network.attach(node, manager.raft.clone());
    manager
}

/// Commands that make a cluster and its first node, [`NodeId`] 1.
pub(crate) fn found() -> Vec<Command> {
    let facts = NodeFacts {
        hostname: "one".parse().unwrap(),
        address: "127.0.0.1".parse().unwrap(),
        port: 0,
        platform: "linux/amd64".to_owned(),
        cpu: MilliCpu(1000),
        memory: Bytes::from_mib(64),
        runtime: "none".to_owned(),
        version: "0".to_owned(),
        level: warren_core::level::Level::OURS,
        encryption: warren_core::node::Encryption::default(),
        probe_port: 0,
    };
    let init = Command::InitCluster {
        id: warren_core::ClusterId(7),
        zone: "warren".to_owned(),
        pool: "10.210.0.0/16".parse().unwrap(),
    };
    let register = Command::RegisterNode {
        key: "one".to_owned(),
        role: Role::Manager,
        facts: Box::new(facts),
        subnet: None,
        labels: BTreeMap::new(),
    };
    vec![init, register]
}

/// Writes `value` under `key`, to be found by [`label`].
pub(crate) fn set_label(key: &str, value: &str) -> Command {
    Command::LabelNode {
        node: ME,
        set: BTreeMap::from([(key.parse().unwrap(), value.to_owned())]),
        remove: BTreeSet::new(),
        by: Actor::named("test"),
    }
}

pub(crate) fn label(state: &State, key: &str) -> Option<String> {
    state.node(ME)?.labels.get(&key.parse().unwrap()).cloned()
}

/// A copy of a data directory as it is now.
pub(crate) fn copied(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}
