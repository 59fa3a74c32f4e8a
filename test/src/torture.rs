//! Kills a writing manager again and again, and looks for every acknowledged write.
//!
//! A child process writes under load and tells its parent, through a pipe, of each write that was acknowledged. The
//! parent kills it (SIGKILL) at a random point: while it starts, or after a random number of acknowledgements. Then the
//! parent opens the directory and looks. Writers write one number after the other, so what is found is the last
//! acknowledged one, or the next, which was on its way.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use warren_raft::StoreKind;

use crate::store::{Lone, write_surely};

/// Writers at once: enough that entries hold several writes, and kills hit between them.
const WRITERS: usize = 8;

/// A snapshot after so many entries: often enough that kills hit snapshots and the cutting of the log.
const SNAPSHOT_ENTRIES: u64 = 100;

/// The most acknowledgements before a kill.
const ACKS_MAX: u64 = 400;

/// A kill during the start comes within so long.
const START_MS_MAX: u64 = 60;

/// A child that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a run has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Kills.
    pub cycles: u32,
    /// Acknowledged writes, each of which was found.
    pub acknowledged: u64,
}

/// Kills a child of `program` `cycles` times, on one directory.
///
/// # Errors
/// An acknowledged write is missing, the directory is refused, or a child fails by itself.
pub fn run(program: &Path, store: &StoreKind, cycles: u32, seed: u64) -> anyhow::Result<Report> {
    let dir = tempfile::tempdir()?;
    let mut chance = Chance(seed);
    let mut acknowledged = BTreeMap::new();
    let mut report = Report::default();
    for cycle in 0..cycles {
        let context = || format!("{store}, cycle {cycle} of seed {seed}");
        let mut child = Command::new(program)
            .args(["write", store.name()])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the child starts")?;
        let done = watch(&mut child, &mut chance, &mut acknowledged).with_context(context);
        // Also where it went wrong: nothing is left running.
        child.kill().and_then(|()| child.wait())?;
        report.acknowledged += done?;
        report.cycles += 1;
        look(dir.path(), store, &mut acknowledged).with_context(context)?;
    }
    Ok(report)
}

/// Follows a child until the moment of its death, and kills it. Returns the number of acknowledgements.
fn watch(
    child: &mut Child,
    chance: &mut Chance,
    acknowledged: &mut BTreeMap<String, u64>,
) -> anyhow::Result<u64> {
    let output = child.stdout.take().context("it is piped")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut count = 0;
    let mut note = |line: String| -> anyhow::Result<()> {
        let (writer, number) = line.split_once(' ').with_context(|| format!("{line:?}"))?;
        acknowledged.insert(writer.to_owned(), number.parse()?);
        count += 1;
        Ok(())
    };
    if chance.below(4) == 0 {
        let deadline = Instant::now() + Duration::from_millis(chance.below(START_MS_MAX));
        while let Some(line) = line_until(&lines, deadline)? {
            note(line)?;
        }
    } else {
        for _ in 0..=chance.below(ACKS_MAX) {
            let line = line_until(&lines, Instant::now() + PATIENCE)?;
            note(line.context("the child says nothing")?)?;
        }
    }
    child.kill()?;
    child.wait()?;
    // What it had said before counts.
    for line in lines {
        note(line)?;
    }
    reader.join().map_err(|_| anyhow::anyhow!("the reader failed"))?;
    Ok(count)
}

fn line_until(lines: &Receiver<String>, deadline: Instant) -> anyhow::Result<Option<String>> {
    match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(line) => Ok(Some(line)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => bail!("the child ended by itself"),
    }
}

/// Opens the directory and looks for what was acknowledged.
fn look(
    dir: &Path,
    store: &StoreKind,
    acknowledged: &mut BTreeMap<String, u64>,
) -> anyhow::Result<()> {
    Runtime::new()?.block_on(async {
        let lone = Lone::open(dir, store.clone(), SNAPSHOT_ENTRIES).await?;
        for (writer, number) in acknowledged {
            let found = lone.find(writer).with_context(|| format!("{writer} is gone"))?;
            let found: u64 = found.parse()?;
            ensure!(
                found == *number || found == *number + 1,
                "{writer}: {number} was acknowledged, {found} was found"
            );
            *number = found;
        }
        lone.close().await
    })
}

/// The child: writes until it is killed.
///
/// # Errors
/// A write is refused, or the parent is gone.
pub fn child(dir: &Path, store: StoreKind) -> anyhow::Result<()> {
    Runtime::new()?.block_on(async {
        let lone = Lone::open(dir, store, SNAPSHOT_ENTRIES).await?;
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let key = format!("w{writer}");
            let mut number: u64 = lone.find(&key).map_or(Ok(0), |found| found.parse())?;
            let raft = lone.raft.clone();
            writers.spawn(async move {
                loop {
                    number += 1;
                    write_surely(&raft, &key, &number.to_string()).await?;
                    std::io::stdout().write_all(format!("{key} {number}\n").as_bytes())?;
                }
            });
        }
        let failed: Option<Result<anyhow::Result<()>, _>> = writers.join_next().await;
        failed.context("there are writers")???;
        lone.close().await
    })
}

/// The same choices for the same seed.
struct Chance(u64);

impl Chance {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        // The constants of Knuth's MMIX; the high bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
