//! What a process costs, and under which conditions all of this is measured.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use warren_test::cluster::Node;

/// Linux counts CPU time in hundredths of a second on every machine one meets.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process of a node, as `/proc` names it.
pub(crate) fn pid(node: &Node) -> anyhow::Result<String> {
    Ok(node.run()?["pid"].to_string())
}

/// CPU time that a process has used, in seconds.
pub(crate) fn cpu_seconds(pid: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; after it come the fields from the third on.
    let fields = stat.rsplit(')').next().context("fields")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// Lowers the priority of every thread of this process, and of those that they begin. Processes that it started before
/// keep theirs.
pub(crate) fn give_way(by: u32) -> anyhow::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?;
    let threads = threads.map(|thread| Ok(thread?.file_name())).collect::<anyhow::Result<Vec<_>>>();
    let mut renice = Command::new("renice");
    renice.args(["--priority", &by.to_string(), "--pid"]).args(threads?);
    let done = renice.output().context("renice (package util-linux or bsdutils)")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// What it has in memory.
pub(crate) fn resident_mib(pid: &str) -> anyhow::Result<f64> {
    status_mib(pid, "VmRSS:")
}

/// The most that it ever had in memory.
pub(crate) fn peak_mib(pid: &str) -> anyhow::Result<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: &str, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("a size")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// One line that says what the figures below it were measured on.
pub(crate) fn conditions() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let folder = std::env::temp_dir();
    format!(
        "conditions: {cores} cores, {profile} build, store redb on {} ({}), load {} at the start",
        folder.display(),
        file_system(&folder),
        load.join(" ")
    )
}

/// The kind of file system that holds `folder`: a store in memory is no store.
fn file_system(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = mounts.filter(|(at, _)| folder.starts_with(at));
    let nearest = holding.max_by_key(|(at, _)| at.len());
    nearest.map_or("unknown", |(_, kind)| kind).to_owned()
}
