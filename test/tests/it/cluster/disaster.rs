//! Managers that are lost for good: a backup is restored, one of three goes on alone, and what comes back later with an
//! old log does no harm. Tasks run on through all of it.

mod guide;
mod recover;
mod restore;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use warren_test::cluster::{Node, Runtime};
use warren_test::wait;

use super::{SOON, node_named};

/// Writes that are acknowledged before something is lost.
const WRITES: usize = 12;

/// The processes of the tasks of a node: the process runtime starts them from a copy in the data directory.
pub(crate) fn pids(node: &Node) -> anyhow::Result<BTreeSet<u32>> {
    let folder = node.data_dir().canonicalize()?;
    let entries = std::fs::read_dir("/proc")?.flatten();
    let found = entries.filter_map(|entry| {
        let program = std::fs::read_link(entry.path().join("exe")).ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        program.starts_with(&folder).then_some(pid)
    });
    Ok(found.collect())
}

/// Makes `web`, whose tasks run on workers, and waits until they are ready.
async fn create_web(node: &Node, replicas: &str) -> anyhow::Result<()> {
    let image = Runtime::Process.web_image("v1").await?;
    let create = ["service", "create", "web", "--image", &image, "--replicas", replicas];
    let port = ["--port", "http=8080", "--health-http", "8080/health", "--min-ready", "0s"];
    let place = ["--constraint", "node.role == worker"];
    node.ok(&[&create[..], &port, &place].concat()).await.map(drop)
}

/// Writes to the cluster, each acknowledged before the next.
async fn write(node: &Node, name: &str) -> anyhow::Result<()> {
    for number in 0..WRITES {
        node.ok(&["node", "label", name, &format!("write-{number}={number}")]).await?;
    }
    Ok(())
}

/// All of these are there.
async fn written(node: &Node, name: &str) -> anyhow::Result<()> {
    let labels = node_named(node, name).await?["labels"].clone();
    for number in 0..WRITES {
        let label = &labels[format!("write-{number}")];
        ensure!(label.as_str() == Some(&number.to_string()), "write {number} is lost: {labels}");
    }
    Ok(())
}

/// Waits until `web` has so many ready tasks, and gives their ids.
async fn ready(node: &Node, count: usize) -> anyhow::Result<BTreeSet<String>> {
    wait::until(&format!("{count} tasks are ready"), SOON, async || {
        let tasks = node.json(&["service", "ps", "web"]).await?;
        let tasks = tasks.as_array().context("a list")?.clone();
        let ready = tasks.iter().filter(|task| task["ready"] == true);
        let ids: BTreeSet<String> =
            ready.filter_map(|task| Some(task["id"].as_str()?.to_owned())).collect();
        ensure!(ids.len() == count, "{tasks:?}");
        Ok(ids)
    })
    .await
}

async fn up(node: &Node, name: &str) -> anyhow::Result<()> {
    wait::until(&format!("{name} is up"), SOON, async || {
        let known = node_named(node, name).await?;
        ensure!(known["status"] == "up", "{known}");
        Ok(())
    })
    .await
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path is text")
}
