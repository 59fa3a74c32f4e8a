//! Several managers: who votes, what is lost with one of them, and that all answer.

use anyhow::ensure;
use warren_test::wait;

use super::{SOON, joined, node_named, three_managers, voters};

#[tokio::test]
async fn three_managers_lose_one_and_nothing_else() {
    lose_a_leader().await.unwrap();
}

async fn lose_a_leader() -> anyhow::Result<()> {
    let mut managers = three_managers().await?;
    for (number, manager) in managers.iter().enumerate() {
        // Each answers, wherever the leader is.
        let label = format!("asked=m{}", number + 1);
        manager.ok(&["node", "label", "m1", &label]).await?;
        ensure!(node_named(manager, "m1").await?["labels"]["asked"] == format!("m{}", number + 1));
    }
    let mut first = managers.remove(0);
    first.crash()?;
    wait::until("another leads and writes", SOON, async || {
        managers[0].ok(&["node", "label", "m2", "after=crash"]).await
    })
    .await?;
    ensure!(node_named(&managers[1], "m2").await?["labels"]["after"] == "crash");
    ensure!(node_named(&managers[1], "m1").await?["labels"]["asked"] == "m3", "nothing is lost");
    first.resume().await?;
    ensure!(node_named(&first, "m2").await?["labels"]["after"] == "crash");
    // A leader that is told to stop hands over first.
    Ok(())
}

#[tokio::test]
async fn votes_are_odd_and_roles_change_while_tasks_run() {
    promote_and_demote().await.unwrap();
}

async fn promote_and_demote() -> anyhow::Result<()> {
    let mut managers = three_managers().await?;
    let worker = joined(&managers[1], "worker", "w1").await?;
    let image = warren_test::cluster::Runtime::Process.web_image("v1").await?;
    let create = ["service", "create", "web", "--image", &image, "--replicas", "4"];
    let port = ["--port", "http=8080", "--health-http", "8080/health", "--min-ready", "0s"];
    managers[0].ok(&[&create[..], &port].concat()).await?;
    let ids = async |node: &warren_test::cluster::Node| {
        let tasks = node.json(&["service", "ps", "web"]).await?;
        let ids: Vec<_> =
            tasks.as_array().into_iter().flatten().map(|task| task["id"].clone()).collect();
        anyhow::Ok(ids)
    };
    let before = ids(&managers[0]).await?;
    managers[0].ok(&["node", "promote", "w1"]).await?;
    wait::until("the fourth manager follows without a vote", SOON, async || {
        let info = managers[0].json(&["cluster", "info"]).await?;
        let all = info["managers"].as_array().cloned().unwrap_or_default();
        let voting = all.iter().filter(|manager| manager["votes"] == true).count();
        ensure!(all.len() == 4 && voting == 3, "{all:?}");
        Ok(())
    })
    .await?;
    managers[0].ok(&["node", "demote", "m3"]).await?;
    wait::until("the one that stood by votes instead", SOON, async || {
        let info = managers[0].json(&["cluster", "info"]).await?;
        let all = info["managers"].as_array().cloned().unwrap_or_default();
        ensure!(all.len() == 3 && all.iter().all(|manager| manager["votes"] == true), "{all:?}");
        Ok(())
    })
    .await?;
    wait::until("both are up in their new roles", SOON, async || {
        for (name, role) in [("w1", "manager"), ("m3", "worker")] {
            let node = node_named(&managers[0], name).await?;
            ensure!(node["role"] == role && node["status"] == "up", "{node}");
        }
        Ok(())
    })
    .await?;
    ensure!(ids(&managers[0]).await? == before, "no task was touched");
    wait::until("the new manager answers", SOON, async || node_named(&worker, "w1").await).await?;
    drop(managers.pop());
    voters(&worker, 3).await?;
    Ok(())
}
