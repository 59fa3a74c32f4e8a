//! Loops that stand still, and terms that end.

use super::site::{Home, OPTIONS, hooks};
use super::soon;
use crate::Manager;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warren_raft::Leadership;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_stands_still_is_found() {
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    let Leadership::Leader { term } = *site.raft.leadership().borrow() else { panic!("leads") };
    let long_ago = Instant::now().checked_sub(Duration::from_secs(120)).unwrap();
    for (alive, busy, found) in
        [(long_ago, None, "hub"), (Instant::now(), Some(long_ago), "reconciler")]
    {
        let (mut manager, _handle) = Manager::new(OPTIONS, site.raft.clone(), hooks());
        let mut loops = JoinSet::new();
        loops.spawn(std::future::pending());
        let (_alive, alive) = watch::channel(alive);
        let (_busy, busy) = watch::channel(busy);
        let never = CancellationToken::new();
        let ended = manager.watch(term, &never, &mut loops, &alive, &busy);
        assert_eq!(soon("the watchdog looks", ended).await.broken(), Some(found));
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_whose_raft_stops_is_not_ready_and_refuses_agents() {
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    assert!(site.handle.health().is_ready());
    let mut leadership = site.handle.published();
    site.stop_raft();
    soon("the loops end", leadership.wait_for(Option::is_none)).await.unwrap();
    let health = site.handle.health();
    assert!(!health.leading && !health.is_ready(), "{health:?}");
    site.stop().await;
}
