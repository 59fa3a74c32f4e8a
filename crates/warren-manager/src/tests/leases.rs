//! Silent nodes.

use super::agent::Agent;
use super::site::{Home, OPTIONS};
use crate::Options;
use std::time::Duration;
use warren_core::lease::Leases;
use warren_core::task::Phase;

const QUICK: Options =
    Options { leases: Leases { lease: Duration::from_millis(700), grace: 3 }, ..OPTIONS };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tasks_of_a_lost_node_run_elsewhere_and_it_may_come_back() {
    let home = Home::new();
    let site = home.start(QUICK).await;
    let mut gone = Agent::new("gone").attach(&site).await;
    let web = site.create("web", 1).await;
    let up = site.until("it runs", |state| state.tasks_of(web).any(|task| task.serves()));
    gone.during("it runs", up).await;
    let id = gone.welcome.node_id.parse().unwrap();
    let first = *gone.agent.assignments.keys().next().unwrap();
    let mut stays = Agent::new("stays").attach(&site).await;
    let gone = gone.cut();

    let suspect =
        site.published("it is suspect", |now| now.suspects.iter().any(|one| one.node == id));
    stays.during("it is suspect", suspect).await;
    let lost = site.until("it is down", |state| !state.node(id).unwrap().up);
    stays.during("it is down", lost).await;
    let moved = site.until("the task runs elsewhere", |state| {
        state.tasks_of(web).any(|task| task.node != id && task.serves())
    });
    let state = stays.during("the task runs elsewhere", moved).await;
    assert_eq!(state.task(first).map(|task| task.phase), Some(Phase::Lost));

    let back = stays.during("it comes back", Box::pin(gone.attach(&site))).await;
    let mut gone = back;
    gone.until("it is told all", |agent| agent.fulls.len() == 1).await;
    assert_eq!(gone.agent.fulls[0].stop_allowance, Some(u32::MAX), "its tasks were given up");
    assert!(site.state().node(id).unwrap().up);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_another_reaches_is_kept_until_that_one_does_not() {
    let home = Home::new();
    let site = home.start(QUICK).await;
    let mut gone = Agent::new("gone");
    gone.hello.probe_port = 7_400;
    let mut gone = gone.attach(&site).await;
    let web = site.create("web", 1).await;
    let up = site.until("it runs", |state| state.tasks_of(web).any(|task| task.serves()));
    gone.during("it runs", up).await;
    let id = gone.welcome.node_id.parse().unwrap();
    let mut stays = Agent::new("stays");
    stays.reaches = true;
    let mut stays = stays.attach(&site).await;
    let peer = stays.welcome.node_id.parse().unwrap();
    drop(gone.cut());

    let twice = QUICK.leases.lease * QUICK.leases.grace * 2;
    let kept = site.published("it is silent for long and reached", |now| {
        now.suspects
            .iter()
            .any(|one| one.node == id && one.silence > twice && one.reached == [peer])
    });
    stays.during("it is silent for long and reached", kept).await;
    assert!(site.state().node(id).unwrap().up && site.state().tasks_of(web).all(|t| t.serves()));
    let asked = &stays.agent.probes;
    assert!(
        asked.iter().all(|one| one.node_id == id.to_string() && one.address == "127.0.0.1:7400")
    );
    let lease = u64::try_from(QUICK.leases.lease.as_millis()).unwrap();
    assert!(asked.is_sorted_by(|one, next| one.asked_ms + lease <= next.asked_ms), "{asked:?}");

    stays.agent.reaches = false;
    let lost = site.until("it is down", |state| !state.node(id).unwrap().up);
    stays.during("it is down", lost).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_while_too_many_nodes_are_silent() {
    let home = Home::new();
    let site = home.start(QUICK).await;
    let mut node = Agent::new("only").attach(&site).await;
    let web = site.create("web", 1).await;
    let up = site.until("it runs", |state| state.tasks_of(web).any(|task| task.serves()));
    node.during("it runs", up).await;
    let agent = node.cut();
    let held = site.published("the brake holds", |now| now.held.is_some()).await;
    assert_eq!(held.held.as_ref().unwrap().allowed, 0);
    assert!(site.state().nodes().all(|node| node.up));

    let mut node = agent.attach(&site).await;
    let free = site.published("the brake is off", |now| now.held.is_none());
    node.during("the brake is off", free).await;
    assert!(site.state().tasks_of(web).all(|task| task.serves()), "it never stopped");
    site.stop().await;
}
