//! Docker's own Swarm mode as a peer: one node, on the same engine.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use warren_test::load::{Load, Resolver};
use warren_test::wait;

/// The service and, with a suffix, its network and its client.
const NAME: &str = "warren-bench";
const TIME_MAX: Duration = Duration::from_secs(180);
/// What Docker makes for a swarm and leaves behind.
const GATEWAY: &str = "docker_gwbridge";

/// A swarm of this machine; dropped, all of it is gone.
pub(crate) struct Swarm {
    had_gateway: bool,
}

impl Swarm {
    /// Makes one; `None` where the engine is in a swarm of somebody else's.
    pub(crate) async fn make() -> anyhow::Result<Option<Self>> {
        let state = docker("info --format {{.Swarm.LocalNodeState}}").await?;
        if state != "inactive" {
            return Ok(None);
        }
        let networks = docker("network ls --format {{.Name}}").await?;
        let had_gateway = networks.lines().any(|name| name == GATEWAY);
        // Before there is one: whoever interrupts this leaves nothing behind.
        let swarm = Self { had_gateway };
        docker("swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1").await?;
        docker(&format!("network create --driver overlay --attachable {NAME}-net")).await?;
        Ok(Some(swarm))
    }

    /// A service of so many tasks that all answer health checks, and clients in a container beside it.
    pub(crate) async fn create(&self, image: &str, replicas: usize) -> anyhow::Result<Load> {
        docker(&format!(
            "service create --detach --name {NAME} --endpoint-mode dnsrr --network {NAME}-net \
             --replicas {replicas} {image}"
        ))
        .await?;
        self.all_run(image, replicas).await?;
        let client = format!("{NAME}-client");
        docker(&format!("run --detach --network {NAME}-net --name {client} {image} sleep")).await?;
        let process = docker(&format!("inspect --format {{{{.State.Pid}}}} {client}")).await?;
        Load::start_from(&Resolver::Container(process.parse()?), "", &[NAME]).await
    }

    /// Updates to another image, and gives the time until every task runs it and no other one runs.
    pub(crate) async fn update(
        &self,
        image: &str,
        replicas: usize,
        parallelism: u32,
    ) -> anyhow::Result<f64> {
        let start = Instant::now();
        docker(&format!(
            "service update --detach --update-order start-first --update-parallelism {parallelism} \
             --update-delay 0s --update-monitor 1ms --image {image} {NAME}"
        ))
        .await?;
        self.all_run(image, replicas).await?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The name by which its clients count.
    pub(crate) fn name(&self) -> &'static str {
        NAME
    }

    async fn all_run(&self, image: &str, replicas: usize) -> anyhow::Result<()> {
        let list = format!(
            "ps --filter label=com.docker.swarm.service.name={NAME} --format {{{{.Image}}}};{{{{.Status}}}}"
        );
        wait::until("all tasks of the swarm's service run", TIME_MAX, async || {
            let shown = docker(&list).await?;
            let good = |line: &&str| line.starts_with(image) && line.contains("(healthy)");
            let (all, new) = (shown.lines().count(), shown.lines().filter(good).count());
            ensure!((all, new) == (replicas, replicas), "{new} of {all} tasks are new");
            Ok(())
        })
        .await
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        let (client, service) = (format!("rm --force {NAME}-client"), format!("service rm {NAME}"));
        let network = format!("network rm {NAME}-net");
        let gateway = format!("network rm {GATEWAY}");
        let mut steps = vec![&*client, &*service, &*network, "swarm leave --force"];
        if !self.had_gateway {
            steps.push(&gateway);
        }
        for step in steps {
            let mut command = std::process::Command::new("docker");
            command.args(step.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
            let _ = command.status();
        }
    }
}

async fn docker(words: &str) -> anyhow::Result<String> {
    let output = Command::new("docker").args(words.split_whitespace()).output().await?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "docker {words}: {talk}");
    Ok(String::from_utf8(output.stdout).context("docker speaks UTF-8")?.trim().to_owned())
}
