//! Making, changing and showing services.

use super::*;
use tokio::task::JoinSet;
use warren_core::spec::REPLICAS_MAX;

#[tokio::test]
async fn a_service_is_made_shown_changed_and_deleted() {
    let cluster = Cluster::start().await;
    cluster.nodes.has("web:v1", "sha256:1");
    cluster.nodes.has("web:v2", "sha256:2");
    let mut services = cluster.services();
    let made = services.create_service(create("web", "web:v1")).await.unwrap().into_inner();
    let made = made.service.unwrap();
    assert_eq!((made.generation, made.revision, made.status.as_str()), (1, 1, "pending"));
    assert_eq!(made.spec.as_ref().unwrap().template.as_ref().unwrap().pinned, "sha256:1");
    assert_eq!(made.changed_by, if is_root() { "root" } else { made.changed_by.as_str() });
    assert!(made.created_unix_ms > 0);

    let update = v1::UpdateServiceRequest {
        service_id: "web".to_owned(),
        image: "web:v2".to_owned(),
        expect_generation: 1,
        reason: "faster".to_owned(),
        ..Default::default()
    };
    let updated = services.update_service(update.clone()).await.unwrap().into_inner();
    assert!(updated.changed);
    assert_eq!(updated.service.unwrap().revision, 2);
    let stale = refusal(services.update_service(update).await);
    assert_eq!(stale.code, Code::Aborted);

    let versions = v1::ListVersionsRequest { service_id: made.id.clone() };
    let versions = services.list_versions(versions).await.unwrap().into_inner().revisions;
    let shown: Vec<_> = versions.iter().map(|v| (v.number, v.cause.as_str(), v.current)).collect();
    assert_eq!(shown, [(2, "faster", true), (1, "", false)]);
    let second = v1::GetServiceVersionRequest { service_id: "web".into(), version: 7 };
    let missing = refusal(services.get_service_version(second).await);
    assert_eq!(missing.message, "service web has v1, v2, no v7");

    let scale =
        v1::ScaleServiceRequest { service_id: "web".into(), replicas: 5, expect_generation: 0 };
    let scaled = services.scale_service(scale).await.unwrap().into_inner().service.unwrap();
    assert_eq!(scaled.desired, 5);
    let restart = v1::RestartServiceRequest { service_id: "web".into() };
    let restarted = services.restart_service(restart).await.unwrap().into_inner().service.unwrap();
    assert_eq!(generation(&restarted).0, generation(&scaled).0 + 1);

    let delete = v1::DeleteServiceRequest { service_id: "web".into() };
    services.delete_service(delete).await.unwrap();
    let get = v1::GetServiceRequest { service_id: "web".into() };
    let shown = services.get_service(get).await.unwrap().into_inner().service.unwrap();
    assert_eq!(shown.status, "deleting");
    let again = refusal(services.create_service(create("web", "web:v1")).await);
    assert_eq!(again.code, Code::Aborted);
    cluster.stop().await;
}

pub(super) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

#[tokio::test]
async fn bad_requests_are_refused_by_name_and_change_nothing() {
    let cluster = Cluster::start().await;
    cluster.nodes.has("web:v1", "sha256:1");
    let mut services = cluster.services();
    let error = refusal(services.create_service(create("Web", "web:v1")).await);
    assert_eq!((error.code, error.field.as_deref()), (Code::InvalidArgument, Some("spec.name")));
    let error = refusal(services.create_service(create("web", "web:v9")).await);
    assert_eq!(error.code, Code::InvalidArgument);
    assert_eq!(error.field.as_deref(), Some("spec.template.image"));
    assert_eq!(error.message, "no such image: web:v9");
    let error = refusal(services.create_service(v1::CreateServiceRequest::default()).await);
    assert_eq!(error.field.as_deref(), Some("spec.name"));
    let mut unknown = create("web", "web:v1");
    unknown.spec.as_mut().unwrap().strategy = Some(9);
    let error = refusal(services.create_service(unknown).await);
    assert_eq!(error.to_string(), "spec.strategy: 9 is not known to this version of Warren");
    assert_eq!(cluster.raft.state().borrow().services().len(), 0);

    services.create_service(create("web", "web:v1")).await.unwrap();
    let error = refusal(services.create_service(create("web", "web:v1")).await);
    assert_eq!(error.code, Code::AlreadyExists);
    let get = v1::GetServiceRequest { service_id: "wbe".into() };
    let error = refusal(services.get_service(get).await);
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(error.message, "there is no service wbe; did you mean web?");

    let scale = |replicas| v1::ScaleServiceRequest {
        service_id: "web".into(),
        replicas,
        expect_generation: 0,
    };
    let error = refusal(services.scale_service(scale(REPLICAS_MAX + 1)).await);
    assert_eq!(error.field.as_deref(), Some("replicas"));
    let mut global = create("everywhere", "web:v1");
    let mode = v1::service_spec::Mode::Global(v1::Global {});
    global.spec.as_mut().unwrap().mode = Some(mode);
    services.create_service(global).await.unwrap();
    let request = v1::ScaleServiceRequest { service_id: "everywhere".into(), ..scale(2) };
    let error = refusal(services.scale_service(request).await);
    assert_eq!(error.code, Code::FailedPrecondition);
    let update = v1::UpdateServiceRequest { service_id: "web".into(), ..Default::default() };
    assert_eq!(refusal(services.update_service(update).await).code, Code::InvalidArgument);
    cluster.stop().await;
}

#[tokio::test]
async fn a_host_port_that_no_runtime_can_publish_is_refused() {
    let cluster = Cluster::start().await;
    cluster.nodes.has("web:v1", "sha256:1");
    let mut services = cluster.services();
    cluster.node_with("host-a", "process 1.0").await;
    let mut request = create("web", "web:v1");
    let port = v1::Port { container: 80, host: 8080, ..Default::default() };
    request.spec.as_mut().unwrap().template.as_mut().unwrap().ports = vec![port];
    let error = refusal(services.create_service(request.clone()).await);
    assert_eq!(error.field.as_deref(), Some("spec.template.ports"));
    assert!(error.message.contains("DNS name"), "{error}");

    services.create_service(create("web", "web:v1")).await.unwrap();
    let update = v1::UpdateServiceRequest {
        service_id: "web".into(),
        spec: request.spec,
        update_config: Some(v1::UpdateConfig { max_unavailable: Some(1), ..Default::default() }),
        ..Default::default()
    };
    let error = refusal(services.update_service(update.clone()).await);
    assert_eq!(error.field.as_deref(), Some("spec.template.ports"));
    cluster.node_with("host-b", "docker 20.10.24").await;
    services.update_service(update).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_request_above_the_limit_is_refused_and_the_connection_lives_on() {
    let cluster = Cluster::start().await;
    let mut services = cluster.services();
    let mut huge = create("web", "web:v1");
    let env = &mut huge.spec.as_mut().unwrap().template.as_mut().unwrap().env;
    env.insert("HUGE".to_owned(), "x".repeat(10 << 20));
    let error = refusal(services.create_service(huge.clone()).await);
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.message.contains("too large"), "{error}");

    let env = &mut huge.spec.as_mut().unwrap().template.as_mut().unwrap().env;
    env.insert("HUGE".to_owned(), "x".repeat(1 << 20));
    let error = refusal(services.create_service(huge).await);
    assert_eq!(error.field.as_deref(), Some("spec.template.env"));
    services.list_services(v1::ListServicesRequest {}).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn writers_without_a_generation_all_get_their_change_in() {
    let cluster = Cluster::start().await;
    cluster.service("web").await;
    let mut writers = JoinSet::new();
    for writer in 1..=4_u32 {
        let mut services = cluster.services();
        writers.spawn(async move {
            let config = match writer {
                1 => v1::UpdateConfig { parallelism: Some(7), ..Default::default() },
                2 => v1::UpdateConfig { delay_seconds: Some(9), ..Default::default() },
                3 => v1::UpdateConfig { max_surge: Some(5), ..Default::default() },
                _ => v1::UpdateConfig { min_ready_ms: Some(123), ..Default::default() },
            };
            let request = v1::UpdateServiceRequest {
                service_id: "web".into(),
                update_config: Some(config),
                ..Default::default()
            };
            services.update_service(request).await.unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let get = v1::GetServiceRequest { service_id: "web".into() };
    let service = cluster.services().get_service(get).await.unwrap().into_inner().service.unwrap();
    let config = service.spec.unwrap().update_config.unwrap();
    assert_eq!(config.parallelism, Some(7));
    assert_eq!(config.delay_seconds, Some(9));
    assert_eq!(config.max_surge, Some(5));
    assert_eq!(config.min_ready_ms, Some(123));
    assert_eq!(service.generation, 5);
    cluster.stop().await;
}

#[tokio::test]
async fn an_image_is_asked_about_when_it_may_have_changed_and_not_else() {
    let cluster = Cluster::start().await;
    cluster.nodes.has("web:latest", "sha256:1");
    let mut services = cluster.services();
    services.create_service(create("web", "web:latest")).await.unwrap();
    let config = v1::UpdateConfig { parallelism: Some(2), ..Default::default() };
    let request = v1::UpdateServiceRequest {
        service_id: "web".into(),
        update_config: Some(config),
        ..Default::default()
    };
    services.update_service(request).await.unwrap();
    assert_eq!(cluster.nodes.asked.lock().unwrap().len(), 1);

    cluster.nodes.has("web:latest", "sha256:2");
    let request = v1::UpdateServiceRequest {
        service_id: "web".into(),
        image: "web:latest".into(),
        ..Default::default()
    };
    let moved = services.update_service(request.clone()).await.unwrap().into_inner();
    let moved = moved.service.unwrap();
    assert_eq!(moved.revision, 2);
    assert_eq!(moved.spec.unwrap().template.unwrap().pinned, "sha256:2");
    let same = services.update_service(request).await.unwrap().into_inner();
    assert!(!same.changed);
    cluster.stop().await;
}
