//! Bad versions: each goes by itself, and nobody notices but the operator.

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use warren_test::cluster::Runtime;
use warren_test::release::{Change, Web, steps};
use warren_wire::v1::{DeploymentStrategy, Hook, Hooks, Rollout, UpdateConfig};

use super::Stage;
use crate::node::on_each_runtime;

on_each_runtime!(a_bad_version_goes_by_itself);

// req: A27, B3, B4, B33, C31, C34, D27, E11
async fn a_bad_version_goes_by_itself(runtime: Runtime) -> anyhow::Result<()> {
    let stage = Stage::set(runtime, 2, &["crash", "unready", "slow", "sick", "refused"]).await?;
    let [crash, unready, slow, sick, refused] = &stage.webs[..] else { unreachable!() };
    let half = || UpdateConfig { steps: steps(&[(50, 1000), (100, 1000)]), ..impatient() };
    tokio::try_join!(
        goes_back(&stage, crash, DeploymentStrategy::Rolling, impatient(), ("CRASH_AFTER_S", "0")),
        goes_back(&stage, unready, DeploymentStrategy::Canary, half(), ("NEVER_READY", "1")),
        goes_back(&stage, slow, DeploymentStrategy::BlueGreen, impatient(), ("SLOW_START_S", "60")),
        goes_back(&stage, sick, DeploymentStrategy::Rolling, impatient(), ("NEVER_READY", "1")),
        is_refused(&stage, refused),
    )?;
    Ok(())
}

fn impatient() -> UpdateConfig {
    UpdateConfig { healthy_deadline_ms: Some(2000), ..UpdateConfig::default() }
}

async fn goes_back(
    stage: &Stage,
    web: &Web,
    strategy: DeploymentStrategy,
    config: UpdateConfig,
    fault: (&'static str, &'static str),
) -> anyhow::Result<()> {
    let faults = vec![fault];
    let change = Change { version: "v2", faults, strategy, config, ..Change::default() };
    let rollout = web.release(&change).await?;
    ensure!(rollout.outcome == "rolled-back", "{rollout:#?}");
    ensure!(rollout.trigger == "health_check", "{rollout:#?}");
    let took = back_ms(&rollout)?;
    web.runs_only(1).await?;
    let seen = stage.load.all_answered(&web.name, &format!("{fault:?}, back in {took} ms"))?;
    ensure!(seen.of("v2") == 0, "users met it: {seen}");
    Ok(())
}

/// A gate asks somebody who says no, once half of the users have met the version.
async fn is_refused(stage: &Stage, web: &Web) -> anyhow::Result<()> {
    let gatekeeper = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/gate", gatekeeper.local_addr()?);
    let hook = Hook { on: "per_step".into(), url, ..Hook::default() };
    let config = UpdateConfig {
        steps: steps(&[(50, 1000), (100, 1000)]),
        hooks: Some(Hooks { hooks: vec![hook] }),
        ..UpdateConfig::default()
    };
    let strategy = DeploymentStrategy::Canary;
    web.update(&Change { version: "v2", strategy, config, ..Change::default() }).await?;
    stage.load.answered_by(&web.name, "v2").await?;
    let (mut asker, _) = gatekeeper.accept().await?;
    // An answer before the question is none to who asks.
    ensure!(asker.read(&mut [0; 4096]).await? > 0, "it asks");
    asker.write_all(b"HTTP/1.1 409 Conflict\r\nContent-Length: 8\r\n\r\ntoo soon").await?;
    let rollout = web.end().await?;
    ensure!(rollout.outcome == "rolled-back" && rollout.trigger == "hook", "{rollout:#?}");
    ensure!(rollout.reason.contains("too soon"), "{rollout:#?}");
    let took = back_ms(&rollout)?;
    web.runs_only(1).await?;
    stage.load.all_answered(&web.name, &format!("a gate said no, back in {took} ms"))?;
    Ok(())
}

/// From the decision to go back to the end, in cluster time.
fn back_ms(rollout: &Rollout) -> anyhow::Result<u64> {
    let last = rollout.timeline.last().map_or(0, |moment| moment.after_ms);
    let decided = rollout.timeline.iter().find(|moment| moment.action.contains("abort"));
    ensure!(decided.is_some(), "no decision in {:#?}", rollout.timeline);
    Ok(last - decided.map_or(0, |moment| moment.after_ms))
}
