//! Managers that die together, a leader that is cut off, and a manager that runs twice.

use anyhow::{Context as _, ensure};
use warren_test::dns;
use warren_test::fleet::{Fleet, Ledger};

use super::{all, of_processes, others, runs, serving};

const MANAGERS: [usize; 3] = [0, 1, 2];

async fn die_together(fleet: &mut Fleet) -> anyhow::Result<()> {
    serving(fleet, "web", 5).await?;
    let before = runs(fleet).await?;
    let ledger = Ledger::start(fleet, &MANAGERS)?;
    for _ in 0..2 {
        ledger.goes_on(0).await?;
        for index in MANAGERS {
            fleet.node_mut(index).crash()?;
        }
        // Without any manager, names resolve and tasks run.
        let server = fleet.node(3).dns_address()?;
        ensure!(dns::addresses(server, "web.warren.").await?.len() == 5, "names resolve on");
        ensure!(runs(fleet).await? == before, "tasks run on");
        fleet.resume(&MANAGERS).await?;
    }
    for place in MANAGERS {
        ledger.goes_on(place).await?;
    }
    fleet.settled(&all(fleet)).await?;
    ensure!(runs(fleet).await? == before, "no task was touched");
    ledger.nothing_lost(fleet, 0).await
}

// req: B43, C32
#[tokio::test]
async fn all_managers_killed_at_once_come_back_with_every_write() {
    let test = "all_managers_killed_at_once_come_back_with_every_write";
    let Some(mut fleet) = of_processes(test, 5, 3).await else { return };
    die_together(&mut fleet).await.unwrap();
}

async fn cut_the_leader(fleet: &Fleet) -> anyhow::Result<()> {
    serving(fleet, "web", 5).await?;
    let before = runs(fleet).await?;
    let ledger = Ledger::start(fleet, &all(fleet))?;
    let leader = fleet.leader(0).await?;
    ledger.goes_on(leader).await?;
    fleet.bed().part(&[leader])?;
    let rest = others(fleet, leader);
    // The majority goes on, through each of its members.
    for place in &rest {
        ledger.goes_on(*place).await?;
    }
    let last = ledger.last(leader).context("it wrote before")?;
    for place in &rest {
        ledger.goes_on(*place).await?;
    }
    ensure!(ledger.last(leader) == Some(last), "a leader without the others acknowledges nothing");
    let said = fleet.node(leader).command(&["service", "scale", "web", "4"]).await?;
    ensure!(said.code != Some(0), "nor does it to an operator: {said:?}");
    fleet.bed().heal()?;
    ledger.goes_on(leader).await?;
    fleet.settled(&all(fleet)).await?;
    let after = runs(fleet).await?;
    for index in rest {
        let kept = before[index].iter().all(|(task, pid)| after[index].get(task) == Some(pid));
        ensure!(kept, "tasks of the majority were touched: {before:?} {after:?}");
    }
    ledger.nothing_lost(fleet, leader).await
}

#[tokio::test]
async fn a_leader_cut_from_the_others_acknowledges_nothing() {
    let test = "a_leader_cut_from_the_others_acknowledges_nothing";
    let Some(fleet) = of_processes(test, 5, 5).await else { return };
    cut_the_leader(&fleet).await.unwrap();
}

async fn run_twice(fleet: &Fleet) -> anyhow::Result<()> {
    let leads = fleet.leader(0).await?;
    let follows = (leads + 1) % MANAGERS.len();
    let original = fleet.node(follows);
    let copy = fleet.bed().machine(3).node(fleet.runtime(), &[])?;
    original.copy_data_to(&copy)?;
    let ledger = Ledger::start(fleet, &MANAGERS)?;
    let said = copy.refused(&["--http", "off", "--hostname", "copy"]).await?;
    ensure!(said.code == Some(1), "{said:?}");
    ensure!(said.talk.contains("is in use twice"), "{said:?}");
    ensure!(said.talk.contains(original.listen()), "where the other is: {said:?}");
    ensure!(said.talk.contains("never on a copy of it"), "what to do: {said:?}");
    let said = copy.refused(&["--http", "off"]).await?;
    ensure!(said.talk.contains("is not started again"), "{said:?}");
    for place in MANAGERS {
        ledger.goes_on(place).await?;
    }
    fleet.settled(&all(fleet)).await?;
    ledger.nothing_lost(fleet, follows).await
}

#[tokio::test]
async fn a_copy_of_a_managers_directory_stops_and_the_original_goes_on() {
    let test = "a_copy_of_a_managers_directory_stops_and_the_original_goes_on";
    let Some(fleet) = of_processes(test, 4, 3).await else { return };
    run_twice(&fleet).await.unwrap();
}
