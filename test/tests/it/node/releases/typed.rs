//! Releases by the command line alone: a canary that is promoted, the hooks that are called on the way and the metrics
//! that count it; a service with one task on every node.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use warren_test::cluster::{Node, Runtime};
use warren_test::sink::Sink;
use warren_test::{http, wait};

use crate::node::{SOON, create_web, tasks, text};

const KEY: &str = "open sesame";

/// The value of the one series of a metric that has all these labels.
async fn metric(node: &Node, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
    let (_, page) = http::get(node.http_address()?, "/metrics").await?;
    let is_it = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    };
    let line = page.lines().find(is_it).with_context(|| format!("no {name} with {labels:?}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

// req: B21, B22, B25, B27, B29, B44, D25, D31
#[tokio::test]
async fn a_canary_is_promoted_and_whoever_listens_hears_of_it() {
    promote_a_canary().await.unwrap();
}

async fn promote_a_canary() -> anyhow::Result<()> {
    let node = Node::start(Runtime::Process).await?;
    create_web(&node, Runtime::Process, "web", &["--replicas", "2"]).await?;
    let none = node.command(&["service", "canary", "promote", "web"]).await?;
    ensure!(none.code == Some(1) && none.talk.contains("web has no canary"), "{none:?}");

    let sink = Sink::open().await?;
    let key = node.scratch("key");
    std::fs::write(&key, KEY)?;
    let key = key.to_str().context("the path is text")?;
    let [gate, step, event] =
        ["pre_rollout", "per_step", "event"].map(|on| format!("{on}={}", sink.url(on)));
    let begin = ["service", "update", "web", "--env", "VERSION=v2", "--detach"];
    let canary = ["--strategy", "canary", "--canary-steps", "50,100", "--canary-window", "10m"];
    let hooks = ["--hook", &gate, "--hook", &step, "--hook", &event, "--hook-key-file", key];
    node.ok(&[&begin[..], &canary, &hooks].concat()).await?;

    let status = ["service", "canary", "status", "web"];
    wait::until("half of the traffic goes to the canary", SOON, async || {
        let seen = node.json(&status).await?;
        ensure!(seen["phase"] == "holding" && seen["weight_per_mille"] == 500, "{seen}");
        Ok(())
    })
    .await?;
    let page = node.ok(&status).await?;
    ensure!(page.contains("way:      v1 -> v2, canary\n") && page.contains("50%"), "{page}");
    let weight = metric(&node, "warren_canary_traffic_weight", &["service=\"web\"", "\"v2\""]);
    ensure!((weight.await? - 50.0).abs() < 0.1, "half of the traffic is 50");

    node.ok(&["service", "canary", "promote", "web"]).await?;
    node.ok(&["rollout", "watch", "web", "--timeout", "60s"]).await?;
    let ended = node.json(&status).await?;
    ensure!(ended["outcome"] == "completed" && ended["progress_percent"] == 100, "{ended}");
    ensure!(ended["duration_ms"].as_u64().is_some_and(|ms| ms < 300_000), "it held: {ended}");
    let over = node.command(&["service", "canary", "promote", "web"]).await?;
    ensure!(over.code == Some(1), "{over:?}");

    heard(&sink).await?;
    let done = ["strategy=\"canary\"", "status=\"success\""];
    ensure!(metric(&node, "warren_deployments_total", &done).await? >= 1.0);
    ensure!(metric(&node, "warren_hooks_total", &["point=\"pre_rollout\""]).await? >= 1.0);
    Ok(())
}

/// What came to the sink: the gates, every event, all of it signed and each call once.
async fn heard(sink: &Sink) -> anyhow::Result<()> {
    let calls = wait::until("the end of the release is told", SOON, async || {
        let calls = sink.calls();
        let told = calls.iter().any(|call| call.body.contains("\"action\":\"completed\""));
        ensure!(told, "{} calls", calls.len());
        Ok(calls)
    })
    .await?;
    let mut ids = BTreeSet::new();
    for call in &calls {
        call.is_signed_with(KEY)?;
        let event = call.headers.get("x-warren-event").map(String::as_str);
        ensure!(call.path.strip_prefix('/') == event, "{call:?}");
        let body: serde_json::Value = serde_json::from_str(&call.body)?;
        ensure!(body["service"] == "web" && body["to_revision"] == "v2", "{body}");
        ensure!(ids.insert(call.headers.get("idempotency-key").cloned()), "twice: {call:?}");
    }
    let count = |path: &str| calls.iter().filter(|call| call.path == path).count();
    let (gates, steps, events) = (count("/pre_rollout"), count("/per_step"), count("/event"));
    let told = || calls.iter().map(|call| call.body.as_str()).collect::<Vec<_>>().join("\n");
    ensure!(gates == 1 && steps == 2 && events >= 5, "{gates}, {steps}, {events}: {}", told());
    Ok(())
}

// req: B20, D40
#[tokio::test]
async fn a_global_service_is_updated_node_by_node_and_goes_back_as_well() {
    update_a_global_service().await.unwrap();
}

async fn update_a_global_service() -> anyhow::Result<()> {
    let node = Node::start(Runtime::Process).await?;
    create_web(&node, Runtime::Process, "agent", &["--mode", "global"]).await?;
    let one = async |version: &str| {
        let tasks = tasks(&node, "agent").await?;
        let [task] = &tasks[..] else { anyhow::bail!("{} tasks", tasks.len()) };
        let (is, state) = (format!("v{}", task["revision"]), text(task, "phase").to_owned());
        ensure!(is == version && state == "running", "{task}");
        Ok(task["id"].clone())
    };
    let first = one("v1").await?;
    let update = ["service", "update", "agent", "--strategy", "rolling", "--wait-timeout", "60s"];
    node.ok(&[&update[..], &["--env", "VERSION=v2"]].concat()).await?;
    let second = one("v2").await?;
    ensure!(first != second, "the task was not replaced");
    // It may be ready for the moment before it crashes, which is not long enough.
    let patient = ["--healthy-deadline", "5s", "--min-ready", "2s"];
    let bad = [&["--env", "FAULT_CRASH_AFTER_S=0"][..], &patient].concat();
    let said = node.command(&[&update[..], &bad].concat()).await?;
    ensure!(said.code == Some(6), "{said:#?}");
    ensure!(one("v2").await? == second, "the good task was replaced");
    Ok(())
}
