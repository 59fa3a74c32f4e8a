//! Releases during which whoever leads is killed, once in each phase that any of them is in.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use warren_wire::v1::{DeploymentStrategy, UpdateConfig};

use crate::cluster::Node;
use crate::load::Load;
use crate::release::{Change, Web, steps};
use crate::{say, wait};

/// The service whose new version never gets ready.
pub const BAD: &str = "bad";
/// Until the next phase, or the end: as long as a release may take.
const PHASE_TIME_MAX: Duration = Duration::from_secs(180);
/// How long the tasks of a release that has ended take to be what it left.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(90);
/// The phases that any such releases go through: staging, shifting, finalizing and one that waits.
const PHASES_MIN: usize = 4;

/// What is released to the service of this name: `rolling` and `canary` are what they are called, `blue` is a switch,
/// and [`BAD`] a canary that has to go back.
#[must_use]
pub fn change(name: &str) -> Change {
    let slow = UpdateConfig { min_ready_ms: Some(1500), ..UpdateConfig::default() };
    let (strategy, config, faults) = match name {
        "rolling" => (DeploymentStrategy::Rolling, slow, vec![]),
        "canary" => {
            let steps = steps(&[(50, 2500), (100, 2000)]);
            (DeploymentStrategy::Canary, UpdateConfig { steps, ..slow }, vec![])
        }
        "blue" => {
            let (monitor_ms, standby_ms) = (Some(2000), Some(2000));
            let config = UpdateConfig { monitor_ms, standby_ms, ..slow };
            (DeploymentStrategy::BlueGreen, config, vec![])
        }
        _ => {
            let config = UpdateConfig { healthy_deadline_ms: Some(4000), ..slow };
            (DeploymentStrategy::Canary, config, vec![("NEVER_READY", "1")])
        }
    };
    Change { version: "v2", faults, strategy, config, ..Change::default() }
}

/// Releases to all of `webs` at once, and calls `kill` in each phase that was not there before.
///
/// # Errors
/// Where a release does not end, or there were too few phases to speak of.
pub async fn killed_in_each_phase(
    webs: &[Web],
    mut kill: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let changes = webs.iter().map(|web| async move { web.update(&change(&web.name)).await });
    try_join_all(changes).await?;
    let mut killed = BTreeSet::new();
    while let Some(phases) = next_phases(webs, &killed).await? {
        kill().await.with_context(|| format!("the leader is killed while {phases:?}"))?;
        killed.extend(phases);
    }
    say(&format!("leaders were killed while {killed:?}"));
    ensure!(killed.len() >= PHASES_MIN, "killed while {killed:?} only");
    Ok(())
}

/// The phases of the releases that are under way, once one of them is new; none where all have ended.
async fn next_phases(
    webs: &[Web],
    killed: &BTreeSet<String>,
) -> anyhow::Result<Option<BTreeSet<String>>> {
    wait::until("a phase in which no leader was killed, or the end", PHASE_TIME_MAX, async || {
        let rollouts = try_join_all(webs.iter().map(Web::rollout)).await?;
        let running = rollouts.into_iter().filter(|rollout| rollout.ended_unix_ms == 0);
        let phases: BTreeSet<String> = running.map(|rollout| rollout.phase).collect();
        if phases.is_empty() {
            return Ok(None);
        }
        ensure!(!phases.is_subset(killed), "{phases:?}");
        Ok(Some(phases))
    })
    .await
}

/// Each release has ended as it had to, and no request failed; `asked` tells what happened where one did.
///
/// # Errors
/// With the release, or the requests.
pub async fn ended_well(webs: &[Web], load: &Load, asked: &Node) -> anyhow::Result<()> {
    for web in webs {
        let (outcome, revision) =
            if web.name == BAD { ("rolled-back", 1) } else { ("completed", 2) };
        let ended = web.end().await?;
        ensure!(ended.outcome == outcome, "{ended:#?}");
        // The agent of the leader that was killed last may still be on its way back to the next.
        let what = format!("{} runs revision {revision} only", web.name);
        wait::until(&what, SETTLE_TIME_MAX, async || web.runs_only(revision).await).await?;
        if let Err(failed) = load.all_answered(&web.name, "with a leader killed in each phase") {
            let events = asked.ok(&["events", &web.name]).await?;
            let tasks = asked.ok(&["service", "ps", &web.name, "--all"]).await?;
            bail!("{failed:#}\n{events}\n{tasks}");
        }
    }
    Ok(())
}
