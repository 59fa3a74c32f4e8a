//! How a cluster has to look once everything is mended: what is assigned is what runs, on every machine; every resolver
//! names what is ready and nothing else; nothing is left over.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use warren_wire::v1::{ListServicesRequest, ListTasksRequest, Service, Task};

use super::{Fleet, SOON};
use crate::api::Api;
use crate::{dns, wait};

/// The phases of tasks that have ended.
const ENDED: [&str; 6] = ["completed", "failed", "rejected", "stopped", "lost", "removed"];

/// Questions until every address was named: an answer has eight of them by chance, and a cluster here a dozen.
const ANSWERS_MAX: usize = 32;

impl Fleet {
    /// Waits until all is as it should be on these machines, whose nodes are the only ones that are up. The first of
    /// them is a manager.
    ///
    /// # Errors
    /// With what is not as it should be.
    pub async fn settled(&self, alive: &[usize]) -> anyhow::Result<()> {
        let api = Api::of(self.node(*alive.first().context("a machine that lives")?));
        wait::until("the cluster is settled", SOON, async || {
            self.look(&api, alive).await?;
            // Twice, since what is about to be stopped may look as it should.
            self.look(&api, alive).await
        })
        .await
    }

    async fn look(&self, api: &Api, alive: &[usize]) -> anyhow::Result<()> {
        let services = api.services.clone().list_services(ListServicesRequest::default()).await?;
        let tasks = api.tasks.clone().list_tasks(ListTasksRequest::default()).await?;
        let tasks = tasks.into_inner().tasks;
        let live = tasks.into_iter().filter(|task| !ENDED.contains(&task.phase.as_str()));
        let live: Vec<Task> = live.collect();
        for index in 0..self.nodes().len() {
            let seen = self.seen(alive[0], index).await?;
            let wanted = if alive.contains(&index) { "up" } else { "down" };
            ensure!(seen["status"] == wanted, "{seen}");
        }
        for service in &services.into_inner().services {
            self.names(service, &live, alive).await?;
        }
        for index in alive {
            let name = &self.bed().machine(*index).name;
            let here = live.iter().filter(|task| task.node == *name);
            let assigned: BTreeSet<&str> = here.map(|task| task.id.as_str()).collect();
            let runs = self.runs(*index).await?;
            let runs: BTreeSet<&str> = runs.keys().map(String::as_str).collect();
            ensure!(runs == assigned, "{name} runs {runs:?}, and {assigned:?} are assigned to it");
        }
        let lost = live
            .iter()
            .find(|task| !alive.iter().any(|index| self.bed().machine(*index).name == task.node));
        ensure!(lost.is_none(), "a task is on a machine that is down: {lost:?}");
        Ok(())
    }

    /// All tasks of a service are ready, and every resolver names each of them once.
    async fn names(&self, service: &Service, live: &[Task], alive: &[usize]) -> anyhow::Result<()> {
        let spec = service.spec.as_ref().context("a spec")?;
        let of = live.iter().filter(|task| task.service == spec.name);
        let of: Vec<&Task> = of.collect();
        let unready = of.iter().find(|task| !task.ready || task.desired != "run");
        ensure!(unready.is_none(), "not ready: {unready:?}");
        let (count, desired) = (of.len(), service.desired as usize);
        ensure!(count == desired, "{}: {count} of {desired}", spec.name);
        let addresses = of.iter().map(|task| Ok(task.address.parse::<IpAddr>()?));
        let ready = addresses.collect::<anyhow::Result<BTreeSet<_>>>()?;
        ensure!(ready.len() == count, "{}: two have one address: {ready:?}", spec.name);
        for index in alive {
            let server = self.node(*index).dns_address()?;
            let found = named(server, &format!("{}.warren.", spec.name), count).await?;
            let name = &self.bed().machine(*index).name;
            ensure!(found == ready, "{name} names {found:?}, ready are {ready:?}");
        }
        Ok(())
    }
}

/// All that a resolver names; it is asked again where an answer had no room for all of so many.
async fn named(server: SocketAddr, name: &str, count: usize) -> anyhow::Result<BTreeSet<IpAddr>> {
    let mut all = BTreeSet::new();
    for _ in 0..ANSWERS_MAX {
        let found = dns::addresses(server, name).await?;
        let each: BTreeSet<IpAddr> = found.iter().copied().collect();
        ensure!(each.len() == found.len(), "{server} names one twice: {found:?}");
        all.extend(each);
        if all.len() >= count {
            break;
        }
    }
    Ok(all)
}
