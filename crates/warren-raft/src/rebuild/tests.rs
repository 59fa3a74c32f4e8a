//! What is made and read without a running manager.

use super::*;
use crate::tests::support::{ME, Manager, found, join, label, options, set_label, three};
use crate::{LocalNetwork, Options};
use proptest::prelude::*;
use warren_core::command::{Command, Entry};
use warren_core::leap;
use warren_core::service::Actor;
use warren_core::time::WallTime;

/// The state as `node` goes on with it alone.
fn next_epoch(mut state: State, last: LogIndex) -> State {
    let expect = state.cluster().unwrap().epoch;
    let by = Actor::named("root".to_owned());
    let command = Command::BeginEpoch { expect, manager: ME, key: None, by };
    let (index, at) = (LogIndex(leap(last.0)), state.time());
    state.apply(Entry { index, at, wall: WallTime(0), command }).unwrap();
    state
}

async fn agreed(manager: &Manager, commands: Vec<Command>) {
    for outcome in manager.raft.propose(commands).await.unwrap() {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_planted_log_goes_on_with_its_state_in_each_engine() {
    for kind in [StoreKind::Redb, StoreKind::Sled] {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let manager = Manager::alone(options(old.path(), kind.clone())).await;
        agreed(&manager, found()).await;
        agreed(&manager, vec![set_label("a", "1")]).await;
        let state = manager.raft.state().borrow().as_ref().clone();
        let term = manager.raft.status().term + 1;
        let bytes = encode_state(&state).unwrap();
        let (last, state) = (state.applied(), decode_state(&bytes).unwrap());
        let state = next_epoch(state, last);
        let founding = Founding { state, node: ME, address: String::new(), term };
        plant(new.path(), &kind, &founding).unwrap();
        let again = plant(new.path(), &kind, &founding).unwrap_err();
        assert!(matches!(again, StartError::NotWritable { .. }), "{again}");
        assert_eq!(store_in(new.path()).map(|kind| kind.name()), Some(kind.name()));
        for round in ["2", "3"] {
            let manager = Manager::alone(options(new.path(), kind.clone())).await;
            let state = manager.raft.state().borrow().as_ref().clone();
            assert_eq!(label(&state, "a").as_deref(), Some("1"));
            assert_eq!(state.cluster().unwrap().epoch, 2);
            agreed(&manager, vec![set_label("round", round)]).await;
            assert!(manager.raft.status().applied.0 > leap(last.0));
            manager.stop().await.unwrap();
        }
        let surveyed = survey(new.path(), &kind, ME).await.unwrap();
        assert_eq!(label(&surveyed.state, "round").as_deref(), Some("3"));
        manager.stop().await.unwrap();
    }
}

#[tokio::test]
async fn one_of_three_goes_on_alone_with_all_that_was_acknowledged() {
    let network = LocalNetwork::default();
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut managers = three(&network, &dirs).await;
    agreed(&managers[0], found()).await;
    for number in 0..20 {
        agreed(&managers[0], vec![set_label("last", &number.to_string())]).await;
    }
    let survivor = managers.remove(1);
    survivor.until("it has the last", |state| label(state, "last").as_deref() == Some("19")).await;
    for manager in managers {
        manager.kill().await;
    }
    let (dir, node) = (dirs[1].path(), NodeId(2));
    let busy = survey(dir, &StoreKind::Redb, node).await.unwrap_err();
    assert!(matches!(busy, StartError::Locked { .. }), "{busy}");
    survivor.stop().await.unwrap();
    let other = survey(dir, &StoreKind::Redb, ME).await.unwrap_err();
    assert!(matches!(other, StartError::OtherNode { .. }), "{other}");
    let found = survey(dir, &StoreKind::Redb, node).await.unwrap();
    assert_eq!(found.voters.len(), 3);
    assert!(found.last.0 >= 20 && found.committed <= found.last, "{found:?}");
    let state = next_epoch(found.state, found.last);
    let founding = Founding { state, node, address: "next".to_owned(), term: found.term + 1 };
    let kept = replant(dir, &StoreKind::Redb, &founding).unwrap();
    assert!(kept.ends_with("raft.before-1") && kept.join("FORMAT").exists());
    let alone = Options { node, ..options(dir, StoreKind::Redb) };
    let manager = Manager::alone(alone).await;
    assert_eq!(label(&manager.raft.state().borrow(), "last").as_deref(), Some("19"));
    agreed(&manager, vec![set_label("last", "alone")]).await;
    assert_eq!(manager.raft.status().voters.len(), 1);
    manager.stop().await.unwrap();
    // Once more: what was kept before is not lost.
    let found = survey(dir, &StoreKind::Redb, node).await.unwrap();
    let state = next_epoch(found.state, found.last);
    let founding = Founding { state, node, address: String::new(), term: found.term + 1 };
    assert!(replant(dir, &StoreKind::Redb, &founding).unwrap().ends_with("raft.before-2"));
}

#[tokio::test]
async fn a_manager_that_joins_the_new_cluster_gets_its_log() {
    let network = LocalNetwork::default();
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let seed = tempfile::tempdir().unwrap();
    let manager = Manager::alone(options(seed.path(), StoreKind::Redb)).await;
    agreed(&manager, found()).await;
    let state = next_epoch(manager.raft.state().borrow().as_ref().clone(), LogIndex(9));
    manager.stop().await.unwrap();
    let founding = Founding { state, node: ME, address: "first".to_owned(), term: 9 };
    plant(dirs[0].path(), &StoreKind::Redb, &founding).unwrap();
    let first = join(&network, ME, dirs[0].path()).await;
    first.lead().await;
    let second = join(&network, NodeId(2), dirs[1].path()).await;
    first.raft.add_learner(NodeId(2), "next").await.unwrap();
    agreed(&first, vec![set_label("a", "1")]).await;
    second.until("it has the log", |state| label(state, "a").as_deref() == Some("1")).await;
    assert_eq!(second.raft.state().borrow().cluster().unwrap().epoch, 2);
}

proptest! {
    #[test]
    fn bytes_of_a_state_are_whole_or_refused(at in 0_usize..1 << 16, flip in 1_u8..=255, cut in 0_usize..1 << 16) {
        let mut state = State::default();
        for (index, command) in (1..).map(LogIndex).zip(found()) {
            let entry = Entry { index, at: state.time(), wall: WallTime(0), command };
            state.apply(entry).unwrap();
        }
        let bytes = encode_state(&state).unwrap();
        prop_assert_eq!(decode_state(&bytes), Ok(state));
        let (mut wrong, at) = (bytes.clone(), at % bytes.len());
        wrong[at] ^= flip;
        prop_assert!(decode_state(&wrong).is_err());
        prop_assert!(decode_state(&bytes[..cut % bytes.len()]).is_err());
    }
}
