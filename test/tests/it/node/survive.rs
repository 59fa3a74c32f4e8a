//! What outlives a node's end, and who is refused its place.

use anyhow::ensure;
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::http;

use super::{create_web, on_each_runtime, resolve, tasks, text};

on_each_runtime!(
    tasks_survive_a_crash_and_are_adopted,
    tasks_survive_a_stop_and_are_adopted,
    one_directory_has_one_node,
);

/// What must be the same before and after: which tasks, where, and that none was started anew.
fn identities(tasks: &[Value]) -> Vec<(String, String, Option<u64>)> {
    let identity =
        |task| (text(task, "id").to_owned(), text(task, "address").to_owned(), restarts(task));
    let mut all: Vec<_> = tasks.iter().map(identity).collect();
    all.sort();
    all
}

fn restarts(task: &Value) -> Option<u64> {
    task["restarts"].as_u64()
}

async fn tasks_survive_a_crash_and_are_adopted(runtime: Runtime) -> anyhow::Result<()> {
    let mut node = Node::start(runtime).await?;
    create_web(&node, runtime, "web", &["--replicas", "2"]).await?;
    let before = identities(&tasks(&node, "web").await?);
    let addresses = resolve(&node, "web.warren.", 2).await?;
    // Written into the running process: a task that was started anew would have forgotten it.
    http::post(addresses[0], "/admin/faults", "queue_stall=1").await?;
    node.crash()?;
    for address in &addresses {
        ensure!(http::get(*address, "/").await?.0 == 200, "{address} runs on");
    }
    node.resume().await?;
    ensure!(resolve(&node, "web.warren.", 2).await? == addresses);
    let after = identities(&tasks(&node, "web").await?);
    ensure!(before == after, "{before:?} became {after:?}");
    let (_, faults) = http::get(addresses[0], "/admin/faults").await?;
    ensure!(faults.contains("\"queue_stall\":true"), "{faults}");
    Ok(())
}

async fn tasks_survive_a_stop_and_are_adopted(runtime: Runtime) -> anyhow::Result<()> {
    let mut node = Node::start(runtime).await?;
    create_web(&node, runtime, "web", &[]).await?;
    let addresses = resolve(&node, "web.warren.", 1).await?;
    http::post(addresses[0], "/admin/faults", "queue_stall=1").await?;
    let status = node.stop().await?;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(http::get(addresses[0], "/").await?.0 == 200, "it runs on");
    let said = node.command(&["status"]).await?;
    ensure!(said.code == Some(5), "{said:?}");
    node.resume().await?;
    ensure!(resolve(&node, "web.warren.", 1).await? == addresses);
    let (_, faults) = http::get(addresses[0], "/admin/faults").await?;
    ensure!(faults.contains("\"queue_stall\":true"), "{faults}");
    Ok(())
}

async fn one_directory_has_one_node(runtime: Runtime) -> anyhow::Result<()> {
    let node = Node::start(runtime).await?;
    let said = node.refused(&["--http", "127.0.0.1:0"]).await?;
    ensure!(said.code == Some(1) && said.talk.contains("already"), "{said:?}");
    let pid = node.run()?["pid"].to_string();
    ensure!(said.talk.contains(&pid), "it names process {pid}: {said:?}");
    node.ok(&["status"]).await?;
    Ok(())
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let node = Node::stopped(Runtime::Process, &[]).unwrap();
    let said = node.refused(&["--http", &address]).await.unwrap();
    assert!(said.talk.contains(&address), "{said:?}");
    let file = node.scratch("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    let said = node.command(&["up", "--data-dir", below.to_str().unwrap()]).await.unwrap();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains("data directory") && said.talk.contains("--data-dir"), "{said:?}");
}
