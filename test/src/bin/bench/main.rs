//! `make bench`: Warren beside its peers on this machine, in one run. Absolute figures are this machine's; the ratios
//! are what to compare.

mod etcd;
mod failover;
mod idle;
mod managers;
mod nodes;
mod process;
mod raw;
mod rolling;
mod scale;
mod start;
mod swarm;
mod switch;
mod wire;
mod writer;
mod writes;

use std::io::Write as _;

/// All parts. `scale-NODES` with any other number of nodes is one as well.
const ALL: [&str; 12] = [
    "idle",
    "writes",
    "start",
    "switch",
    "rolling",
    "writes-3",
    "failover",
    "nodes",
    "switch-3",
    "wire",
    "scale-1000",
    "scale-5000",
];

/// `bench` runs all parts; `bench switch rolling` only those.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|word| !is_part(word)) {
        anyhow::bail!("`{unknown}` is no part; there are: {}, scale-NODES", ALL.join(", "));
    }
    let parts = if wanted.is_empty() { ALL.map(str::to_owned).to_vec() } else { wanted };
    say(&process::conditions());
    say("| what | Warren | peer | ratio | aim |\n|---|---|---|---|---|");
    tokio::select! {
        done = measure(&parts) => done,
        // What was made is dropped with the work, and takes itself away: nodes, containers, the swarm.
        _ = tokio::signal::ctrl_c() => {
            say("interrupted: what was made for it is being removed");
            anyhow::bail!("interrupted")
        }
    }
}

async fn measure(parts: &[String]) -> anyhow::Result<()> {
    for part in parts {
        match part.as_str() {
            "idle" => idle::run().await?,
            "writes" => writes::run().await?,
            "start" => start::run().await?,
            "switch" => switch::run().await?,
            "rolling" => rolling::run().await?,
            "writes-3" => writes::replicated().await?,
            "failover" => failover::run().await?,
            "nodes" => nodes::run().await?,
            "switch-3" => switch::everywhere().await?,
            "wire" => wire::run().await?,
            other => match scale_of(other) {
                Some(nodes) => scale::run(nodes).await?,
                None => anyhow::bail!("`{other}` is no part"),
            },
        }
    }
    Ok(())
}

fn is_part(word: &str) -> bool {
    ALL.contains(&word) || scale_of(word).is_some()
}

/// How many nodes `scale-NODES` means.
fn scale_of(word: &str) -> Option<usize> {
    word.strip_prefix("scale-")?.parse().ok().filter(|nodes| *nodes > 0)
}

/// Prints at once: a bench takes minutes, and its reader watches.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// One line of the table. The ratio is taken so that more than 1 is better than the peer.
fn row(what: &str, ours: Figure, peer: Option<(&str, Figure)>, aim: &str) {
    let (shown, ratio) = match peer {
        Some((name, theirs)) => {
            let ratio = match ours.unit {
                Unit::PerSecond | Unit::FewPerSecond | Unit::MebibytesPerSecond => {
                    ours.value / theirs.value
                }
                Unit::Seconds
                | Unit::Milliseconds
                | Unit::Percent
                | Unit::Mebibytes
                | Unit::Bytes
                | Unit::Count => theirs.value / ours.value,
            };
            (format!("{theirs} {name}"), format!("{ratio:.2}×"))
        }
        None => ("–".to_owned(), "–".to_owned()),
    };
    say(&format!("| {what} | {ours} | {shown} | {ratio} | {aim} |"));
}

/// A measured value.
#[derive(Clone, Copy)]
struct Figure {
    value: f64,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    PerSecond,
    FewPerSecond,
    Seconds,
    Milliseconds,
    Percent,
    Mebibytes,
    MebibytesPerSecond,
    Bytes,
    Count,
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.value;
        match self.unit {
            Unit::PerSecond => write!(f, "{value:.0}/s"),
            Unit::FewPerSecond => write!(f, "{value:.2}/s"),
            Unit::MebibytesPerSecond => write!(f, "{value:.0} MiB/s"),
            Unit::Bytes => write!(f, "{value:.0} B"),
            Unit::Seconds => write!(f, "{value:.2} s"),
            Unit::Milliseconds if value < 1.0 => write!(f, "{value:.3} ms"),
            Unit::Milliseconds => write!(f, "{value:.1} ms"),
            Unit::Count => write!(f, "{value:.0}"),
            Unit::Percent => write!(f, "{value:.2} %"),
            Unit::Mebibytes => write!(f, "{value:.1} MiB"),
        }
    }
}

/// The middle one of several runs; a single run on a busy machine says little.
fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}
