//! What a node says of a task that takes too much memory, and of one whose check speaks gRPC.

use std::net::Ipv4Addr;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;
use warren_test::cluster::{Node, Runtime};
use warren_test::{http, wait};

use super::{SOON, create_web, on_each_runtime, resolve, tasks, text};

on_each_runtime!(a_task_above_its_memory_is_told_as_such);

async fn a_task_above_its_memory_is_told_as_such(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    create_web(&node, runtime, "web", &["--memory", "64Mi", "--restart-delay", "1m"]).await?;
    let address = resolve(&node, "web.warren.", 1).await?[0];
    // The task may be gone before it has answered.
    let _ = http::post(address, "/admin/faults", "memory_mib=512").await;
    wait::until("the task is told to have used too much memory", SOON, async || {
        let shown = tasks(&node, "web").await?;
        let told = |task| text(task, "detail").contains("more memory than its limit");
        ensure!(shown.iter().any(told), "{shown:?}");
        Ok(())
    })
    .await
}

/// The service listens on every address of the machine, so also on that of the task, which itself serves no gRPC.
#[tokio::test]
async fn a_check_can_speak_grpc() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("web", ServingStatus::Serving).await;
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let listener = tokio::net::TcpListener::bind(any).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    let server = tonic::transport::Server::builder().add_service(service);
    serving.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let node = Node::start(Runtime::Process).await.unwrap();
    let image = Runtime::Process.web_image("v1").await.unwrap();
    let create = ["service", "create", "web", "--image", &image, "--ready-grpc"];
    let check = [&format!("{port}/web"), "--ready-interval", "200ms", "--ready-retries", "1"];
    let wait = ["--min-ready", "0s", "--wait-timeout", "60s"];
    node.ok(&[&create[..], &check, &wait].concat()).await.unwrap();
    reporter.set_service_status("web", ServingStatus::NotServing).await;
    wait::until("the task is not ready, and why is told", SOON, async || {
        let shown = tasks(&node, "web").await?;
        let unready = |task: &serde_json::Value| {
            task["ready"] == false && text(task, "detail").contains("NOT_SERVING")
        };
        ensure!(shown.iter().any(unready), "{shown:?}");
        Ok(())
    })
    .await
    .unwrap();
}
