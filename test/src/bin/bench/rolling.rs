//! A rolling update of a service under load, beside `docker service update` of the same tasks on the same engine.

use std::time::Instant;

use anyhow::ensure;
use warren_test::cluster::{Node, Runtime};
use warren_test::load::{Load, Tally};
use warren_test::release::{Change, Web};
use warren_test::{image, wait};
use warren_wire::v1::UpdateConfig;

use crate::swarm::Swarm;
use crate::{Figure, Unit, median, row, say};

const REPLICAS: u32 = 12;
/// Tasks at a time, and how often each is measured.
const CASES: [(u32, usize); 2] = [(4, 3), (1, 1)];
const NAME: &str = "web";

pub(crate) async fn run() -> anyhow::Result<()> {
    let Some(docker) = image::docker().await else {
        say("| (no Docker engine answers: rolling updates are not compared) | | | | |");
        return Ok(());
    };
    let ours = [Runtime::Docker.web_image("v1").await?, Runtime::Docker.web_image("v2").await?];
    let theirs = [image::checked(&docker, "v1").await?, image::checked(&docker, "v2").await?];
    let mut figures = Vec::new();
    {
        let node = Node::start(Runtime::Docker).await?;
        let web = Web::create(&node, Runtime::Docker, NAME, REPLICAS).await?;
        let load = Load::start(&node, &[NAME]).await?;
        for (parallelism, runs) in CASES {
            let mut taken = Taken::default();
            for run in 0..runs {
                let new = 1 - run % 2;
                taken.add(warren(&web, &ours[new], ["v1", "v2"][new], parallelism).await?);
            }
            load.answered_by(NAME, "v2").await?;
            let back = Change { version: "v1", image: Some(ours[0].clone()), ..Change::default() };
            web.release(&back).await?;
            figures.push((parallelism, taken, load.take(NAME)?));
        }
    }
    let Some(swarm) = Swarm::make().await? else {
        say("| (the engine is in a swarm already: rolling updates are not compared) | | | | |");
        return Ok(());
    };
    let load = swarm.create(&theirs[0], REPLICAS as usize).await?;
    for (parallelism, ours, lost) in figures {
        let mut taken = Vec::new();
        let runs = CASES.iter().find(|case| case.0 == parallelism).map_or(1, |case| case.1);
        for run in 0..runs {
            taken.push(swarm.update(&theirs[1 - run % 2], REPLICAS as usize, parallelism).await?);
        }
        swarm.update(&theirs[0], REPLICAS as usize, 0).await?;
        report(parallelism, ours, &lost, taken, &load.take(swarm.name())?);
    }
    Ok(())
}

/// Seconds of each run until every new task is ready, and until the old ones are gone as well.
#[derive(Default)]
struct Taken {
    ready: Vec<f64>,
    alone: Vec<f64>,
}

impl Taken {
    fn add(&mut self, (ready, alone): (f64, f64)) {
        self.ready.push(ready);
        self.alone.push(alone);
    }
}

async fn warren(
    web: &Web,
    image: &str,
    version: &'static str,
    parallelism: u32,
) -> anyhow::Result<(f64, f64)> {
    // A swarm counts a task once it is healthy, and does not bound how many old ones are still stopping.
    let config = UpdateConfig {
        parallelism: Some(parallelism),
        max_surge: Some(REPLICAS),
        min_ready_ms: Some(0),
        ..UpdateConfig::default()
    };
    let image = Some(image.to_owned());
    let start = Instant::now();
    web.update(&Change { version, image, config, ..Change::default() }).await?;
    let limit = std::time::Duration::from_secs(180);
    let ready = wait::until("every new task is ready", limit, async || {
        let (revision, tasks) = (web.service().await?.revision, web.tasks().await?);
        let new = tasks.values().filter(|task| task.revision == revision && task.ready).count();
        ensure!(new == REPLICAS as usize, "{new} of {REPLICAS}");
        Ok(start.elapsed().as_secs_f64())
    })
    .await?;
    let ended = web.end().await?;
    ensure!(ended.outcome == "completed", "{ended:?}");
    Ok((ready, start.elapsed().as_secs_f64()))
}

fn report(parallelism: u32, ours: Taken, lost: &Tally, theirs: Vec<f64>, their_lost: &Tally) {
    let what = format!("rolling update, {REPLICAS} tasks, {parallelism} at a time");
    let seconds = |runs| Figure { value: median(runs), unit: Unit::Seconds };
    let swarm = ("docker service update", seconds(theirs));
    // A swarm says when it is done as a whole, so only that is compared.
    row(&format!("{what}: every new task ready"), seconds(ours.ready), None, "–");
    row(&format!("{what}: and no old one left"), seconds(ours.alone), Some(swarm), "≥ 2×");
    #[expect(clippy::cast_precision_loss, reason = "requests of a few minutes")]
    let count = |lost: &Tally| Figure { value: lost.failed as f64, unit: Unit::Count };
    let requests = format!("of {} and {} requests", lost.requests, their_lost.requests);
    let what = format!("{what}: failed {requests}");
    say(&format!(
        "| {what} | {} | {} docker service update | – | 0 |",
        count(lost),
        count(their_lost)
    ));
}
