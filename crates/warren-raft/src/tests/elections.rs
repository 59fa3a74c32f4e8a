//! Who leads, and who does not: after a death, after a hand-over, and when links fail in one direction.

#![expect(clippy::print_stdout, reason = "figures are printed for people, and never asserted")]

use super::support::{Manager, Site, found, label, options, set_label, until, write_somewhere};
use crate::{HandOverError, Leadership, ProposeError, Rpc, StoreKind, TIMERS};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use warren_core::id::NodeId;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// The middle one and the worst but one in a hundred.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |per_cent: usize| times[(times.len() * per_cent / 100).min(times.len() - 1)];
    format!("p50 {} ms, p99 {} ms of {}", at(50).as_millis(), at(99).as_millis(), times.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_was_cut_off_comes_back_without_an_election() {
    for count in [3, 5] {
        let site = Site::new(count).await;
        let term = site.term(ONE);
        site.network.isolate(THREE, true);
        let rounds = site.network.sent(THREE, Rpc::PreVote) + 5 * (count - 1);
        until("it has asked five times", || {
            (site.network.sent(THREE, Rpc::PreVote) >= rounds).then_some(())
        })
        .await;
        assert_eq!(site.term(THREE), term, "cut off, it does not go into a new term");
        site.raft(ONE).propose(vec![set_label("meanwhile", "yes")]).await.unwrap();

        site.network.isolate(THREE, false);
        site.managers[&THREE]
            .until("it follows again", |state| label(state, "meanwhile").is_some())
            .await;
        site.raft(ONE).propose(vec![set_label("after", "yes")]).await.unwrap();
        site.agree().await;
        for node in site.managers.keys() {
            assert_eq!(site.term(*node), term, "{node}");
            assert_eq!(site.network.sent(*node, Rpc::Vote), 0, "{node} began no election");
        }
        assert_eq!(*site.raft(ONE).leadership().borrow(), Leadership::Leader { term });
        site.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hears_nobody_but_is_heard_deposes_nobody() {
    let site = Site::new(3).await;
    let term = site.term(ONE);
    for other in [ONE, TWO] {
        site.network.cut(other, THREE, true);
    }
    until("it has asked", || (site.network.sent(THREE, Rpc::PreVote) >= 6).then_some(())).await;
    site.raft(ONE).propose(vec![set_label("meanwhile", "yes")]).await.unwrap();
    for other in [ONE, TWO] {
        site.network.cut(other, THREE, false);
    }
    site.agree().await;
    assert_eq!((site.term(ONE), site.term(THREE)), (term, term));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hears_nobody_gives_up_and_another_leads() {
    let site = Site::new(3).await;
    for other in [TWO, THREE] {
        site.network.cut(other, ONE, true);
    }
    let begun = Instant::now();
    // It goes on to send signs of life, and the others hear them, yet nothing can be agreed.
    let others = [site.raft(TWO).clone(), site.raft(THREE).clone()];
    let (leader, _) = write_somewhere(&others, &set_label("who", "new")).await;
    println!("a deaf leader: the next write took {} ms", begun.elapsed().as_millis());
    assert_ne!(leader, ONE);
    for other in [TWO, THREE] {
        site.network.cut(other, ONE, false);
    }
    site.managers[&ONE].until("it follows", |state| label(state, "who").is_some()).await;
    site.agree().await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_nobody_hears_is_replaced() {
    let site = Site::new(3).await;
    for other in [TWO, THREE] {
        site.network.cut(ONE, other, true);
    }
    let others = [site.raft(TWO).clone(), site.raft(THREE).clone()];
    write_somewhere(&others, &set_label("who", "new")).await;
    let error = site.raft(ONE).propose(vec![set_label("who", "old")]).await.unwrap_err();
    assert!(matches!(error, ProposeError::NotLeader { .. }), "{error}");
    for other in [TWO, THREE] {
        site.network.cut(ONE, other, false);
    }
    site.agree().await;
    assert_eq!(label(&site.raft(ONE).state().borrow(), "who").as_deref(), Some("new"));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_is_handed_over_while_writers_write_and_nothing_is_lost() {
    for count in [3, 5] {
        let site = Site::new(count).await;
        let mut writers = JoinSet::new();
        let rafts: Vec<_> = site.managers.values().map(|manager| manager.raft.clone()).collect();
        for writer in 0..8 {
            let rafts = rafts.clone();
            writers.spawn(async move {
                for round in 0..60 {
                    let (key, value) = (format!("w{writer}"), round.to_string());
                    write_somewhere(&rafts, &set_label(&key, &value)).await;
                }
            });
        }
        let mut times = Vec::new();
        for round in 0..10 {
            let leader = site.leader().await;
            let term = site.term(leader);
            let begun = Instant::now();
            let new = site.raft(leader).hand_over().await.unwrap();
            let (acknowledged_by, _) = write_somewhere(&rafts, &set_label("round", "x")).await;
            times.push(begun.elapsed());
            assert_ne!(new, leader, "round {round}");
            assert_eq!(acknowledged_by, new, "round {round}");
            assert_eq!(site.term(new), term + 1, "one election, won at once, in round {round}");
            let error = site.raft(leader).barrier().await.unwrap_err();
            assert!(matches!(error, ProposeError::NotLeader { .. }), "no read here: {error}");
        }
        println!("hand-over, {count} managers, to the next write: {}", percentiles(times));
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
        site.agree().await;
        let state = site.raft(ONE).state().borrow().clone();
        for writer in 0..8 {
            assert_eq!(label(&state, &format!("w{writer}")).as_deref(), Some("59"));
        }
        site.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_first() {
    for count in [3, 5] {
        let mut site = Site::new(count).await;
        let mut times = Vec::new();
        for round in 0..6 {
            let leader = site.leader().await;
            let term = site.term(leader);
            let begun = Instant::now();
            let others = site.managers.iter().filter(|(node, _)| **node != leader);
            let others: Vec<_> = others.map(|(_, manager)| manager.raft.clone()).collect();
            let (_, (_, new_term)) = tokio::join!(site.stop_one(leader), async {
                write_somewhere(&others, &set_label("round", &round.to_string())).await
            });
            times.push(begun.elapsed());
            assert_eq!(new_term, term + 1, "round {round}");
            site.start(leader).await;
            site.managers[&leader]
                .until("it is back", |state| {
                    label(state, "round").as_deref() == Some(&round.to_string())
                })
                .await;
        }
        println!("stop, {count} managers, to the next write: {}", percentiles(times));
        site.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_costs_an_election_and_no_acknowledged_write() {
    leaders_end(30, Site::kill, "killed", |waited_for| waited_for < 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_machine_is_lost_is_waited_for() {
    leaders_end(10, Site::lose, "lost", |waited_for| waited_for == 10).await;
}

/// Ends so many leaders in this way, and says how many of them the others waited for as long as for one of whom they
/// know nothing.
async fn leaders_end(
    rounds: usize,
    end: impl AsyncFn(&mut Site, NodeId),
    how: &str,
    is_right: impl FnOnce(usize) -> bool,
) {
    let mut site = Site::new(3).await;
    let mut times = Vec::new();
    let mut waited_for = 0;
    for round in 0..rounds {
        let leader = site.leader().await;
        let term = site.term(leader);
        let wanted = round.to_string();
        site.raft(leader).propose(vec![set_label("before", &wanted)]).await.unwrap();
        let begun = Instant::now();
        end(&mut site, leader).await;
        let others: Vec<_> = site.managers.values().map(|manager| manager.raft.clone()).collect();
        let (new, new_term) = write_somewhere(&others, &set_label("after", &wanted)).await;
        times.push(begun.elapsed());
        waited_for += usize::from(!site.raft(new).shared.elections.lock().is_vacant(new_term));
        assert!(new_term > term, "round {round}");
        for manager in site.managers.values() {
            let both = |state: &std::sync::Arc<warren_core::State>| {
                let both = [label(state, "before"), label(state, "after")];
                both.iter().all(|label| label.as_deref() == Some(&wanted))
            };
            manager.until("what was acknowledged", both).await;
        }
        site.start(leader).await;
        site.agree().await;
    }
    println!("{how}, 3 managers, to the next write: {}", percentiles(times));
    assert!(is_right(waited_for), "{waited_for} of {rounds} {how} leaders were waited for");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_nobody_takes_leaves_the_leader_leading() {
    let dir = tempfile::tempdir().unwrap();
    let alone = Manager::alone(options(dir.path(), StoreKind::Redb)).await;
    assert_eq!(alone.raft.hand_over().await, Err(HandOverError::Alone));
    alone.raft.propose(found()).await.unwrap();
    alone.stop().await.unwrap();

    let site = Site::new(3).await;
    assert_eq!(site.raft(TWO).hand_over().await, Err(HandOverError::NotLeader));
    for other in [TWO, THREE] {
        site.network.isolate(other, true);
    }
    let error = site.raft(ONE).hand_over().await.unwrap_err();
    assert!(matches!(error, HandOverError::NotTaken { .. }), "{error}");
    for other in [TWO, THREE] {
        site.network.isolate(other, false);
    }
    let rafts: Vec<_> = site.managers.values().map(|manager| manager.raft.clone()).collect();
    write_somewhere(&rafts, &set_label("still", "written")).await;
    site.agree().await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_alone_leads_at_once_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), StoreKind::Redb);
    options.timers = TIMERS;
    let manager = Manager::alone(options.clone()).await;
    manager.raft.propose(found()).await.unwrap();
    manager.stop().await.unwrap();
    let begun = Instant::now();
    let manager = Manager::start(options).await;
    manager.lead().await;
    println!("restart alone, to leading: {} ms", begun.elapsed().as_millis());
    assert_eq!(manager.raft.status().followers.len(), 0);
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn learners_and_removed_managers_never_stand() {
    let mut site = Site::new(4).await;
    let four = NodeId(4);
    site.raft(ONE).remove(four).await.unwrap();
    site.raft(ONE).remove(THREE).await.unwrap();
    site.raft(ONE).add_learner(THREE, "n3").await.unwrap();
    site.managers[&THREE].until("it follows", |state| state.nodes().len() == 1).await;
    let (two, three) = (site.term(TWO), site.term(THREE));
    assert_eq!(two, three);
    let asked = site.network.sent(THREE, Rpc::PreVote);
    site.kill(ONE).await;
    // The one voter left asks in vain; the learner does not even ask.
    let rounds = site.network.sent(TWO, Rpc::PreVote) + 5;
    until("the voter has asked", || (site.network.sent(TWO, Rpc::PreVote) >= rounds).then_some(()))
        .await;
    assert_eq!(site.network.sent(THREE, Rpc::PreVote), asked);
    assert_eq!(site.network.sent(THREE, Rpc::Vote) + site.network.sent(four, Rpc::Vote), 0);
    assert_eq!(site.term(TWO), two, "alone of two voters, it stays in its term");
    site.end().await;
}
