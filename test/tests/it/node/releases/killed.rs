//! The manager is killed in the middle of releases, in each phase there is, and goes on where it was.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use warren_test::cluster::Runtime;
use warren_test::release::{Change, Web, steps};
use warren_test::wait;
use warren_wire::v1::{ApprovalRule, DeploymentStrategy, Rollout, UpdateConfig};

use super::Stage;
use crate::node::{SOON, on_each_runtime};

on_each_runtime!(a_manager_that_is_killed_in_any_phase_goes_on);

/// All that these releases go through. Shifting takes milliseconds on one node: it is hit by chance.
const PHASES: [&str; 9] = [
    "updating",
    "scaling",
    "holding",
    "gating",
    "promoting",
    "monitoring",
    "standby",
    "finalizing",
    "rolling-back",
];
/// The whole of it; a release that starts over after each kill does not end in time.
const TIME_MAX: Duration = Duration::from_secs(240);
/// How exactly a killed leader's clock is known to the next: what had been committed last.
const CLOCK_STEP_MS: u64 = 1500;

// req: A27, B33, B43, C31, C32
async fn a_manager_that_is_killed_in_any_phase_goes_on(runtime: Runtime) -> anyhow::Result<()> {
    let mut stage = Stage::set(runtime, 2, &["rolling", "canary", "blue", "bad"]).await?;
    try_join_all(stage.webs.iter().map(|web| async move { web.update(&change(&web.name)).await }))
        .await?;
    let (mut killed, start) = (BTreeSet::new(), Instant::now());
    loop {
        let rollouts = look(&stage.webs).await?;
        let here: BTreeSet<String> = running(&rollouts).map(|r| r.phase.clone()).collect();
        if here.is_empty() {
            break;
        }
        ensure!(start.elapsed() < TIME_MAX, "not over in time: {rollouts:#?}");
        approve(&stage, &rollouts, &killed).await?;
        if here.is_subset(&killed) {
            tokio::task::yield_now().await;
            continue;
        }
        kill(&mut stage, &rollouts).await?;
        killed.extend(here);
    }
    warren_test::say(&format!("killed while {killed:?}"));
    for phase in PHASES {
        ensure!(killed.contains(phase), "never killed while {phase}: {killed:?}");
    }
    for web in &stage.webs {
        let (outcome, revision) =
            if web.name == "bad" { ("rolled-back", 1) } else { ("completed", 2) };
        let ended = web.end().await?;
        ensure!(ended.outcome == outcome, "{ended:#?}");
        web.runs_only(revision).await?;
        stage.load.all_answered(&web.name, "with a manager killed in each phase")?;
    }
    Ok(())
}

fn change(name: &str) -> Change {
    let slow = UpdateConfig { min_ready_ms: Some(1500), ..UpdateConfig::default() };
    let mut stepping = steps(&[(50, 2500), (100, 2000)]);
    stepping[0].approve = Some(ApprovalRule { roles: vec![], min: 1 });
    let (strategy, config, faults) = match name {
        "rolling" => (DeploymentStrategy::Rolling, slow, vec![]),
        "canary" => {
            let config = UpdateConfig { steps: stepping, scale_down_delay_ms: Some(2000), ..slow };
            (DeploymentStrategy::Canary, config, vec![])
        }
        "blue" => {
            let (monitor_ms, standby_ms) = (Some(2000), Some(2000));
            let config = UpdateConfig { monitor_ms, standby_ms, ..slow };
            (DeploymentStrategy::BlueGreen, config, vec![])
        }
        _ => {
            let healthy_deadline_ms = Some(2000);
            let config =
                UpdateConfig { healthy_deadline_ms, scale_down_delay_ms: Some(3000), ..slow };
            (DeploymentStrategy::Canary, config, vec![("NEVER_READY", "1")])
        }
    };
    Change { version: "v2", faults, strategy, config, ..Change::default() }
}

async fn look(webs: &[Web]) -> anyhow::Result<Vec<Rollout>> {
    try_join_all(webs.iter().map(Web::rollout)).await
}

fn running(rollouts: &[Rollout]) -> impl Iterator<Item = &Rollout> {
    rollouts.iter().filter(|rollout| rollout.ended_unix_ms == 0)
}

/// Lets a release through its gate once the manager was killed while it waited there.
async fn approve(
    stage: &Stage,
    rollouts: &[Rollout],
    killed: &BTreeSet<String>,
) -> anyhow::Result<()> {
    for (web, rollout) in stage.webs.iter().zip(rollouts) {
        if !rollout.approval_wanted.is_empty()
            && rollout.phase == "gating"
            && killed.contains("gating")
        {
            web.approve().await?;
        }
    }
    Ok(())
}

/// Kills the manager, starts it again, and looks that every release is where it was or further.
async fn kill(stage: &mut Stage, before: &[Rollout]) -> anyhow::Result<()> {
    let tasks = try_join_all(stage.webs.iter().map(Web::tasks)).await?;
    stage.node.crash()?;
    stage.node.resume().await?;
    for ((web, before), tasks) in stage.webs.iter().zip(before).zip(tasks) {
        let after =
            wait::until("a manager leads again", SOON, async || web.rollout().await).await?;
        ensure!(after.id == before.id, "{} became {}", before.id, after.id);
        let same = after.phase == before.phase && after.step == before.step;
        ensure!(
            !same || after.held_ms + CLOCK_STEP_MS >= before.held_ms,
            "{} ms of the hold were forgotten: {before:?}, {after:?}",
            before.held_ms,
        );
        let now = web.tasks().await?;
        for (id, task) in tasks {
            let is_new = task.revision == after.to_revision && web.name != "bad";
            let kept = now.get(&id);
            ensure!(!is_new || kept.is_some(), "{}: {id} is gone: {now:?}", web.name);
            let restarted =
                kept.is_some_and(|kept| kept.restarts > 0 || kept.address != task.address);
            ensure!(!restarted, "{}: {id} was started anew: {task:?}, {kept:?}", web.name);
        }
    }
    Ok(())
}
