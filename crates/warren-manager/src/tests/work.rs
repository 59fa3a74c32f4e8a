//! From an intent to running tasks, and back from what nodes say.

use super::agent::{Agent, status};
use super::site::{Home, OPTIONS, Site, with_node};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use warren_core::State;
use warren_core::assignment::Want;
use warren_core::command::Command;
use warren_core::id::{ServiceId, TaskId};
use warren_core::service::Actor;
use warren_core::task::{End, Phase};

fn running(state: &State, service: ServiceId) -> usize {
    state.tasks_of(service).filter(|task| task.serves()).count()
}

fn first_task(site: &Site) -> TaskId {
    site.state().tasks().next().unwrap().id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_comes_up_scales_and_goes() {
    let (_home, site, mut node) = with_node("a").await;
    assert_eq!(node.welcome.cluster_id, 7);
    let web = site.create("web", 3).await;

    let up = site.until("three tasks run", |state| running(state, web) == 3);
    node.during("three tasks run", up).await;
    node.until("all three are in traffic", |agent| {
        let service = agent.view.services.values().next();
        service.is_some_and(|web| web.endpoints.iter().filter(|e| e.ready).count() == 3)
    })
    .await;
    let addresses: BTreeSet<_> = node.agent.assignments.values().map(|a| a.address).collect();
    assert_eq!(addresses.len(), 3, "each task has an address of its own");

    let by = Actor::named("test".to_owned());
    let down = Command::ScaleService { service: web, expect: None, replicas: 1, by: by.clone() };
    site.apply(down).await.unwrap();
    let scaled = site.until("one task is left", |state| {
        state.tasks_of(web).filter(|task| task.is_live()).count() == 1
    });
    node.during("one task is left", scaled).await;

    site.apply(Command::DeleteService { service: web, by }).await.unwrap();
    let gone = site.until("the service is gone", |state| state.services().len() == 0);
    node.during("the service is gone", gone).await;
    node.until("nothing is assigned", |agent| agent.assignments.is_empty()).await;
    assert!(node.agent.view.services.is_empty(), "its name leads nowhere");
    assert!(node.agent.fulls.is_empty(), "changes were enough");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ends_is_replaced_and_the_reason_is_kept() {
    let (_home, site, mut node) = with_node("a").await;
    let web = site.create("web", 1).await;
    let up = site.until("it runs", |state| running(state, web) == 1);
    node.during("it runs", up).await;

    let first = first_task(&site);
    let end = End { code: Some(3), message: "exit code 3".to_owned(), ..End::default() };
    let failed = warren_core::converge::Status { end: Some(end), ..status(Phase::Failed, false) };
    node.say(first, failed).await;
    let healed = site.until("another runs", |state| {
        state.tasks_of(web).any(|task| task.id != first && task.serves())
    });
    let state = node.during("another runs", healed).await;
    let ended = state.task(first).expect("the last failure of a slot is kept");
    assert_eq!(ended.end.as_ref().unwrap().code, Some(3));
    assert_eq!(node.agent.assignments[&first].want, Want::Keep);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_acknowledged_when_it_is_durable_and_counts_once() {
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    let mut agent = Agent::new("a");
    agent.obeys = false;
    let mut node = agent.attach(&site).await;
    site.create("web", 1).await;
    node.until("it is assigned", |agent| agent.assignments.len() == 1).await;
    let task = first_task(&site);

    node.say(task, status(Phase::Running, false)).await;
    let seq = node.agent.seq;
    node.until("it is acknowledged", |agent| agent.acked >= seq).await;
    assert_eq!(site.state().task(task).unwrap().phase, Phase::Running, "before the ack");

    // The ack was lost: the agent says it again, and something older in between changes nothing.
    let applied = site.state().applied();
    node.agent.acked = 0;
    node.send_status_as(seq, vec![task]).await;
    node.until("it is acknowledged again", |agent| agent.acked >= seq).await;
    assert_eq!(site.state().applied(), applied, "a duplicate writes nothing");

    // A later report of an earlier phase is known already.
    node.say(task, status(Phase::Starting, false)).await;
    let seq = node.agent.seq;
    node.until("it is acknowledged", |agent| agent.acked >= seq).await;
    assert_eq!(site.state().task(task).unwrap().phase, Phase::Running);
    assert_eq!(site.state().applied(), applied, "progress writes nothing");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unacknowledged_status_is_taken_from_the_next_session() {
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    let mut agent = Agent::new("a");
    agent.obeys = false;
    let mut node = agent.attach(&site).await;
    site.create("web", 1).await;
    node.until("it is assigned", |agent| agent.assignments.len() == 1).await;
    let task = first_task(&site);
    node.say(task, status(Phase::Running, true)).await;
    // Cut before any ack could come; whether the status arrived is open.
    let agent = node.cut();
    let mut node = agent.attach(&site).await;
    let seq = node.agent.seq;
    node.until("it is acknowledged", |agent| agent.acked >= seq).await;
    assert_eq!(site.state().task(task).unwrap().phase, Phase::Running);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_reaches_resolvers_well_under_a_second_and_is_not_written() {
    let (_home, site, mut node) = with_node("a").await;
    let web = site.create("web", 1).await;
    site.published("web is known", |now| now.report.services.contains_key(&web)).await;
    let at_rest = site.until("accepted", |state| {
        state.service(web).is_some_and(|service| service.stable.is_some())
    });
    node.during("the revision is accepted", at_rest).await;
    let ready = |agent: &Agent| {
        let service = agent.view.services.values().next();
        service.is_some_and(|web| web.endpoints.iter().any(|endpoint| endpoint.ready))
    };
    node.until("it is in traffic", ready).await;
    let (task, applied) = (first_task(&site), site.state().applied());
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        for is_ready in [false, true] {
            let begun = Instant::now();
            node.say(task, status(Phase::Running, is_ready)).await;
            node.until("resolvers know", |agent| ready(agent) == is_ready).await;
            slowest = slowest.max(begun.elapsed());
        }
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    assert_eq!(site.state().applied(), applied, "readiness writes nothing");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_at_rest_writes_nothing() {
    let (_home, site, mut node) = with_node("a").await;
    let web = site.create("web", 2).await;
    let at_rest = site.until("accepted", |state| {
        state.service(web).is_some_and(|service| service.stable.is_some())
    });
    node.during("the revision is accepted", at_rest).await;
    let applied = site.state().applied();
    // Longer than a checkpoint, a lease and the slow timer.
    let end = Instant::now() + Duration::from_secs(7);
    node.during("seven seconds pass", sleep_until(end)).await;
    assert_eq!(site.state().applied(), applied);
    assert!(site.leads_now() && site.handle.health().is_ready());
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_at_once_share_entries_and_get_each_change_once() {
    const NODES: usize = 20;
    const TASKS: u32 = 200;
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    let mut nodes = tokio::task::JoinSet::new();
    let (stop, _) = tokio::sync::watch::channel(false);
    for nth in 0..NODES {
        let mut node = Agent::new(&format!("n{nth}")).attach(&site).await;
        let mut stopped = stop.subscribe();
        nodes.spawn(async move {
            let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
            node.during("the end of the test", stopped).await;
            node
        });
    }
    let before = site.state().applied().0;
    let web = site.create("web", TASKS).await;
    let all = |state: &State| running(state, web) == TASKS as usize;
    let state = site.until("all tasks run", all).await;
    let entries = state.applied().0 - before;
    assert!(entries < u64::from(TASKS) / 4, "{entries} entries for {TASKS} tasks");
    let ready = site.published("all are ready", |now| {
        now.report.services.get(&web).is_some_and(|service| service.ready == TASKS)
    });
    ready.await;
    stop.send_replace(true);
    while let Some(node) = nodes.join_next().await {
        let node = node.unwrap();
        assert_eq!(node.agent.assignments.len(), TASKS as usize / NODES, "spread evenly");
        assert!(node.agent.fulls.is_empty());
    }
    site.stop().await;
}
