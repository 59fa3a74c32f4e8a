//! Watching one service.

use super::*;
use warren_core::observed::TaskObserved;
use warren_core::report::{ServiceReport, Status as Standing};

fn watch(name: &str) -> v1::WatchServiceRequest {
    v1::WatchServiceRequest { service_id: name.to_owned() }
}

#[tokio::test]
async fn a_watch_shows_each_change_of_its_service_and_ends_with_it() {
    let cluster = Cluster::start().await;
    let node = cluster.node("one").await;
    let service = cluster.service("web").await;
    let mut services = cluster.services();
    let mut pictures = services.watch_service(watch("web")).await.unwrap().into_inner();
    let first = next(&mut pictures).await.unwrap().unwrap();
    assert_eq!(first.service.unwrap().generation, 1);

    // Another service's change is not shown: the next picture is of this one's task.
    cluster.service("other").await;
    let task = cluster.task(&service, 1, node).await;
    let mut picture = next(&mut pictures).await.unwrap().unwrap();
    while picture.tasks.first().is_none_or(|task| task.phase != "running") {
        picture = next(&mut pictures).await.unwrap().unwrap();
    }
    assert!(!picture.tasks[0].ready);

    // What is only heard is shown too.
    let heard = TaskObserved {
        phase: Phase::Running,
        ready_since: Some(cluster.raft.now()),
        unready_since: None,
        unseen: false,
        healthy: Some(true),
        restarts: 2,
        detail: "fine".to_owned(),
    };
    let observed =
        Observed { tasks: BTreeMap::from([(task, heard)]).into(), ..Observed::default() };
    let id: ServiceId = service.id.parse().unwrap();
    let standing = ServiceReport {
        status: Standing::Running,
        desired: 1,
        running: 1,
        ready: 1,
        ..ServiceReport::default()
    };
    cluster.publish(observed, Report { services: BTreeMap::from([(id, standing)]) });
    let picture = next(&mut pictures).await.unwrap().unwrap();
    let task = &picture.tasks[0];
    assert_eq!((task.ready, task.health.as_str(), task.restarts), (true, "healthy", 2));
    assert_eq!(picture.service.unwrap().status, "running");

    let by = warren_core::service::Actor::named("test".to_owned());
    cluster.propose(Command::DeleteService { service: id, by }).await;
    let edge = warren_core::command::TaskEdge {
        task: task.id.parse().unwrap(),
        phase: Phase::Stopped,
        end: None,
    };
    cluster.propose(Command::ReportTasks { node, edges: vec![edge] }).await;
    cluster.propose(Command::ForgetService { service: id }).await;
    let mut last = next(&mut pictures).await.unwrap().unwrap();
    while last.service.is_some() {
        last = next(&mut pictures).await.unwrap().unwrap();
    }
    assert!(next(&mut pictures).await.is_none(), "nothing follows the end of a service");
    cluster.stop().await;
}

#[tokio::test]
async fn a_watch_that_nobody_reads_skips_to_the_newest() {
    let cluster = Cluster::start().await;
    cluster.service("web").await;
    let mut services = cluster.services();
    let mut pictures = services.watch_service(watch("web")).await.unwrap().into_inner();
    for replicas in 1..=50 {
        let request =
            v1::ScaleServiceRequest { service_id: "web".into(), replicas, expect_generation: 0 };
        services.scale_service(request).await.unwrap();
    }
    let (mut seen, mut desired) = (0, 0);
    while desired != 50 {
        desired = next(&mut pictures).await.unwrap().unwrap().service.unwrap().desired;
        seen += 1;
    }
    assert!(seen < 50, "{seen} pictures of 50 changes");
    cluster.stop().await;
}

#[tokio::test]
async fn the_end_of_the_manager_ends_its_streams() {
    let cluster = Cluster::start().await;
    cluster.service("web").await;
    let mut pictures = cluster.services().watch_service(watch("web")).await.unwrap().into_inner();
    next(&mut pictures).await.unwrap().unwrap();
    let follow = v1::WatchEventsRequest { follow: true, ..Default::default() };
    let mut events = cluster.events().watch_events(follow).await.unwrap().into_inner();
    while next(&mut events).await.unwrap().unwrap().events[0].action != "created" {}
    cluster.shutdown.cancel();
    let ended = next(&mut pictures).await.unwrap().unwrap_err();
    assert_eq!(ended.code, Code::Unavailable);
    let mut ended = next(&mut events).await.unwrap();
    while ended.is_ok() {
        ended = next(&mut events).await.unwrap();
    }
    assert_eq!(ended.unwrap_err().code, Code::Unavailable);
    cluster.stop().await;
}
