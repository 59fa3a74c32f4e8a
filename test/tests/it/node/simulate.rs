//! Releases that are played beforehand: from a file without a cluster, and from a service that runs.

use super::create_web;
use anyhow::ensure;
use serde_json::Value;
use warren_test::cluster::{Node, Runtime, Said};

const MANIFEST: &str = "\
name: web
replicas: 4
image: web:v1
update: {strategy: canary}
canary: {steps: [{weight: 25, hold: 1m}, {weight: 100}]}
";

fn read(said: &Said, code: i32) -> anyhow::Result<Value> {
    ensure!(said.code == Some(code), "{said:#?}");
    Ok(serde_json::from_str(&said.out)?)
}

// req: C34
#[tokio::test]
async fn a_release_is_played_without_a_cluster() {
    from_a_file().await.unwrap();
}

async fn from_a_file() -> anyhow::Result<()> {
    let nobody = Node::stopped(Runtime::Process, &[])?;
    let simulate = ["rollout", "simulate", "--file", "-", "--output", "json"];
    let play = async |more: &[&str]| {
        nobody.command_with_input(&[&simulate[..], more].concat(), MANIFEST).await
    };
    let good = read(&play(&[]).await?, 0)?;
    ensure!(good["outcome"] == "completed" && good["lost_ms"] == 0, "{good:#}");
    ensure!(good["lasted_ms"].as_u64().is_some_and(|ms| ms > 60_000), "{good:#}");
    let again = read(&play(&[]).await?, 0)?;
    ensure!(good == again, "the same seed plays something else");
    let bad = play(&["--fault", "crash:v2@50%"]).await?;
    ensure!(bad.talk.contains("web: simulated: rolled back after"), "{bad:#?}");
    ensure!(read(&bad, 6)?["outcome"] == "rolled-back");
    let lost = read(&play(&["--fault", "node-loss@30s", "--nodes", "4"]).await?, 0)?;
    ensure!(lost["lost_ms"].as_u64().is_some_and(|ms| ms > 0), "{lost:#}");
    let asked = ["--approve-roles", "captain", "--nobody-approves"];
    ensure!(read(&play(&asked).await?, 4)?["outcome"] == "waits");
    let wrong = play(&["--fault", "rain"]).await?;
    ensure!(wrong.code == Some(2) && wrong.talk.contains("there is no fault"), "{wrong:?}");
    Ok(())
}

#[tokio::test]
async fn a_release_of_a_service_is_played_and_nothing_changes() {
    from_a_cluster().await.unwrap();
}

async fn from_a_cluster() -> anyhow::Result<()> {
    let node = Node::start(Runtime::Process).await?;
    create_web(&node, Runtime::Process, "web", &["--replicas", "2"]).await?;
    node.ok(&["service", "update", "web", "--env", "A=1", "--wait-timeout", "60s"]).await?;
    let before = node.json(&["service", "inspect", "web"]).await?;
    let text = node.ok(&["rollout", "simulate", "web", "--strategy", "blue-green"]).await?;
    ensure!(text.starts_with("release: web, v2 -> v3, blue-green\nmodel:   2 tasks on 1 node\n"));
    ensure!(text.contains("outcome: completed\n"), "{text}");
    let bad = ["rollout", "simulate", "web", "--env", "A=2", "--fault", "never-ready:v3"];
    let said = node.command(&bad).await?;
    ensure!(said.code == Some(6), "{said:#?}");
    let after = node.json(&["service", "inspect", "web"]).await?;
    ensure!(before["service"]["generation"] == after["service"]["generation"], "{after:#}");
    let said = node.command(&["rollout", "simulate", "nobody"]).await?;
    ensure!(said.code == Some(3), "{said:?}");
    Ok(())
}
