//! Three managers and workers beside them: how long joins take, what each process costs, what is written when nobody
//! wants anything, and how long tasks are gone whose node was killed.

use std::time::{Duration, Instant};

use anyhow::ensure;
use warren_test::cluster::{Node, Runtime};
use warren_test::release::Web;
use warren_test::wait;

use crate::managers::Managers;
use crate::process::{pid, resident_mib};
use crate::{Figure, Unit, median, row};

/// More than there are nodes, so that each has some.
const REPLICAS: u32 = 8;
const KILLS: usize = 3;
/// Entries that joins leave behind, as keys that are made and nodes that are seen, have come by then.
const SETTLED: Duration = Duration::from_secs(30);
const WATCHED: Duration = Duration::from_secs(60);
/// Longer than a node is waited for that says nothing.
const REPLACED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn run() -> anyhow::Result<()> {
    let (managers, took) = Managers::start_timed(None).await?;
    for (which, took) in ["second", "third"].iter().zip(took) {
        let took = Figure { value: took.as_secs_f64(), unit: Unit::Seconds };
        row(
            &format!("join of the {which} manager: started → joined, ready, counted"),
            took,
            None,
            "–",
        );
    }
    let mut workers = Vec::new();
    for number in 1..=2 {
        let begun = Instant::now();
        workers.push(worker(&managers, number).await?);
        let took = Figure { value: begun.elapsed().as_secs_f64(), unit: Unit::Seconds };
        row("join of a worker: started → ready", took, None, "–");
    }
    for (at, node) in managers.nodes.iter().enumerate() {
        let size = Figure { value: resident_mib(&pid(node)?)?, unit: Unit::Mebibytes };
        row(&format!("resident memory, manager {} of 3, idle", at + 1), size, None, "≤ 60 MiB");
    }
    let size = Figure { value: resident_mib(&pid(&workers[0])?)?, unit: Unit::Mebibytes };
    row("resident memory, worker, idle", size, None, "≤ 30 MiB");
    tokio::time::sleep(SETTLED).await;
    let entries = managers.idle_entries(WATCHED).await?;
    let entries = Figure { value: entries, unit: Unit::FewPerSecond };
    row("entries written by three idle managers", entries, None, "≤ 0.2/s");
    replaced(&managers, &mut workers).await
}

async fn worker(managers: &Managers, number: usize) -> anyhow::Result<Node> {
    let (token, first) = (managers.token("worker").await?, &managers.nodes[0]);
    let name = format!("w{number}");
    let join = ["--join", first.listen(), "--token", &token, "--hostname", &name];
    Node::start_with(Runtime::Process, &join).await
}

/// Kills a worker with tasks, and waits until as many as before are ready elsewhere.
async fn replaced(managers: &Managers, workers: &mut [Node]) -> anyhow::Result<()> {
    let web = Web::create(&managers.nodes[0], Runtime::Process, "web", REPLICAS).await?;
    let mut took = Vec::new();
    for round in 0..KILLS {
        // One that has come back has none until there are more.
        let wanted = REPLICAS + 4 * u32::try_from(round)?;
        web.scale(wanted).await?;
        all_ready(&web, wanted, "").await?;
        let worker = &mut workers[round % 2];
        let id = worker.run()?["node_id"].as_str().unwrap_or_default().to_owned();
        let tasks = web.tasks().await?;
        ensure!(tasks.values().any(|task| task.node_id == id), "{id} has no task: {tasks:?}");
        let begun = Instant::now();
        worker.crash()?;
        all_ready(&web, wanted, &id).await?;
        took.push(begun.elapsed().as_secs_f64());
        worker.resume().await?;
    }
    let figure = Figure { value: median(took), unit: Unit::Seconds };
    row(&format!("node killed → its tasks run elsewhere, {KILLS} kills"), figure, None, "≤ 20 s");
    Ok(())
}

/// Waits until so many tasks are ready on other nodes than `but`.
async fn all_ready(web: &Web, wanted: u32, but: &str) -> anyhow::Result<()> {
    wait::until("all tasks are ready", REPLACED_WITHIN, async || {
        let tasks = web.tasks().await?;
        let ready = tasks.values().filter(|task| task.ready && task.node_id != but).count();
        ensure!(u32::try_from(ready)? >= wanted, "{ready} of {wanted}");
        Ok(())
    })
    .await
}
