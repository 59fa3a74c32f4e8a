//! An old copy of a manager's data directory, in the place of the original: it has forgotten what it promised. Of one
//! beside the original, `chaos::managers` tells, since it takes two machines.

use anyhow::ensure;
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::wait;

use super::{SOON, leader, node_named, three_managers};

/// Only the leader remembers what others acknowledged; on a machine that stalls, another may lead before it is asked.
const TRIES_MAX: usize = 3;

#[tokio::test]
async fn an_old_copy_of_a_managers_directory_stops_and_the_leader_leads_on() {
    for _ in 0..TRIES_MAX {
        if old_copy().await.unwrap() {
            return;
        }
        warren_test::say("there was an election meanwhile, once more");
    }
    panic!("the lead changed each time that an old copy came");
}

/// `false` where the lead changed meanwhile.
async fn old_copy() -> anyhow::Result<bool> {
    let mut managers = three_managers().await?;
    let leads = leader(&managers, 0).await?;
    let follows = (leads + 1) % managers.len();
    let before = term(&managers[leads]).await?;
    let copy = Node::stopped(Runtime::Process, &[])?;
    managers[follows].stop().await?;
    managers[follows].copy_data_to(&copy)?;
    managers[follows].resume().await?;
    // A leader speaks to a manager in order: what comes after the first is sent when it has acknowledged the first.
    for label in ["acknowledged", "after"] {
        managers[follows].ok(&["node", "label", "m1", &format!("{label}=yes")]).await?;
        has_label(&managers[follows], label).await?;
    }
    managers[follows].crash()?;
    let said = copy.refused(&["--http", "off", "--hostname", "copy"]).await;
    if term(&managers[leads]).await? != before {
        return Ok(false);
    }
    let said = said?;
    ensure!(said.code == Some(1), "{said:?}");
    ensure!(said.talk.contains("is an old copy"), "{said:?}");
    let said = copy.refused(&["--http", "off"]).await?;
    ensure!(said.talk.contains("is not started again"), "{said:?}");
    // The original has everything, and comes back to where it was.
    managers[follows].resume().await?;
    for (at, manager) in managers.iter().enumerate() {
        let label = format!("back-{at}");
        manager.ok(&["node", "label", "m1", &format!("{label}=yes")]).await?;
        ensure!(node_named(manager, "m1").await?["labels"][&label] == "yes", "{label}");
    }
    Ok(true)
}

/// Waits until `manager` has the label itself: a majority without it may have written it before.
async fn has_label(manager: &Node, label: &str) -> anyhow::Result<()> {
    wait::until(&format!("the manager has {label}"), SOON, async || {
        let node = manager.json(&["node", "inspect", "m1", "--stale"]).await?;
        ensure!(node["labels"][label] == "yes", "{node}");
        Ok(())
    })
    .await
}

async fn term(manager: &Node) -> anyhow::Result<Value> {
    Ok(manager.json(&["cluster", "info"]).await?["term"].clone())
}
