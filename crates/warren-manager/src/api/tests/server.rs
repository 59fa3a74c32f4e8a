//! The server around the API: health, reflection, limits, and what is not built.

use super::*;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[tokio::test]
async fn health_says_serving_for_every_service() {
    let cluster = Cluster::start().await;
    let mut health = HealthClient::new(cluster.channel.clone());
    for service in ["", "warren.v1.Services", "warren.v1.Events", "warren.v1.Rollouts"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watched = health.watch(request).await.unwrap().into_inner();
        let mut status = next(&mut watched).await.unwrap().unwrap().status;
        while status != i32::from(ServingStatus::Serving) {
            status = next(&mut watched).await.unwrap().unwrap().status;
        }
    }
    let unknown = HealthCheckRequest { service: "warren.v1.Nothing".to_owned() };
    assert_eq!(refusal(health.check(unknown).await).code, Code::NotFound);
    cluster.stop().await;
}

#[tokio::test]
async fn reflection_lists_the_public_services_and_no_others() {
    let cluster = Cluster::start().await;
    let mut client = ServerReflectionClient::new(cluster.channel.clone());
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap();
    let answer = next(&mut answers.into_inner()).await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for wanted in ["Services", "Tasks", "Nodes", "Clusters", "Events", "Rollouts"] {
        assert!(names.contains(&format!("warren.v1.{wanted}").as_str()), "{names:?}");
    }
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with("Sessions") || name.ends_with("Raft")));
    cluster.stop().await;
}

#[tokio::test]
async fn the_cluster_shows_what_it_is() {
    let cluster = Cluster::start().await;
    let node = cluster.node("one").await;
    let service = cluster.service("web").await;
    cluster.task(&service, 1, node).await;
    let mut client = v1::clusters_client::ClustersClient::new(cluster.channel.clone());
    let shown = client.get_cluster(v1::GetClusterRequest {}).await.unwrap().into_inner();
    assert_eq!((shown.id.as_str(), shown.zone.as_str()), ("0000000000000007", "warren"));
    assert_eq!((shown.nodes, shown.nodes_up, shown.services, shown.tasks), (1, 1, 1, 1));
    assert_eq!((shown.store.as_str(), shown.version.as_str()), ("redb", "1.2.3"));
    assert_eq!(shown.leader_id, "n1");
    assert!(shown.applied_index > 0);
    cluster.stop().await;
}

#[tokio::test]
async fn many_callers_on_one_connection_are_served_or_told_to_come_back() {
    let cluster = Cluster::start().await;
    let mut callers = JoinSet::new();
    for _ in 0..4 * super::super::REQUESTS_PER_CONNECTION_MAX {
        let mut services = cluster.services();
        callers.spawn(async move { services.list_services(v1::ListServicesRequest {}).await });
    }
    let mut served = 0;
    while let Some(answer) = timeout(SOON, callers.join_next()).await.unwrap() {
        match answer.unwrap() {
            Ok(_) => served += 1,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
        }
    }
    assert!(served > 0);
    cluster.stop().await;
}
