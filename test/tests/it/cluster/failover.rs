//! Leaders that are killed in the middle of releases: who leads next goes on with them, and no request fails.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use futures::future::try_join_all;
use warren_test::cluster::{Node, Runtime};
use warren_test::load::Load;
use warren_test::release::{Change, Web, steps};
use warren_test::wait;
use warren_wire::v1::{DeploymentStrategy, UpdateConfig};

use super::{SOON, joined, three_managers};

/// Three tasks on average on each of the four nodes.
const REPLICAS: u32 = 3;

// req: A27
#[tokio::test]
async fn releases_go_on_under_the_next_leader_and_no_request_fails() {
    leaders_killed().await.unwrap();
}

async fn leaders_killed() -> anyhow::Result<()> {
    let mut managers = three_managers().await?;
    let names = ["rolling", "canary", "blue", "bad"];
    // Clients ask a resolver that nobody stops: one that hangs has nothing to say, and its clients no way to go.
    let worker = joined(&managers[0], "worker", "w1").await?;
    let made = names.iter().map(|name| Web::create(&managers[0], Runtime::Process, name, REPLICAS));
    let webs = try_join_all(made).await?;
    let load = Load::start(&worker, &names).await?;
    try_join_all(webs.iter().map(|web| async move { web.update(&change(&web.name)).await }))
        .await?;
    let mut killed = BTreeSet::new();
    while let Some(phases) = under_way(&webs).await? {
        if phases.is_subset(&killed) {
            tokio::task::yield_now().await;
            continue;
        }
        let at = leader_among(&managers).await?;
        managers[at].crash()?;
        killed.extend(phases);
        managers[at].resume().await?;
    }
    warren_test::say(&format!("leaders were killed while {killed:?}"));
    ensure!(killed.len() > 3, "killed while {killed:?} only");
    for web in &webs {
        let (outcome, revision) =
            if web.name == "bad" { ("rolled-back", 1) } else { ("completed", 2) };
        let ended = web.end().await?;
        ensure!(ended.outcome == outcome, "{ended:#?}");
        // The agent of the leader that was killed last may still be on its way back to the next.
        let what = format!("{} runs revision {revision} only", web.name);
        wait::until(&what, SOON, async || web.runs_only(revision).await).await?;
        let answered = load.all_answered(&web.name, "with a leader killed in each phase");
        let tally = match answered {
            Ok(tally) => tally,
            Err(failed) => {
                let events = managers[0].ok(&["events", &web.name]).await?;
                let tasks = managers[0].ok(&["service", "ps", &web.name, "--all"]).await?;
                bail!("{failed:#}\n{events}\n{tasks}");
            }
        };
        warren_test::say(&format!(
            "{}: {} requests, {} failed",
            web.name, tally.requests, tally.failed
        ));
    }
    Ok(())
}

fn change(name: &str) -> Change {
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

/// The phases of the releases that are not over; none where all are.
async fn under_way(webs: &[Web]) -> anyhow::Result<Option<BTreeSet<String>>> {
    wait::until("the releases are told", SOON, async || {
        let rollouts = try_join_all(webs.iter().map(Web::rollout)).await?;
        let running = rollouts.into_iter().filter(|rollout| rollout.ended_unix_ms == 0);
        let phases: BTreeSet<String> = running.map(|rollout| rollout.phase).collect();
        Ok((!phases.is_empty()).then_some(phases))
    })
    .await
}

/// Which of `managers` leads, as one of them knows it.
async fn leader_among(managers: &[Node]) -> anyhow::Result<usize> {
    let ids = managers.iter().map(|manager| Ok(manager.run()?["node_id"].clone()));
    let ids = ids.collect::<anyhow::Result<Vec<_>>>()?;
    wait::until("one of the managers leads", SOON, async || {
        let cluster = managers[0].json(&["cluster", "info"]).await?;
        let leader = cluster["leader_id"].as_str().context("nobody leads")?;
        ids.iter().position(|id| *id == leader).with_context(|| format!("{leader:?} leads"))
    })
    .await
}
