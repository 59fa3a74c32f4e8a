//! A worker without managers: what must never run twice it stops by itself, the rest goes on.

use anyhow::ensure;
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::wait;

use super::disaster::pids;
use super::{SOON, joined};

async fn service(node: &Node, name: &str, on_disconnect: &str) -> anyhow::Result<()> {
    let image = Runtime::Process.web_image("v1").await?;
    let create = ["service", "create", name, "--image", &image, "--port", "http=8080"];
    let place = ["--constraint", "node.role == worker", "--min-ready", "0s"];
    let alone = ["--on-disconnect", on_disconnect];
    node.ok(&[&create[..], &place, &alone].concat()).await.map(drop)
}

/// The tasks of a service that run, with their phases.
async fn tasks(node: &Node, name: &str) -> anyhow::Result<Vec<Value>> {
    let tasks = node.json(&["service", "ps", name]).await?;
    Ok(tasks.as_array().cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_worker_whose_managers_are_gone_stops_what_must_not_run_on() {
    managers_are_gone().await.unwrap();
}

async fn managers_are_gone() -> anyhow::Result<()> {
    let mut manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let worker = joined(&manager, "worker", "w1").await?;
    service(&manager, "kept", "keep").await?;
    let kept = pids(&worker)?;
    service(&manager, "single", "stop-after=10s").await?;
    ensure!(pids(&worker)?.len() > kept.len(), "both run");
    let spec = manager.ok(&["service", "inspect", "single", "--output", "yaml"]).await?;
    ensure!(spec.contains("on_disconnect: stop-after=10s"), "{spec}");
    manager.crash()?;
    wait::until("the worker stops the one that must not run on", SOON, async || {
        let left = pids(&worker)?;
        ensure!(left == kept, "{left:?} run, {kept:?} are kept");
        Ok(())
    })
    .await?;
    manager.resume().await?;
    wait::until("another task takes its place", SOON, async || {
        let single = tasks(&manager, "single").await?;
        let ready = single.iter().filter(|task| task["ready"] == true).count();
        ensure!(ready == 1, "{single:?}");
        Ok(())
    })
    .await?;
    ensure!(kept.is_subset(&pids(&worker)?), "what is kept was never touched");
    Ok(())
}
