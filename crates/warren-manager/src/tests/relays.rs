//! Requests into nodes.

use super::agent::{Agent, Attached};
use super::site::{Home, OPTIONS, with_node};
use super::soon;
use crate::RelayError;
use crate::relay::CREDIT;
use warren_core::id::NodeId;
use warren_core::spec::{Image, PinnedImage, PullPolicy};
use warren_wire::v1;
use warren_wire::v1::agent_message::Message as FromAgent;
use warren_wire::v1::manager_message::Message as ToAgent;
use warren_wire::v1::relay::Request;
use warren_wire::v1::relay_reply::Reply;

/// The next request that comes to an agent.
async fn request(node: &mut Attached) -> (u64, Request) {
    loop {
        if let Some(ToAgent::Relay(relay)) = node.message().await {
            return (relay.id, relay.request.unwrap());
        }
    }
}

async fn reply(node: &Attached, id: u64, reply: Reply) {
    node.send(FromAgent::RelayReply(v1::RelayReply { id, reply: Some(reply) })).await;
}

fn image() -> Image {
    Image::parse("web:v1").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_resolved_by_the_first_node_that_can() {
    let home = Home::new();
    let site = home.start(OPTIONS).await;
    let relay = site.handle.relay();
    let nobody = relay.resolve(&image(), PullPolicy::Missing).await;
    assert_eq!(nobody, Err(RelayError::NoNode));

    let mut first = Agent::new("a").attach(&site).await;
    let mut second = Agent::new("b").attach(&site).await;
    let wanted = image();
    let resolve = relay.resolve(&wanted, PullPolicy::Missing);
    let answer = async {
        let (id, asked) = request(&mut first).await;
        let Request::Resolve(asked) = asked else { panic!("{asked:?}") };
        assert_eq!((asked.image.as_str(), asked.pull), ("web:v1", v1::PullPolicy::Missing.into()));
        let missing = v1::RelayError { code: 5, message: "no such image".to_owned() };
        reply(&first, id, Reply::Error(missing)).await;
        let (id, _) = request(&mut second).await;
        reply(&second, id, Reply::Pinned("web@sha256:1".to_owned())).await;
    };
    let (pinned, ()) = soon("an answer", async { tokio::join!(resolve, answer) }).await;
    assert_eq!(pinned, Ok(PinnedImage("web@sha256:1".to_owned())));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_flow_as_fast_as_they_are_taken_and_end() {
    let (_home, site, mut node) = with_node("a").await;
    let id = node.welcome.node_id.parse().unwrap();
    let relay = site.handle.relay();
    let lines: u32 = 1_000;
    let read = async {
        let mut replies = relay.logs(id, v1::RelayLogs::default()).await.unwrap();
        let mut count = 0;
        while let Some(line) = replies.next().await {
            let Reply::Log(line) = line.unwrap() else { panic!("no line") };
            assert_eq!(line.at_unix_ns, u64::from(count), "in order");
            count += 1;
        }
        assert!(replies.next().await.is_none(), "the end stays the end");
        count
    };
    let write = async {
        let (id, _) = request(&mut node).await;
        let mut credit = 0;
        for line in 0..lines {
            while credit == 0 {
                let Request::Credit(more) = request(&mut node).await.1 else { panic!("credit") };
                assert!(more.replies <= CREDIT);
                credit += more.replies;
            }
            credit -= 1;
            let line = v1::LogsResponse { at_unix_ns: line.into(), ..v1::LogsResponse::default() };
            reply(&node, id, Reply::Log(line)).await;
        }
        reply(&node, id, Reply::End(v1::RelayEnd {})).await;
    };
    let (count, ()) = soon("all lines", async { tokio::join!(read, write) }).await;
    assert_eq!(count, lines);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_cancels_and_input_flows() {
    let (_home, site, mut node) = with_node("a").await;
    let id = node.welcome.node_id.parse().unwrap();
    let start = v1::ExecStart { task_id: "t1".to_owned(), ..v1::ExecStart::default() };
    let (input, replies) = site.handle.relay().exec(id, start).await.unwrap();
    let (exec, first) = request(&mut node).await;
    assert!(matches!(first, Request::Exec(_)));
    let more = v1::ExecRequest { message: Some(v1::exec_request::Message::Stdin(b"x".to_vec())) };
    input.send(more.clone()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.push(request(&mut node).await);
    }
    assert!(seen.contains(&(exec, Request::Exec(more))));
    drop(replies);
    assert_eq!(request(&mut node).await, (exec, Request::Cancel(v1::RelayCancel {})));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_an_error_and_no_endless_wait() {
    let (_home, site, mut node) = with_node("a").await;
    let id: NodeId = node.welcome.node_id.parse().unwrap();
    let relay = site.handle.relay();
    let mut replies = relay.logs(id, v1::RelayLogs::default()).await.unwrap();
    request(&mut node).await;
    drop(node);
    let lost = soon("the loss is noticed", replies.next()).await;
    assert_eq!(lost, Some(Err(RelayError::Lost { node: id })));
    let gone = site.published("it is gone", |now| {
        now.observed.nodes.get(&id).is_some_and(|node| !node.connected)
    });
    gone.await;
    let refused = relay.logs(id, v1::RelayLogs::default()).await.err();
    assert_eq!(refused, Some(RelayError::NotConnected { node: id }));
    site.stop().await;
}
