//! Durable writes a second: the engines alone and with Raft around them, beside the bare disk. Medians of three runs in
//! turn; the ratios are what to compare.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use warren_raft::StoreKind;
use warren_test::bench_store::{Rate, disk, engine, manager};

const TIME: Duration = Duration::from_secs(2);
const RUNS: usize = 3;
const WRITERS: [usize; 2] = [1, 64];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "| writers | what | writes/s | p50 µs | p99 µs | of the bare disk |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for writers in WRITERS {
        let mut runs: [Vec<Rate>; 5] = Default::default();
        for _ in 0..RUNS {
            for (which, runs) in runs.iter_mut().enumerate() {
                let dir = tempfile::tempdir()?;
                runs.push(measure(which, dir.path(), writers).await?);
            }
        }
        let medians = runs.map(|mut runs| {
            runs.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
            runs[RUNS / 2]
        });
        for (name, rate) in NAMES.iter().zip(medians) {
            let (p50, p99) = (rate.p50.as_micros(), rate.p99.as_micros());
            let ratio = rate.per_second / medians[0].per_second;
            let per_second = rate.per_second;
            writeln!(
                out,
                "| {writers} | {name} | {per_second:.0} | {p50} | {p99} | {ratio:.2}× |"
            )?;
        }
    }
    Ok(())
}

const NAMES: [&str; 5] = ["bare disk", "redb", "sled", "manager on redb", "manager on sled"];

async fn measure(which: usize, dir: &Path, writers: usize) -> anyhow::Result<Rate> {
    match which {
        0 => disk(dir, writers, TIME),
        1 => engine(dir, &StoreKind::Redb, writers, TIME),
        2 => engine(dir, &StoreKind::Sled, writers, TIME),
        3 => manager(dir, &StoreKind::Redb, writers, TIME).await,
        _ => manager(dir, &StoreKind::Sled, writers, TIME).await,
    }
}
