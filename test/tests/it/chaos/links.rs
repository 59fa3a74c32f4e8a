//! Links that carry one way only, and links that come and go.

use anyhow::ensure;
use warren_test::fleet::{Fleet, Ledger};

use super::{all, of_processes, others, runs, serving};

/// The leader is not heard, or hears nobody: either way somebody who hears and is heard has to lead, and writes go on
/// through those who hear each other.
async fn one_way(fleet: &Fleet) -> anyhow::Result<()> {
    serving(fleet, "web", 3).await?;
    let ledger = Ledger::start(fleet, &all(fleet))?;
    for heard in [false, true] {
        let leader = fleet.leader(0).await?;
        ledger.goes_on(leader).await?;
        let rest = others(fleet, leader);
        for other in &rest {
            let (from, to) = if heard { (*other, leader) } else { (leader, *other) };
            fleet.bed().cut(from, to)?;
        }
        for place in &rest {
            ledger.goes_on(*place).await?;
        }
        fleet.bed().heal()?;
        ledger.goes_on(leader).await?;
    }
    // A follower that does not hear the leader, and is heard by all, must not keep the others from working.
    let leader = fleet.leader(0).await?;
    let deaf = others(fleet, leader)[0];
    fleet.bed().cut(leader, deaf)?;
    let third = others(fleet, leader)[1];
    for _ in 0..3 {
        ledger.goes_on(third).await?;
    }
    fleet.bed().heal()?;
    ledger.goes_on(deaf).await?;
    fleet.settled(&all(fleet)).await?;
    ledger.nothing_lost(fleet, deaf).await
}

#[tokio::test]
async fn links_that_carry_one_way_stop_nobody_else() {
    let test = "links_that_carry_one_way_stop_nobody_else";
    let Some(fleet) = of_processes(test, 3, 3).await else { return };
    one_way(&fleet).await.unwrap();
}

/// A manager and a worker come and go, each time only until the others have written; that is shorter than a lease, so
/// nobody is given up and no task is moved.
async fn flap(fleet: &Fleet) -> anyhow::Result<()> {
    serving(fleet, "web", 4).await?;
    let before = runs(fleet).await?;
    let ledger = Ledger::start(fleet, &[0, 1, 2])?;
    let leader = fleet.leader(0).await?;
    let follower = [0, 1, 2].into_iter().find(|index| *index != leader).unwrap_or_default();
    let worker = 3;
    for flapping in [&[follower][..], &[worker], &[follower, worker]] {
        for _ in 0..4 {
            fleet.bed().part(flapping)?;
            ledger.goes_on(leader).await?;
            fleet.bed().heal()?;
            ledger.goes_on(follower).await?;
        }
    }
    fleet.settled(&all(fleet)).await?;
    ensure!(runs(fleet).await? == before, "no task was touched");
    ledger.nothing_lost(fleet, follower).await
}

#[tokio::test]
async fn links_that_come_and_go_move_no_task() {
    let test = "links_that_come_and_go_move_no_task";
    let Some(fleet) = of_processes(test, 4, 3).await else { return };
    flap(&fleet).await.unwrap();
}
