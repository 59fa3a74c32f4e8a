//! Three real managers, each a process of its own with its own data on this machine's disk.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use warren_test::cluster::{Node, Runtime};
use warren_test::{http, wait};

/// Long for anything that three managers agree on.
const SOON: Duration = Duration::from_secs(60);

/// The managers, in the order in which they came.
pub(crate) struct Managers {
    pub(crate) nodes: Vec<Node>,
}

impl Managers {
    /// One that makes the cluster, with `pool` for its nodes, and two that join and vote.
    pub(crate) async fn start(pool: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self::start_timed(pool).await?.0)
    }

    /// The same, with how long the second and the third took from their start until they voted.
    pub(crate) async fn start_timed(pool: Option<&str>) -> anyhow::Result<(Self, Vec<Duration>)> {
        let first = Node::stopped(Runtime::Process, &["--hostname", "m1"])?;
        let mut first = match pool {
            Some(pool) => first.with_pool(pool),
            None => first,
        };
        first.resume().await?;
        let mut managers = Self { nodes: vec![first] };
        let mut took = Vec::new();
        for name in ["m2", "m3"] {
            let token = managers.token("manager").await?;
            let begun = std::time::Instant::now();
            let first = &managers.nodes[0];
            let join = ["--join", first.listen(), "--token", &token, "--hostname", name];
            let node = Node::start_with(Runtime::Process, &join).await?;
            managers.nodes.push(node);
            managers.vote().await?;
            took.push(begun.elapsed());
        }
        Ok((managers, took))
    }

    /// A token for machines that become `role`.
    pub(crate) async fn token(&self, role: &str) -> anyhow::Result<String> {
        let said = self.nodes[0].ok(&["cluster", "token", role, "--quiet"]).await?;
        Ok(said.trim().to_owned())
    }

    /// Waits until all of them vote.
    async fn vote(&self) -> anyhow::Result<()> {
        let count = self.nodes.len().min(3);
        wait::until("the managers vote", SOON, async || {
            let info = self.nodes[0].json(&["cluster", "info"]).await?;
            let managers = info["managers"].as_array().context("managers")?;
            let voting = managers.iter().filter(|manager| manager["votes"] == true).count();
            // An even number is avoided: of two, one votes.
            ensure!(managers.len() == count && voting >= count - usize::from(count == 2), "{info}");
            Ok(())
        })
        .await
    }

    /// Which one leads, by its own word.
    pub(crate) async fn leader(&self) -> anyhow::Result<usize> {
        wait::until("a manager leads", SOON, async || {
            for (at, node) in self.nodes.iter().enumerate() {
                if let Ok(leads) = metric(node, "warren_raft_leading").await
                    && leads > 0.5
                {
                    return Ok(at);
                }
            }
            anyhow::bail!("none leads")
        })
        .await
    }

    /// Entries that one of them writes in a second while nobody asks for anything.
    pub(crate) async fn idle_entries(&self, watched: Duration) -> anyhow::Result<f64> {
        let leader = &self.nodes[self.leader().await?];
        let before = metric(leader, "warren_raft_last_index").await?;
        tokio::time::sleep(watched).await;
        let after = metric(leader, "warren_raft_last_index").await?;
        Ok((after - before) / watched.as_secs_f64())
    }
}

/// One value of a node's `/metrics`: the sum over its labels.
pub(crate) async fn metric(node: &Node, name: &str) -> anyhow::Result<f64> {
    let (_, text) = http::get(node.http_address()?, "/metrics").await?;
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter(|rest| rest.starts_with([' ', '{']));
    let values = values.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    let values: Vec<f64> = values.collect();
    ensure!(!values.is_empty(), "{name} is not measured");
    Ok(values.iter().sum())
}
