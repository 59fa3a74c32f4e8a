//! What the tests of this crate share: managers in this process, and a command whose effect is easy to find again.

use crate::{
    Alone, Leadership, LocalNetwork, Options, Raft, SnapshotPolicy, StoreKind, Timers, start,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::command::Command;
use warren_core::id::NodeId;
use warren_core::node::{NodeFacts, Role};
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

    pub(crate) async fn ended(mut self) -> Result<(), crate::StorageFault> {
        timeout(PATIENCE, self.tasks.join_next()).await.expect("ends in time").unwrap().unwrap()
    }
}

pub(crate) fn options(data_dir: &Path, store: StoreKind) -> Options {
    Options {
        data_dir: data_dir.to_owned(),
        store,
        node: ME,
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
        platform: "linux/amd64".to_owned(),
        cpu: MilliCpu(1000),
        memory: Bytes::from_mib(64),
        runtime: "none".to_owned(),
        version: "0".to_owned(),
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
    }
}

pub(crate) fn label(state: &State, key: &str) -> Option<String> {
    state.node(ME)?.labels.get(&key.parse().unwrap()).cloned()
}
