//! What people do in the middle of a release: another update, the old version again, another size.

use anyhow::ensure;
use warren_test::cluster::Runtime;
use warren_test::release::{Change, Web, steps};
use warren_wire::v1::{DeploymentStrategy, UpdateConfig};

use super::Stage;
use crate::node::on_each_runtime;

on_each_runtime!(what_is_asked_midway_loses_no_request);

// req: B1, B33
async fn what_is_asked_midway_loses_no_request(runtime: Runtime) -> anyhow::Result<()> {
    let stage = Stage::set(runtime, 3, &["next", "revert", "out", "in"]).await?;
    let [next, revert, out, less] = &stage.webs[..] else { unreachable!() };
    tokio::try_join!(
        overtaken(&stage, next),
        reverted(&stage, revert),
        scaled(&stage, out, 5, DeploymentStrategy::Canary),
        scaled(&stage, less, 2, DeploymentStrategy::Rolling),
    )?;
    Ok(())
}

fn canary(version: &'static str, hold_ms: u64) -> Change {
    let config =
        UpdateConfig { steps: steps(&[(34, hold_ms), (100, 500)]), ..UpdateConfig::default() };
    let strategy = DeploymentStrategy::Canary;
    Change { version, strategy, config, ..Change::default() }
}

async fn overtaken(stage: &Stage, web: &Web) -> anyhow::Result<()> {
    web.update(&canary("v2", 60_000)).await?;
    let first = web.reach("holding").await?;
    let rolling = Change { version: "v3", ..Change::default() };
    web.update(&rolling).await?;
    let ended = web.end().await?;
    ensure!(ended.outcome == "completed" && ended.from_revision == 1, "{ended:#?}");
    let rollouts = web.rollouts().await?;
    let outcome = rollouts.iter().find(|past| past.id == first.id).map(|past| &past.outcome);
    ensure!(outcome.is_some_and(|outcome| outcome == "superseded"), "{rollouts:#?}");
    web.runs_only(3).await?;
    stage.load.all_answered(&web.name, "v3 overtakes a canary of v2")?;
    Ok(())
}

async fn reverted(stage: &Stage, web: &Web) -> anyhow::Result<()> {
    web.update(&canary("v2", 60_000)).await?;
    let first = web.reach("holding").await?;
    web.update(&Change { version: "v1", ..Change::default() }).await?;
    let ended = web.end().await?;
    ensure!(ended.id == first.id && ended.outcome == "rolled-back", "{ended:#?}");
    ensure!(ended.trigger == "reverted", "{ended:#?}");
    web.runs_only(1).await?;
    stage.load.all_answered(&web.name, "v1 asked for again in a canary of v2")?;
    Ok(())
}

async fn scaled(
    stage: &Stage,
    web: &Web,
    replicas: u32,
    strategy: DeploymentStrategy,
) -> anyhow::Result<()> {
    web.update(&Change { strategy, ..canary("v2", 1000) }).await?;
    let phase = if strategy == DeploymentStrategy::Canary { "holding" } else { "updating" };
    web.reach(phase).await?;
    web.scale(replicas).await?;
    let ended = web.end().await?;
    ensure!(ended.outcome == "completed", "{ended:#?}");
    web.runs_only(2).await?;
    ensure!(web.service().await?.desired == replicas);
    stage.load.all_answered(&web.name, &format!("scaled to {replicas} while {phase}"))?;
    Ok(())
}
