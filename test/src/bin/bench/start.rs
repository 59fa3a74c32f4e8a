//! From a create command to ready tasks, beside `docker run` of the same image.

use std::process::Stdio;
use std::time::Instant;

use anyhow::ensure;
use tokio::process::Command;
use warren_test::cluster::{Node, Runtime};
use warren_test::image;

use crate::{Figure, Unit, median, row, say};

const RUNS: usize = 3;

pub(crate) async fn run() -> anyhow::Result<()> {
    let Some(docker) = image::docker().await else {
        say("| (no Docker engine answers: starts are not compared) | | | | |");
        return Ok(());
    };
    let name = image::web(&docker, "v1").await?;
    let node = Node::start(Runtime::Docker).await?;
    for (count, aim) in [(1, "≥ 0.77× (at most 1.3 times as long)"), (20, "> 1×")] {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..RUNS {
            ours.push(warren(&node, &name, count).await?);
            theirs.push(docker_run(&name, count).await?);
        }
        let seconds = |runs| Figure { value: median(runs), unit: Unit::Seconds };
        let what = format!("create to ready, {count} tasks");
        row(&what, seconds(ours), Some(("docker run, one by one", seconds(theirs))), aim);
    }
    Ok(())
}

async fn warren(node: &Node, image: &str, count: u32) -> anyhow::Result<f64> {
    let start = Instant::now();
    let replicas = count.to_string();
    let create = ["service", "create", "bench", "--image", image, "--replicas", &replicas];
    node.ok(&[&create[..], &["--min-ready", "0s"]].concat()).await?;
    let took = start.elapsed().as_secs_f64();
    node.ok(&["service", "rm", "bench", "--yes"]).await?;
    Ok(took)
}

async fn docker_run(image: &str, count: u32) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut made = Vec::new();
    for _ in 0..count {
        let output = Command::new("docker").args(["run", "--detach", image]).output().await?;
        made.push(String::from_utf8(output.stdout)?.trim().to_owned());
        ensure!(output.status.success(), "docker run: {}", output.status);
    }
    let took = start.elapsed().as_secs_f64();
    let mut remove = Command::new("docker");
    remove.args(["rm", "--force"]).args(made).stdout(Stdio::null());
    ensure!(remove.status().await?.success(), "docker rm");
    Ok(took)
}
