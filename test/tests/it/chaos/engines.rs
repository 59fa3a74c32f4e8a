//! An engine that hangs and a node that dies beside it: containers serve on, and are taken up as they are.

use anyhow::ensure;
use warren_test::fleet::{Fleet, SOON};
use warren_test::wait;

use super::{all, clients, of_containers, runs, serving};

async fn hang(fleet: &mut Fleet) -> anyhow::Result<()> {
    const HUNG: usize = 1;
    let web = serving(fleet, "web", 4).await?;
    let before = runs(fleet).await?;
    let load = clients(fleet, 0, &["web"]).await?;

    // The node alone: killed and started, it finds its containers as they are.
    fleet.node_mut(HUNG).crash()?;
    fleet.node_mut(HUNG).resume().await?;
    fleet.settled(&all(fleet)).await?;
    ensure!(runs(fleet).await? == before, "all were adopted");
    load.all_answered("web", "with a node killed and started")?;

    // The engine hangs: what runs serves on, the node says what is wrong, and new tasks wait or go elsewhere.
    fleet.bed_mut().engine(HUNG).hang(true)?;
    wait::until("status says that the engine does not answer", SOON, async || {
        let status = fleet.node(0).ok(&["status"]).await?;
        ensure!(status.contains("does not answer"), "{status}");
        Ok(())
    })
    .await?;
    web.scale(8).await?;
    // And the node dies while nobody can tell it what runs.
    fleet.node_mut(HUNG).crash()?;
    load.all_answered("web", "with an engine that hangs")?;
    fleet.bed_mut().engine(HUNG).hang(false)?;
    fleet.node_mut(HUNG).resume().await?;
    fleet.settled(&all(fleet)).await?;
    let after = runs(fleet).await?;
    for (before, after) in before.iter().zip(&after) {
        let kept = before.iter().all(|(task, pid)| after.get(task) == Some(pid));
        ensure!(kept, "no container was touched: {before:?} {after:?}");
    }
    load.all_answered("web", "with the engine back")?;
    Ok(())
}

#[tokio::test]
async fn an_engine_that_hangs_costs_no_request() {
    let test = "an_engine_that_hangs_costs_no_request";
    let Some(mut fleet) = of_containers(test, 2, 1).await else { return };
    hang(&mut fleet).await.unwrap();
}
