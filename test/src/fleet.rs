//! One cluster on the machines of a testbed, a node in each; what is done to its machines, and how it has to look when
//! all is mended.

mod ledger;
mod machine;
mod settled;

pub use ledger::Ledger;
pub use machine::Runs;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::cluster::{Node, Runtime};
use crate::testbed::{Engines, Inside, Machine, Plan, Testbed};
use crate::wait;

/// Long for anything that a small cluster does; only a broken one needs it.
pub const SOON: Duration = Duration::from_secs(90);

/// A cluster whose nodes have machines of their own. The test's thread is in the hub as long as it lives: it sees all
/// machines, whatever is cut between them.
pub struct Fleet {
    // Nodes end before their machines do.
    nodes: Vec<Node>,
    runtime: Runtime,
    managers: usize,
    _inside: Inside,
    bed: Testbed,
}

impl Fleet {
    /// Makes the machines and the cluster: the first `managers` of them are managers, the others workers, each named as
    /// its machine. All get these arguments of `warren up` as well.
    ///
    /// # Errors
    /// [`NotHere`](crate::testbed::NotHere) where this machine cannot have them; else what went wrong.
    pub async fn build(plan: Plan, managers: usize, arguments: &[&str]) -> anyhow::Result<Self> {
        let all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self::build_with(plan, managers, |_| all.clone()).await
    }

    /// As [`Self::build`], with arguments for each machine.
    ///
    /// # Errors
    /// As there.
    pub async fn build_with(
        plan: Plan,
        managers: usize,
        arguments: impl Fn(&Machine) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        ensure!((1..=plan.machines).contains(&managers), "as many managers as machines at most");
        let bed = Testbed::build(plan).await?;
        let inside = bed.enter()?;
        let runtime = match plan.engines {
            Engines::None => Runtime::Process,
            Engines::Plain | Engines::LiveRestore => Runtime::Docker,
        };
        let mut fleet = Self { nodes: Vec::new(), runtime, managers, _inside: inside, bed };
        for index in 0..plan.machines {
            let own = arguments(fleet.bed.machine(index));
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            let mut node = fleet.make(index, &own).await?;
            node.resume().await.with_context(|| fleet.bed.machine(index).name.clone())?;
            fleet.nodes.push(node);
        }
        fleet.all_vote().await?;
        Ok(fleet)
    }

    async fn make(&self, index: usize, arguments: &[&str]) -> anyhow::Result<Node> {
        let machine = self.bed.machine(index);
        let named = [&["--hostname", &machine.name], arguments].concat();
        let role = if index < self.managers { "manager" } else { "worker" };
        match self.nodes.first() {
            None => machine.node(self.runtime, &named),
            Some(first) => {
                let token = first.ok(&["cluster", "token", role, "--quiet"]).await?;
                let join = ["--join", first.listen(), "--token", token.trim()];
                machine.node(self.runtime, &[&named[..], &join].concat())
            }
        }
    }

    /// Starts the nodes of these machines again, at once: managers wait for each other.
    ///
    /// # Errors
    /// Where one does not get ready.
    pub async fn resume(&mut self, these: &[usize]) -> anyhow::Result<()> {
        let all = self.nodes.iter_mut().enumerate();
        let these = all.filter(|(index, _)| these.contains(index));
        futures::future::try_join_all(these.map(|(_, node)| node.resume())).await?;
        Ok(())
    }

    /// Takes the power from a machine: nothing that ran on it runs any more, and nobody was told.
    ///
    /// # Errors
    /// Where something of it lives on.
    pub async fn lose(&mut self, index: usize) -> anyhow::Result<()> {
        // Silent first: nobody is to hear of its end by a connection that is closed.
        self.bed.part(&[index])?;
        let runs = self.runs(index).await?;
        self.nodes[index].crash()?;
        if self.runtime == Runtime::Docker {
            self.bed.engine(index).crash().await?;
        }
        self.bed.machine(index).kill_all(&runs.values().copied().collect::<Vec<_>>());
        Ok(())
    }

    /// Gives a lost machine its power back, and starts what starts with it.
    ///
    /// # Errors
    /// Where the engine or the node does not get ready.
    pub async fn power_up(&mut self, index: usize) -> anyhow::Result<()> {
        self.bed.heal()?;
        if self.runtime == Runtime::Docker {
            self.bed.engine(index).resume().await?;
        }
        self.nodes[index].resume().await
    }

    /// Waits until every manager votes.
    ///
    /// # Errors
    /// Where that does not come.
    pub async fn all_vote(&self) -> anyhow::Result<()> {
        // Of an even number one stands by.
        let votes = self.managers - (self.managers + 1) % 2;
        wait::until(&format!("{votes} managers vote"), SOON, async || {
            let info = self.nodes[0].json(&["cluster", "info"]).await?;
            let all = info["managers"].as_array().context("managers")?;
            let voting = all.iter().filter(|manager| manager["votes"] == true).count();
            ensure!(voting == votes, "{all:?}");
            Ok(())
        })
        .await
    }

    /// What runs its tasks.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// Its machines.
    #[must_use]
    pub fn bed(&self) -> &Testbed {
        &self.bed
    }

    /// Its machines, to do something to their engines.
    pub fn bed_mut(&mut self) -> &mut Testbed {
        &mut self.bed
    }

    /// The node of a machine, from 0 on.
    ///
    /// # Panics
    /// Where there are not so many.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The same, to be ended and started.
    ///
    /// # Panics
    /// Where there are not so many.
    pub fn node_mut(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// All of its nodes, in the order of their machines.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What a test calls the image of the demo workload; every engine has it then.
    ///
    /// # Errors
    /// Where an engine does not take it.
    pub async fn image(&self) -> anyhow::Result<String> {
        match self.runtime {
            Runtime::Process => self.runtime.web_image("v1").await,
            Runtime::Docker => {
                let mut name = String::new();
                for machine in self.bed.machines() {
                    name = machine.web_image("v1").await?;
                }
                Ok(name)
            }
        }
    }

    /// Which machine leads, as a manager says.
    ///
    /// # Errors
    /// Where it does not answer, or nobody leads.
    pub async fn leader(&self, asked: usize) -> anyhow::Result<usize> {
        let info = self.nodes[asked].json(&["cluster", "info"]).await?;
        let leader = info["leader_id"].as_str().unwrap_or_default();
        let ids = self.nodes.iter().map(|node| Ok(node.run()?["node_id"].clone()));
        let ids = ids.collect::<anyhow::Result<Vec<_>>>()?;
        ids.iter().position(|id| *id == leader).with_context(|| format!("{leader:?} leads"))
    }

    /// How the cluster sees the node of a machine.
    ///
    /// # Errors
    /// Where the manager that is asked does not answer.
    pub async fn seen(&self, asked: usize, index: usize) -> anyhow::Result<Value> {
        let nodes = self.nodes[asked].json(&["node", "ls"]).await?;
        let name = &self.bed.machine(index).name;
        let found = nodes.as_array().context("a list")?.iter();
        let found = found.clone().find(|node| node["hostname"] == name.as_str());
        Ok(found.with_context(|| format!("no node {name} in {nodes}"))?.clone())
    }

    /// Waits until a manager says this of a node's status.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn is(&self, asked: usize, index: usize, status: &str) -> anyhow::Result<()> {
        let what = format!("{} is {status}", self.bed.machine(index).name);
        wait::until(&what, SOON, async || {
            let seen = self.seen(asked, index).await?;
            ensure!(seen["status"] == status, "{seen}");
            Ok(())
        })
        .await
    }
}
