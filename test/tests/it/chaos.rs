//! Clusters whose machines, links, engines and disks fail, with clients and writers that never pause. After healing
//! each has to be as if nothing had been: `Fleet::settled` looks at every machine, and no acknowledged write is lost.

mod disaster;
mod engines;
mod histories;
mod leaders;
mod links;
mod managers;
mod releases;
mod workers;

use anyhow::ensure;
use warren_test::fleet::{Fleet, Runs};
use warren_test::load::{Load, Tally};
use warren_test::release::Web;
use warren_test::testbed::{self, Engines, Plan};

/// `None`, said aloud, where this machine cannot have it.
fn or_skip(test: &str, built: anyhow::Result<Fleet>) -> Option<Fleet> {
    testbed::or_skip(&format!("{}::{test}", module_path!()), built)
}

/// Machines whose tasks are processes: nobody reaches those of another machine.
async fn of_processes(test: &str, machines: usize, managers: usize) -> Option<Fleet> {
    or_skip(test, Fleet::build(Plan::machines(machines), managers, &[]).await)
}

/// Machines with an engine each.
async fn of_containers(test: &str, machines: usize, managers: usize) -> Option<Fleet> {
    let plan = Plan { engines: Engines::LiveRestore, ..Plan::machines(machines) };
    or_skip(test, Fleet::build(plan, managers, &[]).await)
}

/// A service of so many tasks, and the cluster at rest.
async fn serving(fleet: &Fleet, name: &str, replicas: u32) -> anyhow::Result<Web> {
    let image = fleet.image().await?;
    let web = Web::create_of(fleet.node(0), &image, name, replicas).await?;
    fleet.settled(&all(fleet)).await?;
    Ok(web)
}

/// Clients in the machine of a node, which ask its resolver.
async fn clients(fleet: &Fleet, index: usize, names: &[&str]) -> anyhow::Result<Load> {
    let _beside = fleet.bed().machine(index).namespace.enter()?;
    Load::start(fleet.node(index), names).await
}

fn all(fleet: &Fleet) -> Vec<usize> {
    (0..fleet.nodes().len()).collect()
}

fn others(fleet: &Fleet, than: usize) -> Vec<usize> {
    all(fleet).into_iter().filter(|index| *index != than).collect()
}

/// What runs on each machine.
async fn runs(fleet: &Fleet) -> anyhow::Result<Vec<Runs>> {
    let mut runs = Vec::new();
    for index in all(fleet) {
        runs.push(fleet.runs(index).await?);
    }
    Ok(runs)
}

/// Some requests failed, and after what had to be noticed was noticed, no more do.
async fn none_fails_any_more(load: &Load, name: &str) -> anyhow::Result<Tally> {
    let during = load.begin_anew(name)?;
    load.answered_by(name, "v1").await?;
    load.all_answered(name, "after it was noticed")?;
    ensure!(during.requests > during.failed, "{during}");
    Ok(during)
}
