//! A Docker engine that is really stopped, killed and started beneath a node: an engine of the test's own.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListNetworksOptionsBuilder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use warren_test::cluster::{Node, Runtime};
use warren_test::testbed::{self, Engines, Plan, Testbed};
use warren_test::{http, wait};

use super::{SOON, create_of, resolve, tasks, text};

/// How an engine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Crash,
}

/// One machine with an engine of its own and a node on it, with two tasks of `web`.
struct Stage {
    node: Node,
    bed: Testbed,
}

/// `None`, said aloud, where this machine lets no second engine start.
async fn stage(test: &str, engines: Engines) -> Option<Stage> {
    let built = Testbed::build(Plan { engines, ..Plan::machines(1) }).await;
    let bed = testbed::or_skip(&format!("{}::{test}", module_path!()), built)?;
    Some(furnished(bed).await.expect("a node with two tasks"))
}

async fn furnished(bed: Testbed) -> anyhow::Result<Stage> {
    let machine = bed.machine(0);
    let image = machine.web_image("v1").await?;
    let mut node = machine.node(Runtime::Docker, &[])?;
    let inside = machine.namespace.enter()?;
    node.resume().await?;
    let arguments = ["--replicas", "2", "--restart-delay", "100ms"];
    create_of(&node, &image, "web", &arguments).await?;
    drop(inside);
    Ok(Stage { node, bed })
}

impl Stage {
    /// Every container of the engine, also those that nobody should have made.
    async fn containers(&self) -> anyhow::Result<Vec<ContainerSummary>> {
        let engine = self.bed.machine(0).engine.as_ref().context("an engine")?;
        let all = ListContainersOptionsBuilder::new().all(true).build();
        Ok(engine.client()?.list_containers(Some(all)).await?)
    }

    /// Two containers that run, one network, and a note of anything else.
    async fn nothing_stray(&self) -> anyhow::Result<()> {
        wait::until("nothing is left over", SOON, async || {
            let all = self.containers().await?;
            let running = all.iter().filter(|container| {
                container.state.as_ref().is_some_and(|state| state.to_string() == "running")
            });
            ensure!(all.len() == 2 && running.count() == 2, "{all:?}");
            Ok(())
        })
        .await?;
        let engine = self.bed.machine(0).engine.as_ref().context("an engine")?;
        let cluster = self.node.cluster().context("a cluster")?;
        let label = format!("warren.cluster={cluster}");
        let ours = HashMap::from([("label", vec![label.as_str()])]);
        let ours = ListNetworksOptionsBuilder::new().filters(&ours).build();
        let networks = engine.client()?.list_networks(Some(ours)).await?;
        ensure!(networks.len() == 1, "{networks:?}");
        Ok(())
    }

    /// The process of a container, as this machine sees it.
    async fn process_of(&self, task: &Value) -> anyhow::Result<Pid> {
        let engine = self.bed.machine(0).engine.as_ref().context("an engine")?.client()?;
        for container in self.containers().await? {
            let id = container.id.context("an id")?;
            let found = engine.inspect_container(&id, None).await?;
            let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
            if labels.get("warren.task").is_some_and(|label| label == text(task, "id")) {
                let pid = found.state.and_then(|state| state.pid).context("a process")?;
                return Ok(Pid::from_raw(i32::try_from(pid)?));
            }
        }
        anyhow::bail!("no container of {task}")
    }

    async fn end_engine(&mut self, end: End) -> anyhow::Result<()> {
        let engine = self.bed.engine(0);
        match end {
            End::Stop => engine.stop().await.map(drop),
            End::Crash => engine.crash().await,
        }
    }
}

/// The engine is away: status says so, names resolve on, and what lives answers.
async fn away(node: &Node, alive: &[SocketAddr]) -> anyhow::Result<()> {
    wait::until("status says that the engine is away", SOON, async || {
        let status = node.ok(&["status"]).await?;
        ensure!(status.contains("does not answer"), "{status}");
        Ok(())
    })
    .await?;
    let (status, report) = http::get(node.http_address()?, "/readyz").await?;
    ensure!(status == 503 && report.contains("docker"), "{status} {report}");
    for address in alive {
        ensure!(http::get(*address, "/").await?.0 == 200, "{address} serves on");
    }
    Ok(())
}

async fn ready_again(node: &Node, count: usize) -> anyhow::Result<Vec<Value>> {
    wait::until("all tasks are ready and the node says so", SOON, async || {
        let shown = tasks(node, "web").await?;
        ensure!(
            shown.len() == count && shown.iter().all(|task| task["ready"] == true),
            "{shown:?}"
        );
        let (status, report) = http::get(node.http_address()?, "/readyz").await?;
        ensure!(status == 200, "{report}");
        let status = node.ok(&["status"]).await?;
        ensure!(!status.contains("does not answer"), "{status}");
        Ok(shown)
    })
    .await
}

fn restarts(tasks: &[Value]) -> Vec<u64> {
    tasks.iter().filter_map(|task| task["restarts"].as_u64()).collect()
}

/// With live-restore, the engine goes and comes; one of two containers dies meanwhile.
async fn lives_through(stage: &mut Stage, end: End) -> anyhow::Result<()> {
    let namespace = stage.bed.machine(0).namespace.clone();
    let _inside = namespace.enter()?;
    let before = tasks(&stage.node, "web").await?;
    let addresses = resolve(&stage.node, "web.warren.", 2).await?;
    // Written into the running processes: one that was started anew would have forgotten it.
    for address in &addresses {
        http::post(*address, "/admin/faults", "queue_stall=1").await?;
    }
    let (dies, lives) = (&before[0], &before[1]);
    let process = stage.process_of(dies).await?;
    stage.end_engine(end).await?;
    away(&stage.node, &addresses).await?;
    kill(process, Signal::SIGKILL)?;
    let alive: SocketAddr = format!("{}:8080", text(lives, "address")).parse()?;
    away(&stage.node, &[alive]).await?;
    stage.bed.engine(0).resume().await?;
    let node = &stage.node;
    wait::until("the task that died runs again", SOON, async || {
        let shown = tasks(node, "web").await?;
        ensure!(restarts(&shown).iter().sum::<u64>() >= 1, "{shown:?}");
        Ok(())
    })
    .await?;
    let shown = ready_again(node, 2).await?;
    let same = shown.iter().find(|task| text(task, "id") == text(lives, "id"));
    let same = same.with_context(|| format!("{lives} is not among {shown:?}"))?;
    ensure!(same["restarts"] == lives["restarts"], "it was adopted: {same}");
    let (_, faults) = http::get(alive, "/admin/faults").await?;
    ensure!(faults.contains("\"queue_stall\":true"), "it is the same process: {faults}");
    for address in resolve(node, "web.warren.", 2).await? {
        ensure!(http::get(address, "/").await?.0 == 200);
    }
    stage.nothing_stray().await
}

/// Without live-restore all containers end with the engine, or with its next start.
async fn starts_again(stage: &mut Stage, end: End) -> anyhow::Result<()> {
    let namespace = stage.bed.machine(0).namespace.clone();
    let _inside = namespace.enter()?;
    let addresses = resolve(&stage.node, "web.warren.", 2).await?;
    stage.end_engine(end).await?;
    // What a crash leaves running is stopped by the engine when it comes back.
    away(&stage.node, if end == End::Crash { &addresses } else { &[] }).await?;
    stage.bed.engine(0).resume().await?;
    let node = &stage.node;
    wait::until("both tasks were started anew", SOON, async || {
        let shown = tasks(node, "web").await?;
        ensure!(restarts(&shown).iter().filter(|count| **count >= 1).count() == 2, "{shown:?}");
        Ok(())
    })
    .await?;
    ready_again(node, 2).await?;
    for address in resolve(node, "web.warren.", 2).await? {
        ensure!(http::get(address, "/").await?.0 == 200);
    }
    stage.nothing_stray().await
}

#[tokio::test]
async fn containers_live_through_an_engine_that_is_stopped() {
    let test = "containers_live_through_an_engine_that_is_stopped";
    let Some(mut stage) = stage(test, Engines::LiveRestore).await else { return };
    lives_through(&mut stage, End::Stop).await.unwrap();
}

#[tokio::test]
async fn containers_live_through_an_engine_that_is_killed() {
    let test = "containers_live_through_an_engine_that_is_killed";
    let Some(mut stage) = stage(test, Engines::LiveRestore).await else { return };
    lives_through(&mut stage, End::Crash).await.unwrap();
}

#[tokio::test]
async fn containers_that_end_with_their_engine_are_started_anew() {
    let test = "containers_that_end_with_their_engine_are_started_anew";
    let Some(mut stage) = stage(test, Engines::Plain).await else { return };
    starts_again(&mut stage, End::Stop).await.unwrap();
}

#[tokio::test]
async fn containers_of_a_killed_engine_are_started_anew() {
    let test = "containers_of_a_killed_engine_are_started_anew";
    let Some(mut stage) = stage(test, Engines::Plain).await else { return };
    starts_again(&mut stage, End::Crash).await.unwrap();
}
