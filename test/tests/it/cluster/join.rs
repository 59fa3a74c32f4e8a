//! How machines get in, and how they do not.

use anyhow::ensure;
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::wait;

use super::{SOON, joined, node_named, token};

#[tokio::test]
async fn a_worker_joins_with_one_command_and_runs_tasks() {
    worker_joins().await.unwrap();
}

async fn worker_joins() -> anyhow::Result<()> {
    let manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let mut worker = joined(&manager, "worker", "w1").await?;
    ensure!(node_named(&manager, "w1").await?["role"] == "worker");
    let image = Runtime::Process.web_image("v1").await?;
    let create = ["service", "create", "web", "--image", &image, "--replicas", "4"];
    let port = ["--port", "http=8080", "--health-http", "8080/health", "--min-ready", "0s"];
    manager.ok(&[&create[..], &port].concat()).await?;
    let tasks = manager.json(&["service", "ps", "web"]).await?;
    let on = |name: &str| {
        tasks.as_array().into_iter().flatten().filter(|task| task["node"] == name).count()
    };
    ensure!(on("m1") == 2 && on("w1") == 2, "spread over both: {tasks}");
    // Every node answers for the whole cluster.
    for node in [&manager, &worker] {
        super::super::node::resolve(node, "web.warren.", 4).await?;
    }
    // It comes back as itself, without a token, and its tasks were never stopped.
    let starts = |tasks: &Value| {
        tasks.as_array().map(|all| all.iter().map(|task| task["id"].clone()).collect::<Vec<_>>())
    };
    let before = starts(&tasks);
    worker.crash()?;
    worker.resume().await?;
    wait::until("all tasks are ready again", SOON, async || {
        let tasks = manager.json(&["service", "ps", "web"]).await?;
        let ready = tasks.as_array().into_iter().flatten().all(|task| task["ready"] == true);
        ensure!(ready && starts(&tasks) == before, "{tasks}");
        Ok(())
    })
    .await?;
    let said = worker.command(&["node", "ls"]).await?;
    ensure!(said.code == Some(5) && said.talk.contains("worker"), "{said:?}");
    ensure!(said.talk.contains(manager.listen()), "it says where managers are: {said:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_gets_in_without_a_good_token_and_is_told_why() {
    bad_joins().await.unwrap();
}

async fn bad_joins() -> anyhow::Result<()> {
    let manager = Node::start(Runtime::Process).await?;
    let other = Node::start(Runtime::Process).await?;
    let worker = joined(&manager, "worker", "w1").await?;
    let good = token(&manager, "worker").await?;
    let machine = Node::stopped(Runtime::Process, &[])?;
    let refused = async |join: &str, token: &str, exit: i32, why: &str| {
        let arguments = ["--http", "off", "--join", join, "--token", token];
        let said = machine.refused(&arguments).await?;
        ensure!(said.code == Some(exit) && said.talk.contains(why), "{join} {why}: {said:?}");
        anyhow::Ok(())
    };
    let (before, _) = good.rsplit_once('-').unwrap_or_default();
    let unknown = format!("{before}-{}", "0".repeat(32));
    refused(manager.listen(), &unknown, 1, "no such join token").await?;
    refused(manager.listen(), "WRN-1-abc", 2, "not complete").await?;
    refused(manager.listen(), "SWMTKN-1-abc", 2, "begins with WRN-1-").await?;
    refused("nowhere", &good, 2, "10.0.0.1:7400").await?;
    let foreign = token(&other, "worker").await?;
    refused(manager.listen(), &foreign, 1, "another cluster than the token").await?;
    let http = manager.http_address()?.to_string();
    refused(&http, &good, 1, "not the port of a Warren").await?;
    refused("127.0.0.1:1", &good, 1, "cannot be reached").await?;
    let said = machine.refused(&["--http", "off", "--join", manager.listen()]).await?;
    ensure!(said.code == Some(2) && said.talk.contains("--token"), "{said:?}");
    // Revoked, it lets nobody in any more; what joined with it stays.
    manager.ok(&["cluster", "token", "worker", "--revoke"]).await?;
    refused(manager.listen(), &good, 1, "revoked").await?;
    ensure!(node_named(&manager, "w1").await?["status"] == "up");
    drop(worker);
    // Nothing of all that is kept: the same machine may still join.
    let mut machine = machine;
    let token = token(&manager, "worker").await?;
    machine.set_arguments(&["--join", manager.listen(), "--token", &token, "--hostname", "late"]);
    machine.resume().await?;
    ensure!(node_named(&manager, "late").await?["status"] == "up");
    Ok(())
}

#[tokio::test]
async fn a_removed_node_is_out_and_a_copied_one_is_noticed() {
    removed_and_copied().await.unwrap();
}

async fn removed_and_copied() -> anyhow::Result<()> {
    let manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let mut worker = joined(&manager, "worker", "w1").await?;
    let said = manager.command(&["node", "rm", "w1"]).await?;
    ensure!(said.code == Some(1) && said.talk.contains("it is up"), "{said:?}");
    let said = manager.command(&["node", "rm", "m1", "--force", "--yes"]).await?;
    ensure!(said.code == Some(1) && said.talk.contains("demote m1"), "{said:?}");
    let said = manager.command(&["node", "demote", "m1"]).await?;
    ensure!(said.code == Some(1) && said.talk.contains("only manager"), "{said:?}");
    manager.ok(&["node", "rm", "w1", "--force", "--yes"]).await?;
    ensure!(node_named(&manager, "w1").await.is_err(), "it is gone");
    wait::until("the removed node knows", SOON, async || {
        let log = worker.log_end();
        ensure!(log.contains("no node of the cluster, or was removed"), "{log}");
        Ok(())
    })
    .await?;
    worker.crash()?;
    Ok(())
}
