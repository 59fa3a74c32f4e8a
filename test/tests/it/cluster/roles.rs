//! Roles that do not come as they were asked for.

use anyhow::{Context, ensure};
use std::net::TcpListener;
use warren_test::cluster::{Node, Runtime};
use warren_test::wait;

use super::{SOON, joined, node_named};

/// The value of an option that a running node was started with.
fn option(node: &Node, name: &str) -> anyhow::Result<String> {
    let pid = node.run()?["pid"].as_u64().context("a pid")?;
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    let mut words = line.split('\0').skip_while(|word| *word != name).skip(1);
    Ok(words.next().with_context(|| format!("no {name} in {line}"))?.to_owned())
}

async fn is(manager: &Node, name: &str, role: &str, in_raft: bool) -> anyhow::Result<()> {
    wait::until(&format!("{name} is a {role}"), SOON, async || {
        let node = node_named(manager, name).await?;
        ensure!(node["role"] == role && node["status"] == "up", "{node}");
        let info = manager.json(&["cluster", "info"]).await?;
        let managers = info["managers"].as_array().context("managers")?;
        let counted = managers.iter().any(|manager| manager["node_id"] == node["id"]);
        ensure!(counted == in_raft, "{info}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_worker_without_a_free_port_stays_one_until_it_can_be_a_manager() {
    taken_port().await.unwrap();
}

async fn taken_port() -> anyhow::Result<()> {
    let manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let mut worker = joined(&manager, "worker", "w1").await?;
    let port = option(&worker, "--listen")?;
    // A worker wants its port to prove that it lives, and does its work where another has it.
    worker.crash()?;
    let other = TcpListener::bind(&port).context("nobody has the port")?;
    worker.listen_at(&port);
    worker.resume().await?;
    manager.ok(&["node", "promote", "w1"]).await?;
    wait::until("it says what is in its way", SOON, async || {
        let node = node_named(&manager, "w1").await?;
        let problems = node["problems"].to_string();
        let words = ["it is to be a manager", "another process listens there", "--listen"];
        ensure!(node["status"] == "up", "{node}");
        ensure!(words.iter().all(|words| problems.contains(words)), "{node}");
        Ok(())
    })
    .await?;
    ensure!(!worker.has_ended()?, "it goes on as it was");
    ensure!(manager.ok(&["status"]).await?.contains("it is to be a manager"));
    drop(other);
    is(&manager, "w1", "manager", true).await?;
    wait::until("nothing is in its way", SOON, async || {
        let node = node_named(&manager, "w1").await?;
        ensure!(node["problems"].as_array().is_some_and(Vec::is_empty), "{node}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_manager_that_was_made_a_worker_before_it_had_the_log_starts_as_a_worker() {
    demoted_while_away().await.unwrap();
}

async fn demoted_while_away() -> anyhow::Result<()> {
    let manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let mut worker = joined(&manager, "worker", "w1").await?;
    manager.ok(&["node", "promote", "w1"]).await?;
    is(&manager, "w1", "manager", true).await?;
    wait::until("it is a manager by its own word", SOON, async || {
        ensure!(worker.run()?["role"] == "manager");
        Ok(())
    })
    .await?;
    worker.crash()?;
    manager.ok(&["node", "demote", "w1"]).await?;
    // As where it was promoted, and the log did not come before it ended.
    std::fs::remove_dir_all(worker.data_dir().join("raft"))?;
    worker.resume().await?;
    ensure!(worker.run()?["role"] == "worker");
    is(&manager, "w1", "worker", false).await
}

#[tokio::test]
async fn a_node_that_comes_back_with_another_s_name_keeps_its_own() {
    names().await.unwrap();
}

async fn names() -> anyhow::Result<()> {
    let manager = Node::start_with(Runtime::Process, &["--hostname", "m1"]).await?;
    let mut worker = joined(&manager, "worker", "w1").await?;
    let id = node_named(&manager, "w1").await?["id"].as_str().context("an id")?.to_owned();
    worker.stop().await?;
    worker.set_arguments(&["--hostname", "m1"]);
    worker.resume().await?;
    wait::until("it is there as before", SOON, async || {
        let node = node_named(&manager, "w1").await?;
        ensure!(node["id"] == *id && node["status"] == "up", "{node}");
        Ok(())
    })
    .await?;
    worker.stop().await?;
    worker.set_arguments(&["--hostname", "w2"]);
    worker.resume().await?;
    wait::until("a name that is free is taken", SOON, async || {
        let node = node_named(&manager, "w2").await?;
        ensure!(node["id"] == *id, "{node}");
        Ok(())
    })
    .await
}
