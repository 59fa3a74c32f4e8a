//! A worker that nobody reaches: it is given up and replaced, its tasks go on, and on return all is sorted out.

use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};
use warren_test::dns;
use warren_test::fleet::{Fleet, Ledger};
use warren_test::wait;

use super::{all, clients, none_fails_any_more, of_containers, of_processes, runs, serving};

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

/// For how long others may keep a node up at most.
const VOUCHED_MAX: Duration = Duration::from_secs(60);

/// The leader alone does not hear a worker: the others reach it, so it stays and its tasks with it. Then its process
/// stands still, while its kernel answers on: that is no sign of life.
async fn unheard(fleet: &Fleet) -> anyhow::Result<()> {
    const WORKER: usize = 3;
    let name = &fleet.bed().machine(WORKER).name;
    serving(fleet, "web", 4).await?;
    let before = runs(fleet).await?;
    ensure!(!before[WORKER].is_empty(), "spread over all: {before:?}");
    fleet.bed().cut(0, WORKER)?;
    fleet.bed().cut(WORKER, 0)?;
    let what = "it is silent for longer than a node may be, and others reach it";
    let told = wait::until(what, VOUCHED_MAX, async || {
        let seen = fleet.seen(0, WORKER).await?;
        ensure!(seen["status"] != "down", "it was given up: {seen}");
        let told = seen["problems"][0].as_str().context("nothing is known of it")?;
        let silent = told.strip_prefix("silent for ").and_then(|rest| rest.split(' ').next());
        let silent: u64 = silent.context("for how long?")?.parse()?;
        ensure!(silent >= 14 && told.contains("reach it"), "{told}");
        Ok(told.to_owned())
    })
    .await?;
    ensure!(told.contains("check the link between it and the leader"), "{told}");
    let list = fleet.node(0).ok(&["node", "ls"]).await?;
    ensure!(list.contains(&format!("{name}: silent for")), "{list}");
    let why = fleet.node(0).ok(&["why", "web"]).await?;
    ensure!(why.contains(&format!("{name}: silent for")), "{why}");
    ensure!(runs(fleet).await? == before, "no task was touched");
    fleet.bed().heal()?;
    fleet.settled(&all(fleet)).await?;
    ensure!(runs(fleet).await? == before, "no task was touched");

    fleet.node(WORKER).hang(true)?;
    let since = Instant::now();
    fleet.is(0, WORKER, "down").await?;
    let took = since.elapsed();
    warren_test::say(&format!("a worker that stood still was given up after {took:?}"));
    ensure!(took < VOUCHED_MAX / 2, "given up as late as {took:?}");
    fleet.node(WORKER).hang(false)?;
    fleet.settled(&all(fleet)).await
}

#[tokio::test]
async fn a_worker_that_the_leader_alone_does_not_hear_stays() {
    let test = "a_worker_that_the_leader_alone_does_not_hear_stays";
    let Some(fleet) = of_processes(test, 4, 1).await else { return };
    unheard(&fleet).await.unwrap();
}
