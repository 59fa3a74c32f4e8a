//! A machine that goes down with its containers in the middle of releases.

use anyhow::ensure;
use warren_test::fleet::{Fleet, Ledger};
use warren_test::release::{Change, Web, steps};
use warren_wire::v1::{DeploymentStrategy, UpdateConfig};

use super::{all, clients, of_containers, others};

const NAMES: [&str; 3] = ["rolling", "blue", "canary"];

fn change(name: &str) -> Change {
    let patient = UpdateConfig { min_ready_ms: Some(1_500), ..UpdateConfig::default() };
    let (strategy, config) = match name {
        "rolling" => {
            let slow = UpdateConfig { parallelism: Some(1), max_surge: Some(1), ..patient };
            (DeploymentStrategy::Rolling, slow)
        }
        "blue" => {
            let config =
                UpdateConfig { monitor_ms: Some(4_000), standby_ms: Some(4_000), ..patient };
            (DeploymentStrategy::BlueGreen, config)
        }
        _ => {
            let steps = steps(&[(25, 3_000), (50, 3_000), (100, 1_000)]);
            (DeploymentStrategy::Canary, UpdateConfig { steps, ..patient })
        }
    };
    Change { version: "v2", strategy, config, ..Change::default() }
}

async fn lose_a_machine(fleet: &mut Fleet) -> anyhow::Result<()> {
    let lost = 2;
    let left = others(fleet, lost);
    let image = fleet.image().await?;
    let mut webs = Vec::new();
    for name in NAMES {
        webs.push(Web::create_of(fleet.node(left[0]), &image, name, 3).await?);
    }
    fleet.settled(&all(fleet)).await?;
    let load = clients(fleet, left[0], &NAMES).await?;
    let ledger = Ledger::start(fleet, &left[..1])?;
    for web in &webs {
        web.update(&change(&web.name)).await?;
    }
    for name in NAMES {
        // The new version has taken requests, so each release is in its middle.
        load.answered_by(name, "v2").await?;
        load.all_answered(name, "before the machine is lost")?;
    }
    fleet.lose(lost).await?;
    fleet.is(left[0], lost, "down").await?;
    for web in &webs {
        let ended = web.end().await?;
        ensure!(ended.outcome == "completed", "{}: {ended:#?}", web.name);
        // What nobody reached failed until the machine left the answers. Each client hangs on the first such request
        // for as long as an HTTP client waits, so they are few; the other machines served.
        let during = load.take(&web.name)?;
        warren_test::say(&format!("{}: with the machine lost: {during}", web.name));
        ensure!(during.failed < during.requests / 2, "{during}: {:#?}", during.failures);
    }
    fleet.settled(&left).await?;
    for web in &webs {
        web.runs_only(2).await?;
        load.take(&web.name)?;
        load.answered_by(&web.name, "v2").await?;
        load.all_answered(&web.name, "on the machines that are left")?;
    }
    // It comes back with nothing running, and takes up no old task.
    fleet.power_up(lost).await?;
    fleet.settled(&all(fleet)).await?;
    for web in &webs {
        load.all_answered(&web.name, "with the machine back")?;
    }
    ledger.nothing_lost(fleet, left[0]).await
}

// req: C32
#[tokio::test]
async fn releases_outlive_a_machine_lost_in_their_middle() {
    let test = "releases_outlive_a_machine_lost_in_their_middle";
    let Some(mut fleet) = of_containers(test, 3, 1).await else { return };
    lose_a_machine(&mut fleet).await.unwrap();
}
