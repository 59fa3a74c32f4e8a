//! A node whose roles run: how it becomes ready, and how it learns that it is to be something else.

use super::certificates::{Door, Holder};
use super::data_dir::{DataDir, Run};
use super::dns;
use super::manager::Running;
use super::network::Between;
use super::parts::or_broken;
use super::ready::Ready;
use crate::config::NodeConfig;
use crate::failure::{Exit, Failure, Outcome};
use crate::tasks::Tasks;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use warren_agent::{Membership, Published};
use warren_core::node::Role;

/// How often a starting node looks whether all of it is there.
const READY_LOOK: Duration = Duration::from_millis(20);

/// A node whose roles run, and that may not be able to do its work yet.
pub struct Started {
    change: Change,
    rest: Rest,
    network: Option<Between>,
}

/// What makes a node ready once its roles run.
pub struct Rest {
    /// The roles that depend on what it is.
    pub running: Running,
    /// Looks at all of them.
    pub ready: Ready,
    /// What the agent tells.
    pub published: Published,
    /// Where names are answered, besides the tasks' own gateway.
    pub dns: Vec<SocketAddr>,
    /// Where metrics are served.
    pub http: Option<SocketAddr>,
    /// Whether tasks have a network of their own.
    pub containers: bool,
    /// What runs the tasks.
    pub runtime: String,
}

/// Knows when the cluster wants the node to be something else.
#[derive(Clone)]
pub struct Change {
    holder: Holder,
    published: Published,
    door: Door,
}

impl Change {
    /// What asks for it.
    pub fn new(holder: Holder, published: Published, door: Door) -> Self {
        Self { holder, published, door }
    }

    /// Returns once the cluster wants the node to be something else, and it can be that.
    pub async fn wanted(&self) -> Role {
        let Published { role, managers, .. } = &self.published;
        self.holder.new_role(role.clone(), managers.clone(), &self.door).await
    }
}

impl Started {
    /// `network` is that between this node's containers and those of others; absent where tasks are processes.
    pub fn new(change: Change, rest: Rest, network: Option<Between>) -> Self {
        Self { change, rest, network }
    }

    /// What says that the node is to be something else. It is to be asked from now on: a manager that was made a worker
    /// while it was away would wait for a log that nobody brings.
    pub fn change(&self) -> Change {
        self.change.clone()
    }

    /// The network between this node's containers and those of others, where there is one.
    pub fn network(&self) -> Option<Between> {
        self.network.clone()
    }

    /// Returns once the node can do its work.
    ///
    /// # Errors
    /// A part of it broke.
    pub async fn be_ready(
        self,
        config: &NodeConfig,
        dir: &Arc<DataDir>,
        tasks: &mut Tasks,
    ) -> Outcome {
        let Rest { running, ready, published, dns, http, containers, runtime } = self.rest;
        or_broken(tasks, running.has_log(config)).await?;
        let me = or_broken(tasks, membership(&published)).await?;
        let mut all_dns = dns.clone();
        if containers {
            all_dns.push((me.gateway(), dns::CONTAINER_PORT).into());
        }
        let (member, address) = (running.member.clone(), running.address.clone());
        running.serve(dir, &all_dns, tasks).await?;
        or_broken(tasks, wait_ready(&ready)).await?;
        let run = Run {
            pid: std::process::id(),
            node_id: me.node.to_string(),
            role: member.role.to_string(),
            cluster_id: member.cluster,
            runtime,
            socket: dir.path().join(crate::client::SOCKET_NAME),
            address,
            http,
            dns: dns.first().copied().unwrap_or(config.dns),
            dns_all: all_dns,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        dir.tell_run(&run)?;
        log_up(&run);
        Ok(())
    }
}

async fn membership(published: &Published) -> Outcome<Membership> {
    let mut membership = published.membership.clone();
    let known = membership.wait_for(Option::is_some).await;
    let known = known.ok().and_then(|known| known.clone());
    known.ok_or_else(|| Failure::new(Exit::Failed, "the agent ended before it was registered"))
}

async fn wait_ready(ready: &Ready) -> Outcome {
    let mut told = Vec::new();
    loop {
        let report = ready.report();
        if report.ready {
            return Ok(());
        }
        if report.problems != told {
            tracing::info!(problems = ?report.problems, "not ready yet");
            told = report.problems;
        }
        sleep(READY_LOOK).await;
    }
}

fn log_up(run: &Run) {
    tracing::info!(
        node = run.node_id,
        role = run.role,
        cluster = run.cluster_id,
        runtime = run.runtime,
        address = run.address,
        socket = %run.socket.display(),
        dns = %run.dns,
        http = run.http.map(|address| address.to_string()),
        "node is up"
    );
}
