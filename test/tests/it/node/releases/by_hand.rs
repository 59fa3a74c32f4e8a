//! A person takes a release back, in each phase.

use anyhow::ensure;
use futures::future::try_join_all;
use warren_test::cluster::Runtime;
use warren_test::release::{Change, Web, steps};
use warren_test::wait;
use warren_wire::v1::{ApprovalRule, DeploymentStrategy, UpdateConfig};

use super::Stage;
use crate::node::{SOON, on_each_runtime};

on_each_runtime!(
    a_release_can_be_taken_back_in_each_phase,
    a_release_can_be_taken_back_while_traffic_moves,
);

/// Longer than anybody here waits: the phase lasts until the release is taken back.
const LONG_MS: u64 = 60_000;

/// What is released, the phase in which it is taken back, and how that ends.
struct Case {
    phase: &'static str,
    strategy: DeploymentStrategy,
    config: UpdateConfig,
    outcome: &'static str,
}

fn cases() -> Vec<Case> {
    use DeploymentStrategy::{BlueGreen, Canary, Rolling};
    let one = || Some(ApprovalRule { roles: vec![], min: 1 });
    let slowly = || UpdateConfig { min_ready_ms: Some(LONG_MS), ..UpdateConfig::default() };
    let stepping =
        |weights: &[(u32, u64)]| UpdateConfig { steps: steps(weights), ..UpdateConfig::default() };
    let mut asking = stepping(&[(50, 0), (100, 0)]);
    asking.steps[0].approve = one();
    let case = |phase, strategy, config, outcome| Case { phase, strategy, config, outcome };
    vec![
        case("queued", Rolling, UpdateConfig::default(), "cancelled"),
        case(
            "preparing",
            Canary,
            UpdateConfig { approve: one(), ..Default::default() },
            "cancelled",
        ),
        case("updating", Rolling, slowly(), "rolled-back"),
        case("scaling", BlueGreen, slowly(), "rolled-back"),
        case("holding", Canary, stepping(&[(50, LONG_MS), (100, 0)]), "rolled-back"),
        case("gating", Canary, asking, "rolled-back"),
        case(
            "promoting",
            Canary,
            UpdateConfig { min_ready_ms: Some(3000), ..stepping(&[(50, 0), (100, 0)]) },
            "rolled-back",
        ),
        case("monitoring", Canary, stepping(&[(50, 0), (100, LONG_MS)]), "rolled-back"),
        case(
            "standby",
            BlueGreen,
            UpdateConfig { standby_ms: Some(LONG_MS), ..Default::default() },
            "completed",
        ),
        case(
            "finalizing",
            Canary,
            // The old tasks are kept for so long, also those of the way back.
            UpdateConfig { scale_down_delay_ms: Some(8000), ..stepping(&[(100, 0)]) },
            "completed",
        ),
        case("completed", Rolling, UpdateConfig::default(), "completed"),
    ]
}

// req: A20, B9, B33, B42, C31
async fn a_release_can_be_taken_back_in_each_phase(runtime: Runtime) -> anyhow::Result<()> {
    let cases = cases();
    let names: Vec<&str> = cases.iter().map(|case| case.phase).collect();
    let stage = Stage::set(runtime, 2, &names).await?;
    stage.node.ok(&["freeze", "on", "queued", "--reason", "quarter end"]).await?;
    let pairs = stage.webs.iter().zip(&cases);
    try_join_all(pairs.map(|(web, case)| taken_back(&stage, web, case))).await?;
    Ok(())
}

async fn taken_back(stage: &Stage, web: &Web, case: &Case) -> anyhow::Result<()> {
    let (strategy, config) = (case.strategy, case.config.clone());
    web.update(&Change { version: "v2", strategy, config, ..Change::default() }).await?;
    let begun =
        if case.phase == "completed" { web.end().await? } else { web.reach(case.phase).await? };
    let exposed = !["queued", "preparing", "scaling"].contains(&case.phase);
    if exposed {
        stage.load.answered_by(&web.name, "v2").await?;
    }
    web.roll_back().await?;
    let ended = web.end().await?;
    ensure!(ended.outcome == case.outcome, "{ended:#?}");
    // Where the new revision was stable already, the way back is a release of its own.
    let accepted = ["standby", "finalizing", "completed"].contains(&case.phase);
    ensure!((ended.id != begun.id) == accepted, "{} ended {begun:#?}", ended.id);
    web.runs_only(1).await?;
    stage.load.answered_by(&web.name, "v1").await?;
    let seen = stage.load.all_answered(&web.name, &format!("taken back while {}", case.phase))?;
    ensure!(!exposed || seen.of("v2") > 0, "nobody met the new version: {seen}");
    stage.load.answered_by(&web.name, "v1").await?;
    let after = stage.load.take(&web.name)?;
    ensure!(after.failed == 0 && after.of("v2") == 0, "afterwards: {after}");
    Ok(())
}

/// Releases to try: on one node a share is in force within milliseconds, so not every one is met while it moves.
const ATTEMPTS: u32 = 10;

// req: B33, C31
async fn a_release_can_be_taken_back_while_traffic_moves(runtime: Runtime) -> anyhow::Result<()> {
    let stage = Stage::set(runtime, 2, &["shifting"]).await?;
    let [web] = &stage.webs[..] else { unreachable!() };
    // A hundred shares that are kept for no time: it moves traffic nearly all the time.
    let shares: Vec<(u32, u64)> = (1..=100).map(|percent| (percent, 0)).collect();
    for attempt in 1..=ATTEMPTS {
        let config = UpdateConfig { steps: steps(&shares), ..UpdateConfig::default() };
        let strategy = DeploymentStrategy::Canary;
        web.update(&Change { version: "v2", strategy, config, ..Change::default() }).await?;
        wait::until("traffic moves", SOON, async || {
            let seen = web.rollout().await?;
            ensure!(seen.weight_per_mille > 100, "{}", seen.phase);
            Ok(())
        })
        .await?;
        web.roll_back().await?;
        let ended = web.end().await?;
        web.runs_only(1).await?;
        stage.load.answered_by(&web.name, "v1").await?;
        stage.load.all_answered(&web.name, "taken back while traffic moves")?;
        ensure!(ended.outcome == "rolled-back", "too late: {}", ended.outcome);
        let turn = ended.timeline.iter().position(|moment| moment.action == "aborted");
        let before = turn.and_then(|turn| ended.timeline[..turn].last());
        if before.is_some_and(|moment| moment.action == "shifting") {
            warren_test::say(&format!("met while shifting at attempt {attempt}"));
            return Ok(());
        }
    }
    anyhow::bail!("none of {ATTEMPTS} releases was met while it moved traffic")
}
