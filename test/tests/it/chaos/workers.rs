//! A worker that nobody reaches: it is given up and replaced, its tasks go on, and on return all is sorted out.

use anyhow::{Context as _, ensure};
use warren_test::dns;
use warren_test::fleet::{Fleet, Ledger};

use super::{all, clients, none_fails_any_more, of_containers, runs, serving};

async fn cut_off(fleet: &Fleet) -> anyhow::Result<()> {
    const CUT: usize = 2;
    let web = serving(fleet, "web", 6).await?;
    let before = runs(fleet).await?;
    ensure!(before.iter().all(|runs| !runs.is_empty()), "spread over all: {before:?}");
    let load = clients(fleet, 0, &["web"]).await?;
    let ledger = Ledger::start(fleet, &[0])?;
    fleet.bed().part(&[CUT])?;
    fleet.is(0, CUT, "down").await?;
    // Asked for by its own resolver and engine: its tasks go on, and it names all that it knew.
    ensure!(fleet.runs(CUT).await? == before[CUT], "its tasks run on");
    let known = dns::addresses(fleet.node(CUT).dns_address()?, "web.warren.").await?;
    ensure!(known.len() == 6, "its resolver answers on: {known:?}");
    fleet.settled(&[0, 1]).await?;
    // Until it left the answers, a third of all requests went to tasks that nobody reached. There are not more of them
    // since a client that hangs on one asks no other: each waits for as long as an HTTP client does.
    let during = none_fails_any_more(&load, "web").await?;
    warren_test::say(&format!("until the worker was given up: {during}"));
    let replaced = runs_of(fleet, &[0, 1]).await?;

    fleet.bed().heal()?;
    fleet.settled(&all(fleet)).await?;
    // Every address once, and none that a task of the lost machine had twice: `settled` has seen that. What ran where
    // it was reached has not been touched, now or before.
    let after = runs(fleet).await?;
    for index in [0, 1] {
        let kept = before[index].iter().all(|(task, pid)| after[index].get(task) == Some(pid));
        ensure!(kept, "tasks that were reached all the time: {before:?} {after:?}");
    }
    ensure!(runs_of(fleet, &[0, 1]).await? == replaced, "the replacements stay");
    load.all_answered("web", "while the worker came back")?;
    // It takes tasks again.
    web.scale(9).await?;
    fleet.settled(&all(fleet)).await?;
    let taken = fleet.runs(CUT).await?;
    ensure!(!taken.is_empty(), "it takes tasks again");
    ledger.nothing_lost(fleet, 0).await
}

async fn runs_of(fleet: &Fleet, these: &[usize]) -> anyhow::Result<Vec<warren_test::fleet::Runs>> {
    let all = runs(fleet).await?;
    these.iter().map(|index| all.get(*index).cloned().context("a machine")).collect()
}

// req: C32
#[tokio::test]
async fn a_worker_cut_from_all_is_replaced_and_sorted_out() {
    let test = "a_worker_cut_from_all_is_replaced_and_sorted_out";
    let Some(fleet) = of_containers(test, 3, 1).await else { return };
    cut_off(&fleet).await.unwrap();
}
