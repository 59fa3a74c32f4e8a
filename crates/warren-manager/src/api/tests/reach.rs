//! Reaching into nodes: logs and commands; and steering nodes.

use super::*;
use std::collections::BTreeSet;
use tokio_stream::StreamExt;
use v1::exec_request::Message as In;
use v1::exec_response::Message as Out;

fn logs(service: &str, follow: bool) -> v1::LogsRequest {
    v1::LogsRequest { service_id: service.to_owned(), follow, ..Default::default() }
}

#[tokio::test]
async fn logs_of_a_node_that_does_not_answer_are_a_problem_beside_the_others() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.node("one").await, cluster.node("two").await);
    let (one, two) = if two == NodeId(2) { (one, two) } else { (two, one) };
    let service = cluster.service("web").await;
    let here = cluster.task(&service, 1, one).await;
    let there = cluster.task(&service, 2, two).await;
    let mut lines = cluster.tasks().logs(logs("web", false)).await.unwrap().into_inner();
    let mut seen = BTreeSet::new();
    let problem = next(&mut lines).await.unwrap().unwrap();
    assert_eq!((problem.task_id, problem.task.as_str()), (there.to_string(), "web.2"));
    assert_eq!(problem.problem, "n2 is not connected");
    cluster.nodes.log(one, here, "hello");
    cluster.nodes.log(one, here, "world");
    cluster.nodes.end_logs();
    while let Some(line) = next(&mut lines).await {
        let line = line.unwrap();
        assert_eq!(line.task, "web.1");
        seen.insert(String::from_utf8(line.line).unwrap());
    }
    assert_eq!(seen, BTreeSet::from(["hello".to_owned(), "world".to_owned()]));
    cluster.stop().await;
}

#[tokio::test]
async fn logs_follow_tasks_that_come_later() {
    let cluster = Cluster::start().await;
    let one = cluster.node("one").await;
    let service = cluster.service("web").await;
    let mut lines = cluster.tasks().logs(logs("web", true)).await.unwrap().into_inner();
    let task = cluster.task(&service, 1, one).await;
    let written = async {
        while !cluster.nodes.logs.lock().unwrap().contains_key(&one) {
            tokio::task::yield_now().await;
        }
        cluster.nodes.log(one, task, "late");
    };
    timeout(SOON, written).await.unwrap();
    let line = next(&mut lines).await.unwrap().unwrap();
    assert_eq!((line.task.as_str(), line.line.as_slice()), ("web.1", b"late".as_slice()));
    cluster.stop().await;
}

#[tokio::test]
async fn logs_of_nothing_are_refused_by_name() {
    let cluster = Cluster::start().await;
    cluster.service("web").await;
    let error = refusal(cluster.tasks().logs(v1::LogsRequest::default()).await);
    assert_eq!(error.field.as_deref(), Some("service_id"));
    let task = |task_id: &str| v1::LogsRequest { task_id: task_id.into(), ..Default::default() };
    let error = refusal(cluster.tasks().logs(task("web.7")).await);
    assert_eq!(error.message, "service web has no task 7");
    let error = refusal(cluster.tasks().logs(task("t99")).await);
    assert_eq!(error.message, "there is no task t99");
    let mut none = cluster.tasks().logs(logs("web", false)).await.unwrap().into_inner();
    assert!(next(&mut none).await.is_none(), "a service without tasks has no lines");
    cluster.stop().await;
}

fn started(task: &str) -> v1::ExecRequest {
    let start = v1::ExecStart {
        task_id: task.to_owned(),
        command: vec!["cat".to_owned()],
        ..Default::default()
    };
    v1::ExecRequest { message: Some(In::Start(start)) }
}

#[tokio::test]
async fn a_command_takes_input_while_it_writes_and_ends_with_its_code() {
    let cluster = Cluster::start().await;
    let one = cluster.node("one").await;
    let service = cluster.service("web").await;
    let task = cluster.task(&service, 1, one).await;
    let (typed, keyboard) = mpsc::channel(4);
    let requests = tokio_stream::once(started("web.1"))
        .chain(tokio_stream::wrappers::ReceiverStream::new(keyboard));
    let mut output = cluster.tasks().exec(requests).await.unwrap().into_inner();
    let greeting = next(&mut output).await.unwrap().unwrap().message;
    assert_eq!(greeting, Some(Out::Stdout(task.to_string().into_bytes())));
    for piece in ["a", "b"] {
        let stdin = In::Stdin(piece.as_bytes().to_vec());
        typed.send(v1::ExecRequest { message: Some(stdin) }).await.unwrap();
        let echoed = next(&mut output).await.unwrap().unwrap().message;
        assert_eq!(echoed, Some(Out::Stdout(piece.as_bytes().to_vec())));
    }
    let end = v1::ExecRequest { message: Some(In::StdinEnd(v1::ExecEnd {})) };
    typed.send(end).await.unwrap();
    let code = next(&mut output).await.unwrap().unwrap().message;
    assert_eq!(code, Some(Out::ExitCode(3)));
    assert!(next(&mut output).await.is_none(), "the exit code is the last message");
    cluster.stop().await;
}

#[tokio::test]
async fn a_command_in_what_does_not_run_is_refused() {
    let cluster = Cluster::start().await;
    cluster.service("web").await;
    let exec = async |first| refusal(cluster.tasks().exec(tokio_stream::once(first)).await);
    let error = exec(started("web")).await;
    assert_eq!(error.code, Code::FailedPrecondition);
    assert_eq!(error.message, "web has no tasks");
    let mut empty = started("web");
    if let Some(In::Start(start)) = &mut empty.message {
        start.command.clear();
    }
    assert_eq!(exec(empty).await.field.as_deref(), Some("start.command"));
    let stdin = v1::ExecRequest { message: Some(In::Stdin(vec![1])) };
    assert_eq!(exec(stdin).await.field.as_deref(), Some("start"));
    cluster.stop().await;
}

#[tokio::test]
async fn a_silent_node_is_shown_as_suspect_before_it_is_down() {
    let cluster = Cluster::start().await;
    let node = cluster.node("one").await;
    let get = || v1::GetNodeRequest { node_id: "one".into() };
    let mut nodes = cluster.nodes();
    let silence = Duration::from_secs(12);
    let reached = vec![NodeId(2), NodeId(4)];
    let suspect = Suspect { node, silence, asked: reached.clone(), reached };
    for (suspects, status) in [(vec![], "up"), (vec![suspect], "suspect")] {
        cluster.publish_with(Observed::default(), Report::default(), suspects);
        let shown = nodes.get_node(get()).await.unwrap().into_inner().node.unwrap();
        assert_eq!(shown.status, status);
        let told = shown.problems.concat();
        assert_eq!(told.contains("silent for 12 s, but n2 and n4 reach it"), status != "up");
        let all = v1::ExplainServiceRequest::default();
        let waits = cluster.services().explain_service(all).await.unwrap().into_inner().waits;
        let waits: Vec<_> = waits.into_iter().map(|wait| (wait.subject, wait.reason)).collect();
        assert_eq!(waits, if told.is_empty() { vec![] } else { vec![("one".to_owned(), told)] });
    }
    cluster.propose(Command::SetNodeUp { node, up: false }).await;
    let shown = nodes.get_node(get()).await.unwrap().into_inner().node.unwrap();
    assert_eq!(shown.status, "down");
    cluster.stop().await;
}

#[tokio::test]
async fn nodes_are_drained_labelled_and_named() {
    let cluster = Cluster::start().await;
    cluster.node("one").await;
    let mut nodes = cluster.nodes();
    let set = |availability: &str| v1::SetNodeAvailabilityRequest {
        node_id: "one".into(),
        availability: availability.into(),
        within_ms: None,
    };
    let drained = nodes.set_node_availability(set("drain")).await.unwrap().into_inner();
    assert_eq!(drained.node.unwrap().availability, "drain");
    let error = refusal(nodes.set_node_availability(set("gone")).await);
    assert_eq!(error.field.as_deref(), Some("availability"));

    let label = |key: &str, remove: &[&str]| v1::LabelNodeRequest {
        node_id: "one".into(),
        set: BTreeMap::from([(key.to_owned(), "x".to_owned())]),
        remove: remove.iter().map(ToString::to_string).collect(),
    };
    let node = nodes.label_node(label("disk", &[])).await.unwrap().into_inner().node.unwrap();
    assert_eq!(node.labels["disk"], "x");
    let node = nodes.label_node(label("zone", &["disk"])).await.unwrap().into_inner().node;
    assert!(!node.unwrap().labels.contains_key("disk"));
    let own = refusal(nodes.label_node(label("warren.node", &[])).await);
    assert_eq!(own.field.as_deref(), Some("set"));
    let both = refusal(nodes.label_node(label("a", &["a"])).await);
    assert_eq!(both.field.as_deref(), Some("remove"));
    let get = v1::GetNodeRequest { node_id: "onne".into() };
    let error = refusal(nodes.get_node(get).await);
    assert_eq!(error.message, "there is no node onne; did you mean one?");
    cluster.stop().await;
}
