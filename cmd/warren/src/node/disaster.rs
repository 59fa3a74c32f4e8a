//! What is done to a data directory while no Warren runs on it: a manager is made of a backup, or goes on alone.

use super::data_dir::{DataDir, Kept, holder};
use super::identity::{Identity, Member, failed};
use crate::failure::{Exit, Failure, Outcome};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use warren_core::command::{Command, Entry};
use warren_core::id::{LogIndex, NodeId};
use warren_core::node::Role;
use warren_core::service::Actor;
use warren_core::time::{WallTime, millis};
use warren_core::{Cluster, State, leap};
use warren_manager::open_authority;
use warren_raft::{Founding, StoreKind, Survey, plant, replant, store_in};
use warren_wire::trust::{CERTIFICATE_LIFE, CertificateRequest, SealKey, Subject, to_pem};

/// What a new file system has in it.
const LOST_AND_FOUND: &str = "lost+found";

/// Epochs that one restore may go ahead: each takes a part of all numbers, and nobody has had so many disasters.
const EPOCHS_AHEAD_MAX: u32 = 100;

/// How a backup is to be restored.
pub struct Restore {
    pub seal_key: SealKey,
    /// In which the backup was read.
    pub term: u64,
    /// Whom the machine is to be.
    pub node: Option<NodeId>,
    /// The manager that gave the backup.
    pub from: String,
    /// The epoch that is to begin at least; 0 for the next one.
    pub epoch: u32,
    pub store: String,
}

/// What a restore made.
pub struct Restored {
    pub cluster: String,
    pub epoch: u32,
    pub node: NodeId,
}

/// Refuses a data directory with something in it.
///
/// # Errors
/// There is something, or it cannot be looked into.
pub fn check_empty(path: &Path) -> Outcome {
    let shown = path.display();
    let items = match std::fs::read_dir(path) {
        Ok(items) => items,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::new(Exit::Failed, format!("{shown}: {error}"))),
    };
    let mut names = items.filter_map(|item| Some(item.ok()?.file_name()));
    match names.find(|name| name != LOST_AND_FOUND) {
        None => Ok(()),
        Some(_) => Err(Failure::new(Exit::Failed, format!("{shown} is not empty"))
            .hint("a backup is restored into an empty data directory: move this one away, or name another")),
    }
}

/// Whether the data directory at `path` is that of a node of a cluster.
pub fn has_cluster(path: &Path) -> bool {
    path.join("member.json").exists() || path.join("raft").exists()
}

/// Makes the manager of a backup in the empty directory `path`.
///
/// # Errors
/// The backup does not hold what is asked, or the directory cannot be written.
pub async fn restore(path: &Path, state: State, wanted: Restore) -> Outcome<Restored> {
    let refused = |why: String| Failure::new(Exit::Failed, why);
    let cluster = cluster_of(&state)?;
    let most = cluster.epoch.saturating_add(EPOCHS_AHEAD_MAX);
    if wanted.epoch > most {
        return Err(Failure::usage(format!("--epoch: {} is far away", wanted.epoch)).hint(format!(
            "the backup is of epoch {}: write one more than the last epoch that began since, {most} at most",
            cluster.epoch
        )));
    }
    let trust = state.trust().cloned();
    let trust = trust.ok_or_else(|| refused("the backup holds no authority".to_owned()))?;
    let kind: StoreKind = wanted
        .store
        .parse()
        .map_err(|error: warren_raft::UnknownStore| Failure::usage(format!("--store: {error}")))?;
    let node = chosen(&state, &wanted)?;
    let known = state.node(node).ok_or_else(|| refused(format!("the backup knows no {node}")))?;
    let kept = known
        .facts
        .runtime
        .starts_with("process")
        .then(|| Kept { runtime: "process".to_owned(), subnet: Some(known.subnet) });
    let authority = open_authority(&trust, &wanted.seal_key).map_err(failed)?;
    let dir = DataDir::claim(path).await?;
    let identity = Identity::load_or_make(&dir)?;
    let request = CertificateRequest::parse(&identity.request()?).map_err(failed)?;
    let subject = Subject { node: node.to_string(), manager: true };
    let certificate =
        authority.sign(&request, &subject, SystemTime::now(), CERTIFICATE_LIFE).map_err(failed)?;
    let key = identity.fingerprint().to_string();
    let mut state = next_epoch(state, node, Some(key), "restore")?;
    // Each leaves the numbers of the one before alone: whoever has heard of that shares none with this.
    while epoch_of(&state) < wanted.epoch {
        state = next_epoch(state, node, None, "restore")?;
    }
    let epoch = epoch_of(&state);
    let founding = Founding { state, node, address: String::new(), term: wanted.term + 1 };
    plant(path, &kind, &founding).map_err(super::parts::failed)?;
    identity.keep_seal(&dir, &wanted.seal_key)?;
    identity.certified(&dir, to_pem(&trust.authority), certificate)?;
    if let Some(kept) = &kept {
        dir.keep(kept)?;
    }
    // Last: a node with this file is a member.
    identity.keep_member(&dir, &member(node, &cluster, Vec::new()))?;
    Ok(Restored { cluster: cluster.id.to_string(), epoch, node })
}

fn epoch_of(state: &State) -> u32 {
    state.cluster().map_or(0, |cluster| cluster.epoch)
}

fn cluster_of(state: &State) -> Outcome<Cluster> {
    let cluster = state.cluster().cloned();
    cluster.ok_or_else(|| Failure::new(Exit::Failed, "there is no cluster in its log yet"))
}

fn member(node: NodeId, cluster: &Cluster, managers: Vec<String>) -> Member {
    let (role, pool) = (Role::Manager, cluster.pool);
    Member { node, role, cluster: cluster.id.to_string(), pool, managers }
}

/// Whom the machine is to be: the manager that is named, or the one that gave the backup.
fn chosen(state: &State, wanted: &Restore) -> Outcome<NodeId> {
    let managers: Vec<NodeId> =
        state.nodes().filter(|node| node.role == Role::Manager).map(|node| node.id).collect();
    let names = || managers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match wanted.node {
        Some(node) if managers.contains(&node) => Ok(node),
        Some(node) => Err(Failure::usage(format!("--as: {node} is no manager in the backup"))
            .hint(format!("its managers are {}", names()))),
        None => {
            let from = wanted.from.parse().ok().filter(|from| managers.contains(from));
            from.or_else(|| managers.first().copied())
                .ok_or_else(|| Failure::new(Exit::Failed, "the backup knows no manager"))
        }
    }
}

/// The state with which `node` goes on alone.
fn next_epoch(mut state: State, node: NodeId, key: Option<String>, by: &str) -> Outcome<State> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let by = Actor::named(by.to_owned());
    let command = Command::BeginEpoch { expect: epoch_of(&state), manager: node, key, by };
    let (index, at) = (LogIndex(leap(state.applied().0)), state.time());
    let applied = state.apply(Entry { index, at, wall: WallTime(millis(now)), command });
    applied.map_err(|refused| Failure::new(Exit::Failed, refused))?;
    Ok(state)
}

/// A manager that does not run and may go on alone.
pub struct Survivor {
    dir: DataDir,
    identity: Identity,
    member: Member,
    kind: StoreKind,
    cluster: Cluster,
    found: Survey,
}

/// Looks at what the manager in `path` has, which must not run.
///
/// # Errors
/// It runs, is no manager, or its log cannot be used.
pub async fn survey(path: &Path) -> Outcome<Survivor> {
    let shown = path.display();
    if !path.is_dir() {
        return Err(Failure::new(Exit::Failed, format!("there is no data directory {shown}"))
            .hint("name the one of a manager that is left with --data-dir"));
    }
    if let Some((pid, _)) = holder(path)? {
        return Err(Failure::new(Exit::Failed, format!("process {pid} runs Warren on {shown}"))
            .hint(format!("stop it first: `warren down --keep-tasks --data-dir {shown}`")));
    }
    let foreign = || {
        Failure::new(Exit::Failed, format!("{shown} is not that of a manager")).hint(
            "only a manager has the log; without one, restore a backup with `warren cluster restore`",
        )
    };
    let kind = store_in(path).ok_or_else(foreign)?;
    let dir = DataDir::claim(path).await?;
    let identity = Identity::load_or_make(&dir)?;
    let member = identity.member(&dir)?.filter(|member| member.role == Role::Manager);
    let member = member.ok_or_else(foreign)?;
    let found = warren_raft::survey(path, &kind, member.node).await;
    let found = found.map_err(super::parts::failed)?;
    let cluster = cluster_of(&found.state)?;
    Ok(Survivor { dir, identity, member, kind, cluster, found })
}

impl Survivor {
    /// What going on alone means, for people.
    pub fn told(&self) -> String {
        let Survey { state, last, voters, .. } = &self.found;
        let node = self.member.node;
        let name = |id: &NodeId| {
            let hostname = state.node(*id).map(|node| node.facts.hostname.to_string());
            hostname.map_or_else(|| id.to_string(), |hostname| format!("{hostname} ({id})"))
        };
        let managers = state.nodes().filter(|known| known.role == Role::Manager);
        let others: Vec<String> =
            managers.map(|known| known.id).filter(|id| *id != node).map(|id| name(&id)).collect();
        let given_up = state.nodes().filter(|known| known.role == Role::Manager);
        let given_up = given_up.filter(|known| known.id != node);
        let tasks = given_up.flat_map(|known| state.tasks_on(known.id));
        let tasks = tasks.filter(|task| task.is_live()).count();
        format!(
            "{} of cluster {} has the log up to entry {last}, with {} services and {} nodes; {} of {} managers that \
             vote are others\n\
             lost: every change that had not reached this manager; removed: {}; their {tasks} tasks are placed anew\n\
             the cluster goes on as epoch {}",
            name(&node),
            self.cluster.id,
            state.services().len(),
            state.nodes().len(),
            voters.keys().filter(|id| **id != node).count(),
            voters.len(),
            if others.is_empty() { "nobody".to_owned() } else { others.join(", ") },
            self.cluster.epoch + 1,
        )
    }

    /// Makes it the only manager, in a new epoch. Returns where its log of before is kept.
    ///
    /// # Errors
    /// It cannot be written; the manager is as it was then.
    pub fn go_on_alone(self) -> Outcome<PathBuf> {
        let Self { dir, identity, member: before, kind, cluster, found } = self;
        let node = before.node;
        let address = found.voters.get(&node).cloned().unwrap_or_default();
        let mut state = found.state;
        // Entries that change nothing in the state have numbers too.
        let checkpoint = Entry {
            index: found.last,
            at: state.time(),
            wall: WallTime(0),
            command: Command::Checkpoint,
        };
        state.apply(checkpoint).map_err(|refused| Failure::new(Exit::Failed, refused))?;
        let state = next_epoch(state, node, None, "recover")?;
        let founding = Founding { state, node, address, term: found.term + 1 };
        let kept = replant(dir.path(), &kind, &founding).map_err(super::parts::failed)?;
        identity.keep_member(&dir, &member(node, &cluster, Vec::new()))?;
        super::displaced::forget(&dir);
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_empty_directory_takes_a_backup_and_only_a_manager_goes_on() {
        let base = tempfile::tempdir().unwrap();
        assert!(check_empty(&base.path().join("none")).is_ok());
        assert!(check_empty(base.path()).is_ok());
        std::fs::create_dir(base.path().join(LOST_AND_FOUND)).unwrap();
        assert!(check_empty(base.path()).is_ok(), "a file system of its own");
        let none = survey(&base.path().join("none")).await.err().unwrap();
        assert!(none.message.contains("no data directory"), "{none}");
        let worker = survey(base.path()).await.err().unwrap();
        assert!(worker.message.contains("not that of a manager"), "{worker}");
        std::fs::write(base.path().join("a-file"), "somebody's").unwrap();
        let used = check_empty(base.path()).unwrap_err();
        assert!(used.message.contains("is not empty"), "{used}");
        let held = DataDir::claim(base.path()).await.unwrap();
        let runs = survey(base.path()).await.err().unwrap();
        assert!(runs.message.contains(&std::process::id().to_string()), "{runs}");
        drop(held);
    }

    /// Restored twice, a cluster would give the same numbers to other things, and workers could not tell.
    #[test]
    fn an_epoch_that_was_begun_before_is_passed() {
        let pool = "10.210.0.0/16".parse().unwrap();
        let id = warren_core::ClusterId(7);
        let entry = |index, command| {
            let at = warren_core::time::ClusterTime::from_ms(index);
            Entry { index: LogIndex(index), at, wall: WallTime(0), command }
        };
        let mut state = State::default();
        let zone = "warren".to_owned();
        state.apply(entry(1, Command::InitCluster { id, zone, pool })).unwrap();
        let facts = warren_core::node::NodeFacts {
            hostname: warren_core::spec::HostName::parse("m1").unwrap(),
            address: [192, 0, 2, 1].into(),
            port: 7400,
            platform: "linux/amd64".to_owned(),
            cpu: warren_core::units::MilliCpu(1),
            memory: warren_core::units::Bytes::from_mib(1),
            runtime: "process".to_owned(),
            version: "0".to_owned(),
            level: warren_core::level::Level::OURS,
            encryption: warren_core::node::Encryption::default(),
            probe_port: 0,
        };
        let (key, labels) = ("key".to_owned(), std::collections::BTreeMap::new());
        let (role, facts) = (Role::Manager, Box::new(facts));
        state
            .apply(entry(2, Command::RegisterNode { key, role, facts, subnet: None, labels }))
            .unwrap();
        let node = state.nodes().next().unwrap().id;
        let once = next_epoch(state.clone(), node, None, "restore").unwrap();
        let twice = next_epoch(once.clone(), node, None, "restore").unwrap();
        assert_eq!((epoch_of(&once), epoch_of(&twice)), (2, 3));
        assert!(twice.applied() > once.applied() && twice.traffic_epoch() > once.traffic_epoch());
    }
}
