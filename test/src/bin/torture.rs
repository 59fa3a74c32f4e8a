//! Kills a writing store again and again: `make torture`. 200 times, or as often as `WARREN_TORTURE_CYCLES` says, for
//! each engine. A run prints its seed; `WARREN_TORTURE_SEED` repeats it.

use std::io::Write as _;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use warren_raft::StoreKind;
use warren_test::torture;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => parent(),
        ["write", store, dir] => torture::child(Path::new(dir), store.parse()?),
        _ => bail!("usage: torture, or for its own children: torture write STORE DIR"),
    }
}

fn parent() -> anyhow::Result<()> {
    let cycles = number("WARREN_TORTURE_CYCLES", 200)?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seed = number("WARREN_TORTURE_SEED", clock)?;
    let program = std::env::current_exe()?;
    let mut out = std::io::stdout();
    writeln!(out, "seed {seed}")?;
    for store in [StoreKind::Redb, StoreKind::Sled] {
        let begun = Instant::now();
        let report = torture::run(&program, &store, u32::try_from(cycles)?, seed)?;
        let (cycles, writes) = (report.cycles, report.acknowledged);
        let seconds = begun.elapsed().as_secs();
        writeln!(
            out,
            "{store}: killed {cycles} times in {seconds} s, {writes} acknowledged writes, all found"
        )?;
    }
    Ok(())
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text} is not a number")),
        Err(_) => Ok(default),
    }
}
