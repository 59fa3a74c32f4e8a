//! Several real nodes on one machine, each with its own process, data and ports: how they become a cluster, and what it
//! survives. Tasks are processes here; with containers and networks of their own, the testbed does the same.

mod access;
mod alone;
mod audit;
mod certificates;
mod copies;
mod disaster;
mod disks;
mod failover;
mod histories;
mod join;
mod managers;
mod moves;
mod permissions;
mod refused;
mod roles;
mod secrets;
mod stale;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::wait;

/// Long for anything that a small cluster does; only a broken one needs it.
const SOON: Duration = Duration::from_secs(60);

/// A token of the cluster of `node` for machines that become `role`.
async fn token(node: &Node, role: &str) -> anyhow::Result<String> {
    Ok(node.ok(&["cluster", "token", role, "--quiet"]).await?.trim().to_owned())
}

/// A machine that joins the cluster of `node` as `role`, and is ready.
async fn joined(node: &Node, role: &str, name: &str) -> anyhow::Result<Node> {
    let token = token(node, role).await?;
    let arguments = ["--join", node.listen(), "--token", &token, "--hostname", name];
    Node::start_with(Runtime::Process, &arguments).await
}

/// Three managers that all vote.
async fn three_managers() -> anyhow::Result<Vec<Node>> {
    let first = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let second = joined(&first, "manager", "m2").await?;
    let third = joined(&first, "manager", "m3").await?;
    voters(&first, 3).await?;
    Ok(vec![first, second, third])
}

/// Waits until so many managers vote, as `node` knows it.
async fn voters(node: &Node, count: usize) -> anyhow::Result<()> {
    wait::until(&format!("{count} managers vote"), SOON, async || {
        let info = node.json(&["cluster", "info"]).await?;
        let managers = info["managers"].as_array().context("managers")?;
        let voting = managers.iter().filter(|manager| manager["votes"] == true).count();
        ensure!(voting == count, "{managers:?}");
        Ok(())
    })
    .await
}

/// The nodes of the cluster, by host name, as `node` answers.
async fn node_named(node: &Node, name: &str) -> anyhow::Result<Value> {
    let nodes = node.json(&["node", "ls"]).await?;
    let found = nodes.as_array().context("a list")?.iter().find(|node| node["hostname"] == name);
    Ok(found.with_context(|| format!("no node {name} in {nodes}"))?.clone())
}

/// The place of the manager that leads, as the one at `asked` knows it.
async fn leader(managers: &[Node], asked: usize) -> anyhow::Result<usize> {
    wait::until("somebody leads", SOON, async || {
        let cluster = managers[asked].json(&["cluster", "info"]).await?;
        let leader = cluster["leader_id"].as_str().unwrap_or_default();
        // One that has stopped by itself has taken the note about its run away; it does not lead.
        let leads = |manager: &Node| manager.run().is_ok_and(|run| run["node_id"] == leader);
        managers.iter().position(leads).with_context(|| format!("{leader:?} leads"))
    })
    .await
}
