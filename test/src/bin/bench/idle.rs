//! What a node costs that has nothing to do, and one that runs a few healthy tasks.

use std::time::Duration;

use anyhow::Context as _;
use warren_test::binary;
use warren_test::cluster::{Node, Runtime};

use crate::{Figure, Unit, row};

/// How long the CPU is watched: several heartbeats, leases and probes.
const WATCHED: Duration = Duration::from_secs(10);
/// Linux counts CPU time in hundredths of a second on every machine one meets.
const TICKS_PER_SECOND: f64 = 100.0;

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
    let pid = node.run()?["pid"].to_string();
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

fn cpu_seconds(pid: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; after it come the fields from the third on.
    let fields = stat.rsplit(')').next().context("fields")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

fn resident_mib(pid: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
