//! Two of three managers are lost: the third goes on alone, and the others do no harm when they come back.

use anyhow::ensure;
use warren_test::cluster::Node;
use warren_test::wait;

use super::super::{SOON, joined, node_named, three_managers, voters};
use super::{create_web, pids, ready, up, write, written};

#[tokio::test]
async fn one_of_three_goes_on_and_those_that_come_back_do_no_harm() {
    two_lost().await.unwrap();
}

async fn two_lost() -> anyhow::Result<()> {
    let mut managers = three_managers().await?;
    let worker = joined(&managers[0], "worker", "w1").await?;
    create_web(&managers[0], "2").await?;
    let known = ready(&managers[0], 2).await?;
    let before = pids(&worker)?;
    ensure!(!before.is_empty());
    write(&managers[0], "w1").await?;
    let mut old = managers.split_off(1);
    let mut survivor = managers.remove(0);
    // A follower may be some entries late; what it has not got is what a recovery loses.
    wait::until("the one that is left has all of it", SOON, async || {
        written(&survivor, "w1").await
    })
    .await?;
    for manager in &mut old {
        manager.crash()?;
    }
    let recover = ["cluster", "recover", "--force-new-cluster"];
    let runs = survivor.command(&[&recover[..], &["--yes"]].concat()).await?;
    let pid = survivor.run()?["pid"].to_string();
    ensure!(runs.code == Some(1) && runs.talk.contains(&pid), "{runs:?}");
    survivor.stop().await?;
    let bare = survivor.command(&["cluster", "recover"]).await?;
    ensure!(bare.code == Some(2) && bare.talk.contains("--force-new-cluster"), "{bare:?}");
    let asks = survivor.command(&recover).await?;
    ensure!(asks.code == Some(2) && asks.talk.contains("nothing was done"), "{asks:?}");
    for fact in ["lost: every change", "m2 (n2), m3 (n3)", "as epoch 2"] {
        ensure!(asks.talk.contains(fact), "it says {fact}: {asks:?}");
    }
    survivor.ok(&[&recover[..], &["--yes"]].concat()).await?;
    survivor.resume().await?;
    let info = survivor.json(&["cluster", "info"]).await?;
    ensure!(info["epoch"] == 2, "{info}");
    voters(&survivor, 1).await?;
    written(&survivor, "w1").await?;
    up(&survivor, "w1").await?;
    ensure!(ready(&survivor, 2).await? == known && pids(&worker)? == before, "adopted");

    come_back(&mut old, &survivor).await?;
    ensure!(ready(&survivor, 2).await? == known && pids(&worker)? == before, "untouched");
    survivor.ok(&["node", "label", "w1", "after=recovery"]).await?;
    ensure!(node_named(&survivor, "w1").await?["labels"]["after"] == "recovery");
    let info = survivor.json(&["cluster", "info"]).await?;
    ensure!(info["epoch"] == 2 && info["managers"].as_array().map(Vec::len) == Some(1), "{info}");
    drop(old);
    // Wiped, they join as new nodes.
    let mut others: Vec<Node> = Vec::new();
    for name in ["m2", "m3"] {
        others.push(joined(&survivor, "manager", name).await?);
    }
    voters(&others[1], 3).await?;
    written(&others[1], "w1").await
}

/// Both old managers start at once: together they are a majority of the old cluster.
async fn come_back(old: &mut [Node], survivor: &Node) -> anyhow::Result<()> {
    const WHY: &str = "restored or recovered without this manager: it is in epoch 2";
    let [second, third] = old else { anyhow::bail!("two old managers") };
    // Whether they are ready for a moment does not matter, only that they do not stay.
    let _ = tokio::join!(second.resume(), third.resume());
    for manager in [second, third] {
        wait::until("an old manager has stopped", SOON, async || {
            ensure!(manager.has_ended()?, "it runs: {}", manager.log_end());
            Ok(())
        })
        .await?;
        ensure!(manager.log_end().contains(WHY), "{}", manager.log_end());
        let again = manager.refused(&["--http", "off"]).await?;
        ensure!(again.code == Some(1) && again.talk.contains(WHY), "{again:?}");
        ensure!(again.talk.contains("join this machine anew"), "{again:?}");
    }
    // Who asks it meanwhile is answered by the new cluster alone.
    ensure!(survivor.json(&["cluster", "info"]).await?["epoch"] == 2);
    Ok(())
}

#[tokio::test]
async fn one_of_three_is_replaced_while_the_cluster_works() {
    one_lost().await.unwrap();
}

async fn one_lost() -> anyhow::Result<()> {
    let mut managers = three_managers().await?;
    let mut lost = managers.remove(2);
    lost.crash()?;
    drop(lost);
    wait::until("the loss is noticed", SOON, async || {
        let known = node_named(&managers[0], "m3").await?;
        ensure!(known["status"] == "down", "{known}");
        Ok(())
    })
    .await?;
    managers[0].ok(&["cluster", "demote", "m3"]).await?;
    managers[0].ok(&["cluster", "rm", "m3", "--force", "--yes"]).await?;
    let _fresh = joined(&managers[1], "manager", "m3").await?;
    voters(&managers[0], 3).await?;
    ensure!(node_named(&managers[1], "m3").await?["id"] != "n3", "ids are not used again");
    Ok(())
}
