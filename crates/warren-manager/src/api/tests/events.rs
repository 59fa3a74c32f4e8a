//! Watching events: order, resumption, and what becomes of those who fall behind.

use super::*;
use warren_core::event::EVENTS_KEPT;
use warren_wire::channel::endpoint;

fn after(after_revision: u64, follow: bool) -> v1::WatchEventsRequest {
    let service_id = String::new();
    v1::WatchEventsRequest { after_revision: Some(after_revision), follow, service_id }
}

/// Everything of a stream that ends.
async fn all(cluster: &Cluster, request: v1::WatchEventsRequest) -> Vec<v1::WatchEventsResponse> {
    let mut stream = cluster.events().watch_events(request).await.unwrap().into_inner();
    let mut entries = Vec::new();
    while let Some(entry) = next(&mut stream).await {
        entries.push(entry.unwrap());
    }
    entries
}

#[tokio::test]
async fn events_come_in_order_once_and_by_whole_entries() {
    let cluster = Cluster::start().await;
    let node = cluster.node("one").await;
    let service = cluster.service("web").await;
    cluster.task(&service, 1, node).await;
    cluster.service("other").await;

    let kept = all(&cluster, v1::WatchEventsRequest::default()).await;
    let revisions: Vec<_> = kept.iter().map(|entry| entry.revision).collect();
    assert!(revisions.is_sorted_by(|one, other| one < other), "{revisions:?}");
    let actions: Vec<_> =
        kept.iter().flat_map(|entry| &entry.events).map(|event| event.action.as_str()).collect();
    let made = ["created", "started"];
    let expected = [&["created", "joined"][..], &made, &["placed", "running"], &made].concat();
    assert_eq!(actions, expected);

    // From every place that a caller may have come to, the rest and nothing else.
    for (i, entry) in kept.iter().enumerate() {
        assert_eq!(all(&cluster, after(entry.revision, false)).await, kept[i + 1..]);
    }

    let only = v1::WatchEventsRequest { service_id: "web".into(), ..Default::default() };
    let only = all(&cluster, only).await;
    assert!(only.iter().flat_map(|entry| &entry.events).all(|event| event.service == "web"));
    assert_eq!(only.len(), 3);

    // Several commands of one entry are one message.
    let last = revisions.last().copied().unwrap();
    let mut stream = cluster.events().watch_events(after(last, true)).await.unwrap().into_inner();
    let down = |up| Command::SetNodeUp { node, up };
    cluster.raft.propose(vec![down(false), down(true)]).await.unwrap();
    let entry = next(&mut stream).await.unwrap().unwrap();
    let actions: Vec<_> = entry.events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["down", "up"]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_place_that_is_not_reached_yet_is_refused() {
    let cluster = Cluster::start().await;
    let newest = cluster.raft.status().applied.0;
    assert_eq!(all(&cluster, after(newest, false)).await, []);
    let error = refusal(cluster.events().watch_events(after(newest + 1_000, true)).await);
    assert_eq!(error.code, Code::OutOfRange);
    assert!(error.message.contains(&format!("the newest is {newest}")), "{}", error.message);
    cluster.stop().await;
}

#[tokio::test]
async fn a_place_that_is_no_longer_kept_is_refused() {
    let cluster = Cluster::start().await;
    let node = cluster.node("one").await;
    fill(&cluster, node).await;
    let error = refusal(cluster.events().watch_events(after(1, false)).await);
    assert_eq!(error.code, Code::OutOfRange);
    let kept = all(&cluster, v1::WatchEventsRequest::default()).await;
    assert!(kept.iter().map(|entry| entry.events.len()).sum::<usize>() >= EVENTS_KEPT / 2);
    let compacted = cluster.raft.state().borrow().events_compacted().0;
    assert_eq!(all(&cluster, after(compacted, false)).await, kept);
    cluster.stop().await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_closed_and_holds_up_nobody() {
    let cluster = Cluster::start().await;
    let node = cluster.node("one").await;
    // A connection of its own, with the smallest window there is: what is not read stays with the server.
    let narrow = endpoint(&cluster.target).unwrap().initial_stream_window_size(65_535);
    let channel = narrow.connect().await.unwrap();
    let mut slow = v1::events_client::EventsClient::new(channel);
    let mut stream = slow.watch_events(after(0, true)).await.unwrap().into_inner();
    next(&mut stream).await.unwrap().unwrap();
    for _ in 0..8 {
        fill(&cluster, node).await;
    }
    let error = loop {
        match next(&mut stream).await.expect("a slow watcher is told why it is closed") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::Aborted);
    assert!(error.message.starts_with("lagged"), "{error}");
    cluster.stop().await;
}

/// More events than are kept.
async fn fill(cluster: &Cluster, node: NodeId) {
    for _ in 0..5 {
        let flap = (0..EVENTS_KEPT / 4).map(|i| Command::SetNodeUp { node, up: i % 2 == 1 });
        cluster.raft.propose(flap.collect()).await.unwrap();
    }
}
