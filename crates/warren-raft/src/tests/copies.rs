//! Data directories of managers that somebody has copied: started beside the original, or in its place when it had
//! gone on.

use super::support::{Manager, PATIENCE, copied, found, label, options, set_label, until};
use crate::{Displaced, LocalNetwork, Options, Rpc, StoreKind, TIMERS};
use std::collections::BTreeSet;
use std::path::Path;
use tempfile::TempDir;
use tokio::time::timeout;
use warren_core::id::NodeId;

const TWO: NodeId = NodeId(2);

/// Three managers on disks of their own, of which the first leads.
async fn cluster() -> (LocalNetwork, Vec<TempDir>, Vec<Manager>) {
    let network = LocalNetwork::new();
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut managers = Vec::new();
    for (id, dir) in (1..).zip(&dirs) {
        managers.push(join(&network, NodeId(id), dir.path()).await);
    }
    let first = &managers[0];
    first.raft.init_single("n1").await.unwrap();
    first.lead().await;
    first.raft.add_learner(TWO, "n2").await.unwrap();
    first.raft.add_learner(NodeId(3), "n3").await.unwrap();
    first.raft.set_voters(&BTreeSet::from([NodeId(1), TWO, NodeId(3)])).await.unwrap();
    first.raft.propose(found()).await.unwrap();
    (network, dirs, managers)
}

/// Starts a manager at the address that is agreed for it.
async fn join(network: &LocalNetwork, node: NodeId, dir: &Path) -> Manager {
    let manager = start(network, node, node.to_string(), dir).await;
    network.attach(node, manager.raft.clone());
    manager
}

/// Starts a manager that can call, and nobody calls it.
async fn start(network: &LocalNetwork, node: NodeId, address: String, dir: &Path) -> Manager {
    let (transport, timers) = (network.port(node), TIMERS);
    let options = options(dir, StoreKind::Redb);
    Manager::start(Options { node, address, transport, timers, ..options }).await
}

/// Waits until `manager` is told why it must not go on.
async fn told(manager: &Manager) -> Displaced {
    let mut displaced = manager.raft.displaced();
    let told = displaced.wait_for(Option::is_some);
    let told = timeout(PATIENCE, told).await.expect("told in time").unwrap();
    told.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_the_original_is_told_so_and_the_original_goes_on() {
    let (network, dirs, managers) = cluster().await;
    let copy = copied(dirs[1].path());
    let second = start(&network, TWO, "elsewhere".to_owned(), copy.path()).await;
    let why = told(&second).await;
    let Displaced::Twin { node: TWO, address, by: NodeId(1) } = &why else { panic!("{why}") };
    assert_eq!(address, "n2", "where the original says that it is");
    assert!(why.to_string().contains("is in use twice"), "{why}");
    assert!(network.sent(TWO, Rpc::PreVote) > 0, "it asked, and nobody listened");
    assert_eq!(network.sent(TWO, Rpc::Vote), 0);
    second.kill().await;

    managers[0].raft.propose(vec![set_label("after", "yes")]).await.unwrap();
    managers[1].until("the original follows", |state| label(state, "after").is_some()).await;
    for manager in &managers {
        assert_eq!(*manager.raft.displaced().borrow(), None);
    }
    for manager in managers {
        manager.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_manager_is_let_in_at_once_and_never_takes_itself_for_a_copy() {
    let (network, dirs, mut managers) = cluster().await;
    for round in 0..3 {
        let manager = managers.remove(1);
        network.detach(TWO);
        manager.kill().await;
        managers.insert(1, join(&network, TWO, dirs[1].path()).await);
        let key = format!("round-{round}");
        managers[0].raft.propose(vec![set_label(&key, "yes")]).await.unwrap();
        managers[1].until("it follows again", |state| label(state, &key).is_some()).await;
        assert_eq!(*managers[1].raft.displaced().borrow(), None);
    }
    for manager in managers {
        manager.kill().await;
    }
}

// openraft takes it for an error of its own that a log becomes shorter, so that it was the leader that ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_in_the_place_of_the_original_is_told_so_and_the_leader_leads_on() {
    let (network, dirs, mut managers) = cluster().await;
    let term = managers[0].lead().await;
    let copy = copied(dirs[1].path());
    managers[0].raft.propose(vec![set_label("later", "yes")]).await.unwrap();
    managers[1].until("the original has it", |state| label(state, "later").is_some()).await;
    let last = managers[0].raft.status().last;
    until("the leader knows", || {
        (managers[0].raft.status().followers.get(&TWO) == Some(&last)).then_some(())
    })
    .await;
    let original = managers.remove(1);
    network.detach(TWO);
    original.kill().await;

    let old = join(&network, TWO, copy.path()).await;
    let why = told(&old).await;
    assert_eq!(why, Displaced::Older { node: TWO, acknowledged: last, by: NodeId(1) });
    assert!(why.to_string().contains("is an old copy"), "{why}");
    managers[0].raft.propose(vec![set_label("after", "yes")]).await.unwrap();
    assert_eq!(managers[0].lead().await, term, "no election was needed");
    assert_eq!(label(&old.raft.state().borrow(), "after"), None, "nothing is given to it");
    old.kill().await;
    for manager in managers {
        manager.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_was_taken_out_may_come_back_with_an_empty_log() {
    let (network, dirs, mut managers) = cluster().await;
    managers[0].raft.remove(TWO).await.unwrap();
    let former = managers.remove(1);
    network.detach(TWO);
    former.kill().await;
    let empty = tempfile::tempdir().unwrap();
    let again = join(&network, TWO, empty.path()).await;
    managers[0].raft.add_learner(TWO, "n2").await.unwrap();
    managers[0].raft.propose(vec![set_label("after", "yes")]).await.unwrap();
    again.until("it has the log", |state| label(state, "after").is_some()).await;
    assert_eq!(*again.raft.displaced().borrow(), None);
    again.kill().await;
    for manager in managers {
        manager.kill().await;
    }
    drop(dirs);
}
