//! `make bench`: Warren beside its peers on this machine, in one run. Absolute figures are this machine's; the ratios
//! are what to compare.

mod etcd;
mod idle;
mod raw;
mod rolling;
mod start;
mod swarm;
mod switch;
mod writes;

use std::io::Write as _;

/// `bench` runs all parts; `bench switch rolling` only those.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all = ["idle", "writes", "start", "switch", "rolling"];
    if let Some(unknown) = wanted.iter().find(|word| !all.contains(&word.as_str())) {
        anyhow::bail!("`{unknown}` is no part; there are: {}", all.join(", "));
    }
    say("| what | Warren | peer | ratio | aim |\n|---|---|---|---|---|");
    tokio::select! {
        done = measure(&wanted, &all) => done,
        // What was made is dropped with the work, and takes itself away: nodes, containers, the swarm.
        _ = tokio::signal::ctrl_c() => {
            say("interrupted: what was made for it is being removed");
            anyhow::bail!("interrupted")
        }
    }
}

async fn measure(wanted: &[String], all: &[&str]) -> anyhow::Result<()> {
    let is_wanted = |part: &&&str| wanted.is_empty() || wanted.iter().any(|w| w == **part);
    for part in all.iter().filter(is_wanted) {
        match *part {
            "idle" => idle::run().await?,
            "writes" => writes::run().await?,
            "start" => start::run().await?,
            "switch" => switch::run().await?,
            _ => rolling::run().await?,
        }
    }
    Ok(())
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
                Unit::PerSecond => ours.value / theirs.value,
                Unit::Seconds
                | Unit::Milliseconds
                | Unit::Percent
                | Unit::Mebibytes
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
    Seconds,
    Milliseconds,
    Percent,
    Mebibytes,
    Count,
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.value;
        match self.unit {
            Unit::PerSecond => write!(f, "{value:.0}/s"),
            Unit::Seconds => write!(f, "{value:.2} s"),
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
