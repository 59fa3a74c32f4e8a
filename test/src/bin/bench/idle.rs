//! What a node costs that has nothing to do, and one that runs a few healthy tasks.

use std::time::Duration;

use warren_test::binary;
use warren_test::cluster::{Node, Runtime};

use crate::process::{cpu_seconds, pid, resident_mib};
use crate::{Figure, Unit, row};

/// How long the CPU is watched: several heartbeats, leases and probes.
const WATCHED: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> anyhow::Result<()> {
    #[expect(clippy::cast_precision_loss, reason = "a file's size is far below 2^52")]
    let mib = std::fs::metadata(binary::warren()?)?.len() as f64 / f64::from(1 << 20);
    row("size of the binary", Figure { value: mib, unit: Unit::Mebibytes }, None, "≤ 30 MiB");
    let node = Node::start(Runtime::Process).await?;
    measure(&node, "idle").await?;
    let image = Runtime::Process.web_image("v1").await?;
    let create = ["service", "create", "web", "--image", &image, "--replicas", "5"];
    let health = ["--health-http", "8080/health", "--min-ready", "0s", "--port", "http=8080"];
    node.ok(&[&create[..], &health].concat()).await?;
    measure(&node, "5 tasks, probed every 10 s").await
}

async fn measure(node: &Node, when: &str) -> anyhow::Result<()> {
    let pid = pid(node)?;
    let before = cpu_seconds(&pid)?;
    tokio::time::sleep(WATCHED).await;
    let used = cpu_seconds(&pid)? - before;
    let percent = 100.0 * used / WATCHED.as_secs_f64();
    let cpu = Figure { value: percent, unit: Unit::Percent };
    row(&format!("CPU of one core, {when}"), cpu, None, "–");
    let memory = Figure { value: resident_mib(&pid)?, unit: Unit::Mebibytes };
    row(&format!("resident memory, {when}"), memory, None, "≤ 60 MiB");
    Ok(())
}
