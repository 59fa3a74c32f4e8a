//! How sessions begin, diverge, end and come back.

use super::agent::{Agent, status};
use super::site::{Home, OPTIONS, with_node};
use super::soon;
use tonic::Code;
use warren_core::id::NodeId;
use warren_core::task::Phase;
use warren_wire::v1;
use warren_wire::v1::agent_message::Message as FromAgent;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_fit_is_refused_with_the_reason() {
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    let refused = async |change: fn(&mut v1::Hello)| {
        let mut agent = Agent::new("a");
        change(&mut agent.hello);
        agent.attach_silently(&site).await.err().expect("it is refused")
    };
    let other = refused(|hello| hello.cluster_id = 8).await;
    assert_eq!(other.code(), Code::FailedPrecondition);
    assert!(other.message().contains("belongs to cluster 0000000000000008"), "{other}");
    let newer = refused(|hello| hello.protocol_min = 2).await;
    assert!(newer.message().contains("upgrade the older"), "{newer}");
    let nameless = refused(|hello| hello.hostname.clear()).await;
    assert_eq!(nameless.code(), Code::InvalidArgument);
    assert!(nameless.message().contains("hostname"), "{nameless}");
    let subnet = refused(|hello| hello.subnet = "10.0.0.0/33".to_owned()).await;
    assert!(subnet.message().contains("subnet"), "{subnet}");
    assert_eq!(site.state().nodes().len(), 0, "nothing was written for them");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_sessions_before_there_is_a_cluster() {
    let home = Home::new();
    let site = home.start_bare(OPTIONS).await;
    let refused = Agent::new("a").attach_silently(&site).await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_keeps_its_id_and_its_tasks_and_writes_nothing() {
    let (_home, site, mut node) = with_node("a").await;
    let web = site.create("web", 2).await;
    let at_rest = site.until("accepted", |state| {
        state.service(web).is_some_and(|service| service.stable.is_some())
    });
    node.during("the revision is accepted", at_rest).await;
    let (id, applied) = (node.welcome.node_id.clone(), site.state().applied());

    let mut node = node.cut().attach(&site).await;
    assert_eq!(node.welcome.node_id, id);
    let seq = node.agent.seq;
    node.until("what it said is acknowledged", |agent| agent.acked >= seq).await;
    assert!(node.agent.fulls.is_empty(), "it holds what it should");
    assert_eq!(site.state().applied(), applied);

    // Another boot of the same machine, with a new version: known again, and written.
    let mut agent = node.cut();
    agent.hello.boot = 2;
    agent.hello.version = "0.2.0".to_owned();
    let node = agent.attach(&site).await;
    assert_eq!(node.welcome.node_id, id);
    assert_eq!(site.state().nodes().next().unwrap().facts.version, "0.2.0");
    assert_eq!(site.state().nodes().len(), 1);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_diverged_gets_everything_again() {
    let (_home, site, mut node) = with_node("a").await;
    let web = site.create("web", 2).await;
    let up = site
        .until("both run", |state| state.tasks_of(web).filter(|task| task.serves()).count() == 2);
    node.during("both run", up).await;
    node.until("the chain is quiet", |agent| agent.assignments.len() == 2).await;

    let lost = *node.agent.assignments.keys().next().unwrap();
    node.agent.assignments.remove(&lost);
    node.until("a full came", |agent| agent.fulls.len() == 1).await;
    let full = &node.agent.fulls[0];
    assert_eq!(full.stop_allowance, None, "the guard holds");
    assert!(node.agent.assignments.contains_key(&lost));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tasks_of_a_node_run_on_while_the_manager_restarts() {
    let (home, site, mut node) = with_node("a").await;
    let web = site.create("web", 2).await;
    let at_rest = site.until("accepted", |state| {
        state.service(web).is_some_and(|service| service.stable.is_some())
    });
    node.during("the revision is accepted", at_rest).await;
    node.until("both are in traffic", |agent| ready(agent) == 2).await;
    let tasks: Vec<_> = node.agent.assignments.keys().copied().collect();
    site.stop().await;
    let mut agent = node.cut();
    agent.view.epoch = 0;

    let site = home.start(OPTIONS).await;
    let applied = site.state().applied();
    let mut node = agent.attach(&site).await;
    // The first view of the new leader holds both as ready: it waited for the node to say so.
    node.until("the new leader tells traffic", |agent| agent.view.epoch > 0).await;
    assert_eq!(ready(&node.agent), 2);
    assert!(node.agent.fulls.is_empty());
    assert_eq!(node.agent.assignments.keys().copied().collect::<Vec<_>>(), tasks);
    assert_eq!(site.state().applied(), applied, "taking over writes nothing");
    let published = site.published("the plan knows", |now| {
        now.report.services.get(&web).is_some_and(|service| service.ready == 2)
    });
    node.during("the plan knows", published).await;
    site.stop().await;
}

fn ready(agent: &Agent) -> usize {
    let endpoints = agent.view.services.values().flat_map(|service| &service.endpoints);
    endpoints.filter(|endpoint| endpoint.ready).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_session_of_a_node_wins() {
    let (_home, site, mut old) = with_node("a").await;
    let mut new = Agent::new("a").attach(&site).await;
    assert_eq!(old.welcome.node_id, new.welcome.node_id);
    soon("the old one ends", async { while old.step().await.is_ok() {} }).await;
    site.create("web", 1).await;
    new.until("the new one works", |agent| agent.assignments.len() == 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_hello_ends_the_session() {
    let (_home, site, mut node) = with_node("a").await;
    node.send(FromAgent::Hello(node.agent.hello.clone())).await;
    soon("the session ends", async { while node.step().await.is_ok() {} }).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_does_not_drain_loses_its_session_and_nobody_else_does() {
    let (_home, site, mut good) = with_node("good").await;
    let mut agent = Agent::new("stuck");
    agent.obeys = false;
    let stuck = agent.attach_silently(&site).await.unwrap();
    let id: NodeId = stuck.welcome.node_id.parse().unwrap();
    let connected =
        |now: &crate::Published| now.observed.nodes.get(&id).is_some_and(|node| node.connected);
    good.during("it is connected", site.published("", connected)).await;
    // It never reads: acknowledgements fill the stream's window, then its queue.
    let cut = async {
        while site.handle.published().borrow().as_ref().is_some_and(|now| connected(now)) {
            for _ in 0..1_000 {
                stuck.send(FromAgent::Beat(v1::Beat::default())).await;
            }
        }
    };
    good.during("the stuck session is closed", Box::pin(cut)).await;
    site.create("web", 1).await;
    good.until("the other one works", |agent| agent.assignments.len() == 1).await;
    drop(stuck);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_of_other_nodes_tasks_are_ignored() {
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    let mut owner = Agent::new("owner");
    owner.obeys = false;
    let mut owner = owner.attach(&site).await;
    site.create("web", 1).await;
    owner.until("it is assigned", |agent| agent.assignments.len() == 1).await;
    let task = *owner.agent.assignments.keys().next().unwrap();
    let mut liar = Agent::new("liar").attach(&site).await;
    liar.say(task, status(Phase::Failed, false)).await;
    let seq = liar.agent.seq;
    liar.until("it is acknowledged all the same", |agent| agent.acked >= seq).await;
    assert_eq!(site.state().task(task).unwrap().phase, Phase::Assigned);
    site.stop().await;
}
