//! Leaders that are killed in each phase of releases of containers: they are adopted as they are, and no request fails.

use anyhow::ensure;
use warren_test::cluster::PORT;
use warren_test::fleet::{Fleet, SOON};
use warren_test::leaders::{BAD, ended_well, killed_in_each_phase};
use warren_test::release::Web;
use warren_test::{http, wait};

use super::{all, clients, of_containers};

const NAMES: [&str; 4] = ["rolling", "canary", "blue", BAD];
/// Nobody stops its resolver, which clients ask: one that is gone has nothing to say.
const WORKER: usize = 3;

async fn kill_leaders(fleet: &mut Fleet) -> anyhow::Result<()> {
    let image = fleet.image().await?;
    let mut webs = Vec::new();
    for name in NAMES {
        webs.push(Web::create_of(fleet.node(0), &image, name, 3).await?);
    }
    fleet.settled(&all(fleet)).await?;
    for web in &webs {
        each_machine_reaches(fleet, web).await?;
    }
    let load = clients(fleet, WORKER, &NAMES).await?;
    killed_in_each_phase(&webs, async || kill(fleet).await).await?;
    ended_well(&webs, &load, fleet.node(0)).await?;
    fleet.settled(&all(fleet)).await
}

/// Every machine has an answer of every task, at once: also one that has just joined.
async fn each_machine_reaches(fleet: &Fleet, web: &Web) -> anyhow::Result<()> {
    for address in web.addresses(1).await? {
        for machine in fleet.bed().machines() {
            let _inside = machine.namespace.enter()?;
            let (status, text) = http::get((address, PORT).into(), "/").await?;
            ensure!(status == 200, "{address} answers {}: {status} {text}", machine.name);
        }
    }
    Ok(())
}

/// Kills the node that leads and starts it again; what its release lets be must be the containers that were there.
async fn kill(fleet: &mut Fleet) -> anyhow::Result<()> {
    let at = wait::until("a manager leads", SOON, async || fleet.leader(0).await).await?;
    let before = fleet.runs(at).await?;
    fleet.node_mut(at).crash()?;
    fleet.node_mut(at).resume().await?;
    let after = fleet.runs(at).await?;
    let other = before.iter().find(|(task, pid)| after.get(*task).is_some_and(|now| now != *pid));
    ensure!(other.is_none(), "{other:?} was started anew: {after:?}");
    Ok(())
}

// req: A27, C32
#[tokio::test]
async fn leaders_killed_in_each_phase_cost_no_request_and_no_container() {
    let test = "leaders_killed_in_each_phase_cost_no_request_and_no_container";
    let Some(mut fleet) = of_containers(test, 4, 3).await else { return };
    kill_leaders(&mut fleet).await.unwrap();
}
