//! One manager alone on a data directory, and a write that is easy to find again: what the torture test and the store
//! bench work with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use warren_core::ClusterId;
use warren_core::command::Command;
use warren_core::id::NodeId;
use warren_core::node::{NodeFacts, Role};
use warren_core::service::Actor;
use warren_core::units::{Bytes, MilliCpu};
use warren_raft::{
    Alone, Leadership, Options, ProposeError, Raft, SnapshotPolicy, StoreKind, TIMERS,
};

/// Longer than a manager takes to lead on a machine that is busy with other work and whose disk stands still meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

const ME: NodeId = NodeId(1);

/// One manager that leads a cluster of one.
pub struct Lone {
    /// Its handle.
    pub raft: Raft,
    stop: CancellationToken,
    runner: JoinSet<Result<(), warren_raft::StorageFault>>,
}

impl Lone {
    /// Opens a data directory, makes a cluster there if there is none, and waits until the manager leads.
    ///
    /// # Errors
    /// The directory is refused, or the manager does not lead in time.
    pub async fn open(dir: &Path, store: StoreKind, entries: u64) -> anyhow::Result<Self> {
        let options = Options {
            data_dir: dir.to_owned(),
            store,
            node: ME,
            address: String::new(),
            timers: TIMERS,
            snapshots: SnapshotPolicy { entries, bytes: 64 << 20, keep: entries / 4 },
            transport: Arc::new(Alone),
        };
        let (raft, runner) = warren_raft::start(options).await?;
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(runner.run(stop.clone()));
        let alone = Self { raft, stop, runner: running };
        if !alone.raft.is_initialised().await? {
            alone.raft.init_single("").await?;
        }
        leads(&alone.raft).await?;
        if alone.raft.state().borrow().node(ME).is_none() {
            alone.raft.propose(beginning()).await?;
        }
        Ok(alone)
    }

    /// Writes `value` under `key`; on return it is durable.
    ///
    /// # Errors
    /// It was refused.
    pub async fn write(&self, key: &str, value: &str) -> anyhow::Result<()> {
        write(&self.raft, key, value).await
    }

    /// What was written under `key` last.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<String> {
        let state = self.raft.state().borrow().clone();
        let key = key.parse().ok()?;
        state.node(ME)?.labels.get(&key).cloned()
    }

    /// Stops in order.
    ///
    /// # Errors
    /// The storage has failed.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.runner.join_next().await.context("it runs")???;
        Ok(())
    }
}

/// Waits until the manager leads.
async fn leads(raft: &Raft) -> anyhow::Result<()> {
    let mut leadership = raft.leadership();
    let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
    timeout(PATIENCE, leads).await.context("the manager leads")??;
    Ok(())
}

/// As [`Lone::write`], again and again until it is known that it was written: a machine that stands still for seconds
/// leaves that open.
///
/// # Errors
/// It was refused for a reason that stays.
pub async fn write_surely(raft: &Raft, key: &str, value: &str) -> anyhow::Result<()> {
    while let Err(error) = write(raft, key, value).await {
        match error.downcast_ref() {
            Some(ProposeError::Timeout | ProposeError::NotLeader { .. }) => leads(raft).await?,
            _ => return Err(error),
        }
    }
    Ok(())
}

/// As [`Lone::write`], by a handle of its own.
///
/// # Errors
/// It was refused.
pub async fn write(raft: &Raft, key: &str, value: &str) -> anyhow::Result<()> {
    let label = Command::LabelNode {
        node: ME,
        set: BTreeMap::from([(key.parse()?, value.to_owned())]),
        remove: BTreeSet::new(),
        by: Actor::named("test"),
    };
    let answers = raft.propose(vec![label]).await?;
    ensure!(matches!(answers[..], [Ok(_)]), "refused: {answers:?}");
    Ok(())
}

/// Commands that make a cluster and its first node.
fn beginning() -> Vec<Command> {
    let facts = NodeFacts {
        hostname: "one".parse().expect("a host name"),
        address: "127.0.0.1".parse().expect("an address"),
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
        id: ClusterId(1),
        zone: "warren".to_owned(),
        pool: "10.210.0.0/16".parse().expect("a network"),
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
