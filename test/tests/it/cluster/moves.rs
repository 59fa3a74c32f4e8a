//! Tasks that are moved because an operator says so: away from a node, within what services can spare or by a deadline.

use anyhow::ensure;
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::load::Load;
use warren_test::wait;

use super::{SOON, joined, node_named};

/// A service whose every task has a node to itself.
async fn spread_service(node: &Node, replicas: &str) -> anyhow::Result<()> {
    let image = Runtime::Process.web_image("v1").await?;
    let create = ["service", "create", "web", "--image", &image, "--replicas", replicas];
    let rest = ["--port", "http=8080", "--max-per-node", "1", "--min-ready", "0s"];
    node.ok(&[&create[..], &rest].concat()).await?;
    Ok(())
}

/// How many tasks run on each node, by its name.
async fn on(node: &Node, name: &str) -> anyhow::Result<usize> {
    let tasks = node.json(&["service", "ps", "web"]).await?;
    let there = |task: &&Value| task["node"] == name && task["phase"] == "running";
    Ok(tasks.as_array().into_iter().flatten().filter(there).count())
}

#[tokio::test]
async fn a_drain_with_a_deadline_ends_by_it_under_whoever_leads() {
    drained_by_a_deadline().await.unwrap();
}

async fn drained_by_a_deadline() -> anyhow::Result<()> {
    let mut first = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let worker = joined(&first, "worker", "w1").await?;
    spread_service(&first, "2").await?;
    // Nowhere to go, and none may be missing: without a deadline it would stay for ever.
    first.ok(&["node", "drain", "w1"]).await?;
    let drained = node_named(&first, "w1").await?;
    ensure!(drained["availability"] == "drain" && drained["drain_left_ms"].is_null(), "{drained}");
    first.ok(&["node", "drain", "w1", "--deadline", "20s"]).await?;
    let left = node_named(&first, "w1").await?["drain_left_ms"].as_u64().unwrap_or_default();
    ensure!((1..=20_000).contains(&left), "{left}");
    ensure!(on(&first, "w1").await? == 1, "it has time");
    let status = first.ok(&["status"]).await?;
    ensure!(status.contains("w1: 1 task to go"), "{status}");
    // The deadline is agreed, so it outlives who leads.
    first.crash()?;
    first.resume().await?;
    let after = node_named(&first, "w1").await?["drain_left_ms"].as_u64();
    ensure!(after.is_some_and(|after| after <= left), "{after:?} of {left}");
    wait::until("the deadline ends the drain", SOON, async || {
        let drained = node_named(&first, "w1").await?;
        ensure!(drained["tasks"] == 0 && drained["drain_left_ms"] == 0, "{drained}");
        Ok(())
    })
    .await?;
    ensure!(on(&first, "m1").await? == 1, "what is elsewhere is not touched");
    let audit = first.ok(&["audit"]).await?;
    ensure!(audit.contains("node drain") && audit.contains("within 20 s"), "{audit}");
    drop(worker);
    Ok(())
}

/// How many tasks run on each of these nodes.
async fn on_each<const N: usize>(node: &Node, names: [&str; N]) -> anyhow::Result<[usize; N]> {
    let mut counts = [0; N];
    for (count, name) in counts.iter_mut().zip(names) {
        *count = on(node, name).await?;
    }
    Ok(counts)
}

#[tokio::test]
async fn what_is_on_one_node_is_spread_when_somebody_asks() {
    spread_again().await.unwrap();
}

async fn spread_again() -> anyhow::Result<()> {
    let first = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let image = Runtime::Process.web_image("v1").await?;
    let create = ["service", "create", "web", "--image", &image, "--replicas", "3"];
    let rest = ["--port", "http=8080", "--health-http", "8080/health", "--min-ready", "0s"];
    first.ok(&[&create[..], &rest].concat()).await?;
    let second = joined(&first, "worker", "w1").await?;
    let third = joined(&first, "worker", "w2").await?;
    let names = ["m1", "w1", "w2"];
    ensure!(on_each(&first, names).await? == [3, 0, 0], "nothing moves by itself");
    let load = Load::start(&first, &["web"]).await?;
    let plan = first.json(&["rebalance", "--plan", "web"]).await?;
    let moves = plan["moves"].as_array().cloned().unwrap_or_default();
    ensure!(moves.len() == 2 && moves.iter().all(|one| one["from_node"] == "m1"), "{plan}");
    let said = first.command(&["rebalance", "--plan"]).await?;
    ensure!(said.out.contains("3 of the service there, 0 here"), "{said:?}");
    ensure!(on_each(&first, names).await? == [3, 0, 0], "it was only said");
    let done = first.json(&["rebalance"]).await?;
    ensure!(done["moves"] == plan["moves"], "{done} {plan}");
    wait::until("the tasks are spread", SOON, async || {
        let counts = on_each(&first, names).await?;
        ensure!(counts == [1, 1, 1], "{counts:?}");
        Ok(())
    })
    .await?;
    let again = first.json(&["rebalance", "--plan"]).await?;
    ensure!(again["moves"] == serde_json::json!([]), "{again}");
    load.all_answered("web", "while its tasks were moved")?;
    let audit = first.ok(&["audit"]).await?;
    ensure!(audit.contains("rebalance") && audit.contains("2 tasks"), "{audit}");
    drop((second, third));
    Ok(())
}
