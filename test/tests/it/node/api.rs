//! The API as a program of somebody else's uses it: over the socket, with what any gRPC client expects to find.

use std::collections::{BTreeMap, BTreeSet};

use hyper_util::rt::TokioIo;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use warren_test::cluster::{Node, Runtime};
use warren_test::{http, reference};
use warren_wire::v1::{self, services_client::ServicesClient};

/// The largest message that a client of these tests takes or makes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

async fn connect(node: &Node) -> Channel {
    let path = node.data_dir().join("warren.sock");
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the socket.
    let channel = Endpoint::from_static("http://warren").connect_with_connector(connector).await;
    channel.expect("the socket answers")
}

fn spec(image: &str, env: BTreeMap<String, String>) -> v1::CreateServiceRequest {
    let template = v1::TaskTemplate { image: image.to_owned(), env, ..Default::default() };
    let spec =
        v1::ServiceSpec { name: "web".into(), template: Some(template), ..Default::default() };
    v1::CreateServiceRequest { spec: Some(spec), skip_resolve: false }
}

#[tokio::test]
async fn any_client_can_find_its_way() {
    let node = Node::start(Runtime::Process).await.unwrap();
    let channel = connect(&node).await;
    let asked = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(channel.clone()).check(asked).await.unwrap().into_inner();
    assert_eq!(health.status, 1, "SERVING");

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = futures::stream::iter([list]);
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("no list of services: {answer:?}")
    };
    let found: BTreeSet<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["Services", "Tasks", "Nodes", "Clusters", "Events", "Rollouts"] {
        assert!(found.contains(&*format!("warren.v1.{name}")), "{name} is not in {found:?}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_costs_nothing() {
    let node = Node::start(Runtime::Process).await.unwrap();
    let image = Runtime::Process.web_image("v1").await.unwrap();
    let mut services =
        ServicesClient::new(connect(&node).await).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let large = |bytes: usize| BTreeMap::from([("LARGE".to_owned(), "x".repeat(bytes))]);
    let error = services.create_service(spec(&image, large(1 << 20))).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(error.message().contains("env"), "{error}");
    let error = services.create_service(spec(&image, large(10 << 20))).await.unwrap_err();
    let codes = [Code::OutOfRange, Code::ResourceExhausted, Code::InvalidArgument];
    assert!(codes.contains(&error.code()), "{error}");
    // It still serves, and nothing was stored.
    let left = services.list_services(v1::ListServicesRequest {}).await.unwrap().into_inner();
    assert!(left.services.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_release_of_no_service_is_not_found() {
    let node = Node::start(Runtime::Process).await.unwrap();
    let mut rollouts = v1::rollouts_client::RolloutsClient::new(connect(&node).await);
    let asked = v1::PauseRolloutRequest { service_id: "web".into(), ..Default::default() };
    let error = rollouts.pause_rollout(asked).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
    assert_eq!(error.message(), "there is no service web");
}

#[tokio::test]
async fn metrics_and_health_are_served_over_http() {
    let node = Node::start(Runtime::Process).await.unwrap();
    let address = node.http_address().unwrap();
    assert_eq!(http::get(address, "/healthz").await.unwrap().0, 200);
    let (status, page) = http::get(address, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    let listed: BTreeSet<&str> = reference::metrics::LISTS
        .iter()
        .flat_map(|(_, list)| list.iter().map(|(name, _, _)| *name))
        .collect();
    let samples = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut ours = 0;
    for sample in samples {
        let name = sample.split(['{', ' ']).next().unwrap();
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = listed.contains(name) || stem.is_some_and(|stem| listed.contains(stem));
        assert!(known || !name.starts_with("warren_"), "{name} is not in the reference");
        ours += usize::from(known);
    }
    assert!(ours > 20, "only {ours} samples of ours in\n{page}");
}
