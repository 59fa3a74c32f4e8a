//! Good versions: each strategy brings one in.

use anyhow::ensure;
use warren_test::cluster::Runtime;
use warren_test::release::{Change, Web, steps};
use warren_wire::v1::{ApprovalRule, DeploymentStrategy, Step, UpdateConfig};

use super::Stage;
use crate::node::on_each_runtime;

on_each_runtime!(no_strategy_but_recreate_loses_a_request);

// req: A1, A3, A18, A26, A40, B1, B2, B9, B10, B32, C33, D11
async fn no_strategy_but_recreate_loses_a_request(runtime: Runtime) -> anyhow::Result<()> {
    let stage = Stage::set(runtime, 4, &["rolling", "canary", "blue", "recreate"]).await?;
    let [rolling, canary, blue, recreate] = &stage.webs[..] else { unreachable!() };
    tokio::try_join!(
        roll(&stage, rolling, runtime),
        step_by_step(&stage, canary),
        switch(&stage, blue),
        begin_anew(&stage, recreate),
    )?;
    Ok(())
}

async fn complete(stage: &Stage, web: &Web, with: &str) -> anyhow::Result<()> {
    let rollout = web.end().await?;
    ensure!(rollout.outcome == "completed", "{rollout:#?}");
    stage.load.answered_by(&web.name, "v2").await?;
    web.runs_only(2).await?;
    let seen = stage.load.all_answered(&web.name, with)?;
    ensure!(seen.of("v1") > 0 && seen.of("v2") > 0, "{seen}");
    stage.load.answered_by(&web.name, "v2").await?;
    let after = stage.load.take(&web.name)?;
    ensure!(after.failed == 0 && after.of("v1") == 0, "afterwards: {after}");
    Ok(())
}

async fn roll(stage: &Stage, web: &Web, runtime: Runtime) -> anyhow::Result<()> {
    let image = Some(runtime.web_image("v2").await?);
    web.update(&Change { version: "v2", image, ..Change::default() }).await?;
    complete(stage, web, "a rolling update").await
}

/// Steps of which each waits for a word, so that one can look for as long as one likes.
fn asking(shares: &[(u32, u64)]) -> Vec<Step> {
    let mut steps = steps(shares);
    for step in &mut steps {
        step.approve = Some(ApprovalRule { roles: vec![], min: 1 });
    }
    steps
}

async fn step_by_step(stage: &Stage, web: &Web) -> anyhow::Result<()> {
    const QUESTIONS: u32 = 400;
    let steps = asking(&[(25, 1000), (50, 1000), (100, 1000)]);
    let config = UpdateConfig { steps, ..UpdateConfig::default() };
    let strategy = DeploymentStrategy::Canary;
    web.update(&Change { version: "v2", strategy, config, ..Change::default() }).await?;
    for percent in [25, 50] {
        web.asked(percent * 10).await?;
        let (old, new) = stage.split(web, QUESTIONS).await?;
        warren_test::say(&format!("canary: {new} of {QUESTIONS} answers at {percent} %"));
        // Five standard deviations of so many draws at a half, and more than that at a quarter.
        let off = new.abs_diff(QUESTIONS * percent / 100);
        ensure!(off <= 50, "{new} of {} answers name v2", old + new);
        web.approve().await?;
    }
    web.asked(1000).await?;
    ensure!(stage.split(web, 100).await? == (0, 100), "an answer names v1 at 100 %");
    web.approve().await?;
    complete(stage, web, "a canary").await
}

async fn switch(stage: &Stage, web: &Web) -> anyhow::Result<()> {
    let strategy = DeploymentStrategy::BlueGreen;
    let (monitor_ms, steps) = (Some(1000), asking(&[(0, 0)]));
    let config = UpdateConfig { monitor_ms, steps, ..UpdateConfig::default() };
    web.update(&Change { version: "v2", strategy, config, ..Change::default() }).await?;
    web.asked(0).await?;
    ensure!(stage.split(web, 100).await? == (100, 0), "an answer names v2 before the switch");
    let (green, blue) = (stage.resolve("green.blue").await?, stage.resolve("blue.blue").await?);
    ensure!(green.len() == 4 && green.is_disjoint(&blue), "{green:?}, {blue:?}");
    ensure!(stage.load.seen(&web.name)?.of("v2") == 0, "v2 was met before the switch");
    web.approve().await?;
    stage.load.answered_by(&web.name, "v2").await?;
    ensure!(stage.resolve(&web.name).await?.is_subset(&green), "an answer still names v1");
    complete(stage, web, "a blue-green switch").await
}

async fn begin_anew(stage: &Stage, web: &Web) -> anyhow::Result<()> {
    let strategy = DeploymentStrategy::Recreate;
    let rollout = web.release(&Change { version: "v2", strategy, ..Change::default() }).await?;
    ensure!(rollout.outcome == "completed", "{rollout:#?}");
    stage.load.answered_by(&web.name, "v2").await?;
    web.runs_only(2).await?;
    let seen = stage.load.take(&web.name)?;
    warren_test::say(&format!("{}: by its nature, {seen}", web.name));
    ensure!(seen.failed > 0, "both versions ran at once: {seen}");
    Ok(())
}
