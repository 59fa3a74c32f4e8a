//! Managers as their users see them: what was acknowledged is there, whatever happens to the process or the leader.

use super::support::{Manager, PATIENCE, found, join, label, options, set_label, three};
use crate::{
    Leadership, LocalNetwork, MemoryDisk, ProposeError, SnapshotPolicy, StorageFault, StoreKind,
    start,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use warren_core::State;
use warren_core::command::{Applied, Command, Rejection};
use warren_core::id::{LogIndex, NodeId};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_manager_knows_what_it_acknowledged() {
    let disk = MemoryDisk::new();
    for kind in [StoreKind::Redb, StoreKind::Sled, StoreKind::Memory(disk)] {
        let dir = tempfile::tempdir().unwrap();
        let manager = Manager::alone(options(dir.path(), kind.clone())).await;
        let answers = manager.raft.propose(found()).await.unwrap();
        assert_eq!(answers, [Ok(Applied::Done), Ok(Applied::Node { id: NodeId(1) })]);
        let again = manager.raft.propose(found()).await.unwrap();
        assert_eq!(again[0], Err(Rejection::AlreadyInitialised), "a refusal is an answer");
        let before = manager.raft.state().borrow().clone();
        let term = manager.lead().await;
        manager.stop().await.unwrap();

        let manager = Manager::start(options(dir.path(), kind.clone())).await;
        if !matches!(kind, StoreKind::Memory(_)) {
            assert_eq!(*manager.raft.state().borrow(), before, "{kind}: shown before anyone leads");
        }
        assert!(manager.lead().await >= term, "{kind}");
        assert_eq!(*manager.raft.state().borrow(), before, "{kind}");
        assert_eq!(manager.raft.status().store, kind.name());
        manager.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_entries_and_each_gets_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::alone(options(dir.path(), StoreKind::Redb)).await;
    manager.raft.propose(found()).await.unwrap();
    let before = manager.raft.status().last.0;
    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let raft = manager.raft.clone();
        writers.spawn(async move {
            for round in 0..8 {
                let (key, value) = (format!("w{writer}"), round.to_string());
                let no_service = Command::ForgetTasks { tasks: Vec::new() };
                let answers =
                    raft.propose(vec![no_service, set_label(&key, &value)]).await.unwrap();
                assert_eq!(answers, [Ok(Applied::Done), Ok(Applied::Done)]);
                assert_eq!(
                    label(&raft.state().borrow(), &key),
                    Some(value),
                    "applied before the answer"
                );
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let entries = manager.raft.status().last.0 - before;
    assert!(entries < 32 * 8, "{entries} entries for 256 proposals: they share fsyncs");
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_refused_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::alone(options(dir.path(), StoreKind::Redb)).await;
    let many = vec![Command::Checkpoint; 1_001];
    let error = manager.raft.propose(many).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the change is 1003 bytes in 1001 commands; at most 1048576 in 1000 can be written at once"
    );
    let long = set_label("long", &"x".repeat(2 << 20));
    let error = manager.raft.propose(vec![long]).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { .. }), "{error}");
    assert_eq!(manager.raft.propose(Vec::new()).await.unwrap(), []);

    let raft = manager.raft.clone();
    manager.stop().await.unwrap();
    let error = raft.propose(vec![Command::Checkpoint]).await.unwrap_err();
    assert!(matches!(error, ProposeError::Stopped), "{error}");
    let error = raft.barrier().await.unwrap_err();
    assert!(matches!(error, ProposeError::Stopped), "{error}");
    assert_eq!(*raft.leadership().borrow(), Leadership::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_queue_holds_is_told_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody runs the manager, so everything waits.
    let (raft, runner) = start(options(dir.path(), StoreKind::Redb)).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let raft = raft.clone();
        callers
            .spawn(async move { raft.propose(vec![set_label("a", &"x".repeat(1 << 19))]).await });
    }
    // 31 of a little more than half a MiB each fit into 16 MiB.
    for _ in 31..64 {
        let refused = timeout(PATIENCE, callers.join_next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(refused, Err(ProposeError::Overloaded)), "{refused:?}");
    }
    drop(runner);
    while let Some(stopped) = callers.join_next().await {
        assert!(matches!(stopped.unwrap(), Err(ProposeError::Stopped)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_goes_on_while_leading_and_not_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::alone(options(dir.path(), StoreKind::Redb)).await;
    let begun = Instant::now();
    let moved = |from| manager.raft.now().since(from) > Duration::from_millis(20);
    let from = manager.raft.now();
    timeout(PATIENCE, async {
        while !moved(from) {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
    manager.raft.propose(vec![Command::Checkpoint]).await.unwrap();
    let committed = manager.raft.state().borrow().time();
    assert!(committed.since(from) > Duration::from_millis(20));
    assert!(committed.since(from) <= begun.elapsed() + Duration::from_millis(1));
    manager.stop().await.unwrap();

    let (raft, _runner) = start(options(dir.path(), StoreKind::Redb)).await.unwrap();
    assert_eq!(raft.now(), committed, "nobody leads, so no time passes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_folded_into_snapshots_and_cut() {
    let disk = MemoryDisk::new();
    for kind in [StoreKind::Redb, StoreKind::Sled, StoreKind::Memory(disk)] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path(), kind.clone());
        options.snapshots = SnapshotPolicy { entries: 20, bytes: 1 << 40, keep: 4 };
        let manager = Manager::alone(options.clone()).await;
        manager.raft.propose(found()).await.unwrap();
        let mut count = 0;
        let cut = async {
            while manager.raft.status().purged < LogIndex(40) {
                count += 1;
                manager.raft.propose(vec![set_label("count", &count.to_string())]).await.unwrap();
            }
        };
        timeout(PATIENCE, cut).await.expect("cut in time");
        let status = manager.raft.status();
        assert!(status.snapshot > status.purged && status.applied >= status.snapshot, "{status:?}");
        let before = manager.raft.state().borrow().clone();
        manager.stop().await.unwrap();
        if !matches!(kind, StoreKind::Memory(_)) {
            let files = std::fs::read_dir(dir.path().join("raft/snapshots")).unwrap().count();
            assert_eq!(files, 1, "older snapshots are gone");
        }

        let manager = Manager::alone(options).await;
        assert_eq!(*manager.raft.state().borrow(), before, "{kind}");
        manager.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_no_acknowledged_write_is_lost() {
    let network = LocalNetwork::new();
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut managers = three(&network, &dirs).await;
    let leader = managers.remove(0);
    leader.raft.propose(found()).await.unwrap();
    for count in 0..50 {
        leader.raft.propose(vec![set_label("count", &count.to_string())]).await.unwrap();
    }
    let error = managers[0].raft.propose(vec![Command::Checkpoint]).await.unwrap_err();
    assert_eq!(error.to_string(), "this manager does not lead; n1 does");
    let time = leader.raft.now();

    let killed = Instant::now();
    network.detach(NodeId(1));
    // Without a last word to the others.
    network.isolate(NodeId(1), true);
    leader.stop().await.unwrap();
    let new = timeout(PATIENCE, async {
        tokio::select! { _ = managers[0].lead() => 0, _ = managers[1].lead() => 1 }
    });
    let new = new.await.expect("a new leader in time");
    tracing::info!(ms = killed.elapsed().as_millis(), "new leader");
    let state = managers[new].raft.state().borrow().clone();
    assert_eq!(label(&state, "count").as_deref(), Some("49"));
    assert!(state.time() <= time);
    managers[new].raft.propose(vec![set_label("count", "50")]).await.unwrap();
    assert!(managers[new].raft.now() >= state.time());

    network.isolate(NodeId(1), false);
    let back = join(&network, NodeId(1), dirs[0].path()).await;
    back.until("the old leader catches up", |state| label(state, "count").as_deref() == Some("50"))
        .await;
    assert_eq!(back.raft.status().voters.len(), 3);
    for manager in managers.into_iter().chain([back]) {
        manager.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_stops_leading_and_acknowledges_nothing() {
    let network = LocalNetwork::new();
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let managers = three(&network, &dirs).await;
    managers[0].raft.propose(found()).await.unwrap();
    managers[0].raft.barrier().await.unwrap();

    network.isolate(NodeId(1), true);
    let cut = managers[0].raft.clone();
    let mut lost = JoinSet::new();
    lost.spawn(async move { cut.propose(vec![set_label("who", "old")]).await });
    let mut leadership = managers[0].raft.leadership();
    let gone = leadership.wait_for(|now| !matches!(now, Leadership::Leader { .. }));
    timeout(PATIENCE, gone).await.expect("stops leading").unwrap();
    let new = tokio::select! { _ = managers[1].lead() => 1, _ = managers[2].lead() => 2 };
    managers[new].raft.propose(vec![set_label("who", "new")]).await.unwrap();

    network.isolate(NodeId(1), false);
    managers[0]
        .until("hears of the new leader", |state| label(state, "who").as_deref() == Some("new"))
        .await;
    let answer = timeout(PATIENCE, lost.join_next()).await.unwrap().unwrap().unwrap();
    assert!(answer.is_err(), "written by nobody, so acknowledged to nobody: {answer:?}");
    for manager in &managers {
        let new = |state: &Arc<State>| label(state, "who").as_deref() == Some("new");
        manager.until("has the write that was acknowledged", new).await;
    }
    for manager in managers {
        manager.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_manager_gets_the_snapshot_where_the_log_is_cut() {
    let network = LocalNetwork::new();
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let snapshots = SnapshotPolicy { entries: 10, bytes: 1 << 40, keep: 1 };
    let mut first = options(dirs[0].path(), StoreKind::Redb);
    first.transport = network.port(NodeId(1));
    first.snapshots = snapshots;
    let first = Manager::alone(first).await;
    network.attach(NodeId(1), first.raft.clone());
    first.raft.propose(found()).await.unwrap();
    // Some MiB, so that the snapshot goes in several pieces.
    let big = "x".repeat(60_000);
    let mut count = 0;
    let cut = async {
        while count < 64 || first.raft.status().purged < LogIndex(20) {
            let (key, value) = (format!("k{}", count % 60), format!("{count} {big}"));
            first.raft.propose(vec![set_label(&key, &value)]).await.unwrap();
            count += 1;
        }
    };
    timeout(PATIENCE, cut).await.expect("cut in time");

    let second = join(&network, NodeId(2), dirs[1].path()).await;
    first.raft.add_learner(NodeId(2), "second").await.unwrap();
    let wanted = first.raft.state().borrow().clone();
    second.until("has the same state", |state| **state == *wanted).await;
    let status = second.raft.status();
    assert!(status.snapshot > LogIndex(0), "{status:?}");
    assert!(first.raft.status().learners.contains_key(&NodeId(2)));
    second.stop().await.unwrap();
    let second = join(&network, NodeId(2), dirs[1].path()).await;
    second.until("has it after a restart too", |state| **state == *wanted).await;
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_writes_and_the_manager_goes_on() {
    let disk = MemoryDisk::new();
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::alone(options(dir.path(), StoreKind::Memory(disk.clone()))).await;
    manager.raft.propose(found()).await.unwrap();
    disk.set_full(true);
    let error = manager.raft.propose(vec![set_label("a", "lost")]).await.unwrap_err();
    assert!(matches!(error, ProposeError::Storage(StorageFault::DiskFull { .. })), "{error:?}");
    assert!(error.to_string().contains("nothing acknowledged is lost; make space"), "{error}");
    manager.raft.barrier().await.expect("reads go on");
    disk.set_full(false);
    manager.raft.propose(vec![set_label("b", "kept")]).await.unwrap();
    let state = manager.raft.state().borrow().clone();
    assert_eq!((label(&state, "a"), label(&state, "b")), (None, Some("kept".to_owned())));
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_disk_stops_the_manager_with_the_reason() {
    let disk = MemoryDisk::new();
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), StoreKind::Memory(disk.clone()));
    let manager = Manager::alone(options.clone()).await;
    manager.raft.propose(found()).await.unwrap();
    disk.set_broken(true);
    let error = manager.raft.propose(vec![set_label("a", "lost")]).await.unwrap_err();
    assert!(matches!(error, ProposeError::Storage(StorageFault::Io { .. })), "{error:?}");
    let raft = manager.raft.clone();
    let fault = manager.ended().await.unwrap_err();
    assert_eq!(
        fault.to_string(),
        "cannot write to memory: check the disk and its permissions, then start again"
    );
    assert_eq!(*raft.leadership().borrow(), Leadership::None);
    assert_eq!(raft.status().fault, Some(fault.to_string()));
    let error = raft.propose(vec![Command::Checkpoint]).await.unwrap_err();
    assert!(matches!(error, ProposeError::Storage(StorageFault::Io { .. })), "{error:?}");

    disk.set_broken(false);
    let manager = Manager::alone(options).await;
    manager.until("has what was acknowledged", |state| state.nodes().len() == 1).await;
    manager.stop().await.unwrap();
}
