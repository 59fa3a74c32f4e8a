//! Real managers with thousands of simulated nodes: three processes with their stores on disk, and in this process so
//! many agents that speak the session protocol over TLS. Nothing is run by them; what is measured is what the managers
//! do.

mod agent;
mod fleet;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use warren_test::api::Api;
use warren_test::wait;
use warren_wire::v1::service_spec::Mode;
use warren_wire::v1::{
    CreateServiceRequest, DeploymentStrategy, Placement, Replicated, ServiceSpec, TaskTemplate,
    UpdateConfig,
};

use crate::managers::{Managers, metric};
use crate::process::{conditions, cpu_seconds, give_way, peak_mib, pid, resident_mib};
use crate::writer::Writer;
use crate::{Figure, Unit, row, say};
use fleet::{Fleet, LABEL};

/// The tasks of each node, on average: 150,000 on 5,000 nodes.
const TASKS_PER_NODE: usize = 30;
const TASKS_PER_SERVICE: usize = 1_000;
/// Services that are created at once.
const CREATES_AT_ONCE: usize = 16;
/// Subnets for 8,192 nodes.
const POOL: &str = "10.128.0.0/11";
/// How long a cluster that is at rest is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// The longest for any one step: what takes longer has not worked.
const STEP_TIME_MAX: Duration = Duration::from_secs(600);

/// How much this process gives way to the managers, as `nice` counts: the agents get what is left, and that is enough.
const GIVE_WAY: u32 = 10;

/// What others have published, for the reader: other machines, real nodes in Nomad's case, no comparison.
const RECORDS: &str = "records of others, on their own machines: Kubernetes scheduler_perf, thresholds of 680 to 810 \
    pods/s at 5,000 nodes (kubernetes/test/integration/scheduler_perf); HashiCorp C1M, 3,750 containers/s on 5,000 \
    real hosts (hashicorp.com/c1m)";

/// Measures with `count` simulated nodes.
pub(crate) async fn run(count: usize) -> anyhow::Result<()> {
    let tasks = (count * TASKS_PER_NODE).div_ceil(TASKS_PER_SERVICE) * TASKS_PER_SERVICE;
    let name = format!("{count} simulated nodes");
    say(&format!("| ({name}, 3 real managers: {}) | | | | |", conditions()));
    say(&format!("| ({RECORDS}) | | | | |"));
    let mut managers = Managers::start(Some(POOL)).await?;
    // On machines of their own managers would not wait for the CPU until thousands of agents have had it.
    give_way(GIVE_WAY)?;
    let fleet = attach(&managers, &name, count).await?;
    let empty = sizes(&managers)?;
    at_rest(&managers, &name).await?;
    schedule(&managers, &fleet, &name, tasks).await?;
    let name = format!("{name}, {tasks} tasks");
    let full = sizes(&managers)?;
    at_rest(&managers, &name).await?;
    memory(&managers, &name, (&empty, &full), tasks).await?;
    failover(&mut managers, &fleet, &name, (count, tasks)).await
}

async fn attach(managers: &Managers, name: &str, count: usize) -> anyhow::Result<Fleet> {
    let token = managers.token("worker").await?.parse()?;
    let addresses = managers.nodes.iter().map(|node| node.listen().to_owned()).collect();
    let begun = Instant::now();
    let fleet = Fleet::join(addresses, &token, count).await?;
    seconds(&format!("{name}: all have joined"), begun.elapsed());
    fleet.until("all nodes have a session", STEP_TIME_MAX, |all| &all.sessions, count).await?;
    seconds(&format!("{name}: all have joined and hold a session"), begun.elapsed());
    Ok(fleet)
}

/// Creates services until there are `tasks`, and waits until every one runs.
async fn schedule(
    managers: &Managers,
    fleet: &Fleet,
    name: &str,
    tasks: usize,
) -> anyhow::Result<()> {
    let leader = &managers.nodes[managers.leader().await?];
    let (api, pid) = (Api::of(leader), pid(leader)?);
    let (begun, cpu) = (Instant::now(), cpu_seconds(&pid)?);
    let created = (0..tasks / TASKS_PER_SERVICE).map(|number| create(&api, number));
    let created = futures::stream::iter(created).buffer_unordered(CREATES_AT_ONCE);
    created.try_collect::<Vec<()>>().await?;
    seconds(&format!("{name}: {} services created", tasks / TASKS_PER_SERVICE), begun.elapsed());
    fleet.until("all tasks are assigned", STEP_TIME_MAX, |all| &all.assigned, tasks).await?;
    let assigned = begun.elapsed();
    fleet.until("all tasks run", STEP_TIME_MAX, |all| &all.acknowledged, tasks).await?;
    let acknowledged = begun.elapsed();
    let used = cpu_seconds(&pid)? - cpu;
    let figure = |took: Duration| Figure { value: ratio(tasks, took), unit: Unit::PerSecond };
    let what = "created → committed, assigned and held by their nodes";
    row(&format!("{name}: {tasks} tasks {what}"), figure(assigned), None, "≥ 2000/s");
    let what = "created → running, committed and acknowledged";
    row(&format!("{name}: {tasks} tasks {what}"), figure(acknowledged), None, "–");
    seconds(&format!("{name}: {tasks} tasks {what}"), acknowledged);
    let percent = 100.0 * used / acknowledged.as_secs_f64();
    let percent = Figure { value: percent, unit: Unit::Percent };
    row(&format!("{name}: the leader's CPU meanwhile, of one core"), percent, None, "–");
    ready(leader, tasks).await?;
    seconds(&format!("{name}: {tasks} tasks created → planned to be ready"), begun.elapsed());
    Ok(())
}

/// Creates a service, also where the lead changes meanwhile.
async fn create(api: &Api, number: usize) -> anyhow::Result<()> {
    let mut services = api.services.clone();
    wait::until("a service is created", STEP_TIME_MAX, async || {
        let request = CreateServiceRequest { spec: Some(spec(number)), skip_resolve: true };
        match services.create_service(request).await {
            // What was lost is an answer: an earlier try made it.
            Err(status) if status.code() != tonic::Code::AlreadyExists => Err(status.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    })
    .await
}

async fn ready(leader: &warren_test::cluster::Node, tasks: usize) -> anyhow::Result<()> {
    wait::until("the leader's plan knows that all are ready", STEP_TIME_MAX, async || {
        let ready = metric(leader, "warren_tasks_ready").await?;
        anyhow::ensure!(ready >= ratio(tasks, Duration::from_secs(1)), "{ready} of {tasks}");
        Ok(())
    })
    .await
}

fn spec(number: usize) -> ServiceSpec {
    let (label, value) = LABEL;
    let replicas = u32::try_from(TASKS_PER_SERVICE).ok();
    ServiceSpec {
        name: format!("load-{number}"),
        mode: Some(Mode::Replicated(Replicated { replicas })),
        template: Some(TaskTemplate { image: "simulated:v1".to_owned(), ..Default::default() }),
        placement: Some(Placement {
            constraints: vec![format!("node.labels.{label}=={value}")],
            ..Placement::default()
        }),
        strategy: Some(DeploymentStrategy::Rolling.into()),
        // All of it at once: what is measured is the managers, not how carefully a first release goes.
        update_config: Some(UpdateConfig {
            parallelism: Some(0),
            min_ready_ms: Some(0),
            ..UpdateConfig::default()
        }),
        ..ServiceSpec::default()
    }
}

/// What the managers do while nobody wants anything.
async fn at_rest(managers: &Managers, name: &str) -> anyhow::Result<()> {
    let leader = pid(&managers.nodes[managers.leader().await?])?;
    let before = cpu_seconds(&leader)?;
    let entries = managers.idle_entries(WATCHED).await?;
    let percent = 100.0 * (cpu_seconds(&leader)? - before) / WATCHED.as_secs_f64();
    let per_second = Figure { value: entries, unit: Unit::FewPerSecond };
    row(&format!("{name}: entries written at rest"), per_second, None, "≤ 0.2/s");
    let percent = Figure { value: percent, unit: Unit::Percent };
    row(&format!("{name}: the leader's CPU at rest, of one core"), percent, None, "–");
    Ok(())
}

fn sizes(managers: &Managers) -> anyhow::Result<Vec<f64>> {
    managers.nodes.iter().map(|node| resident_mib(&pid(node)?)).collect()
}

async fn memory(
    managers: &Managers,
    name: &str,
    (empty, full): (&[f64], &[f64]),
    tasks: usize,
) -> anyhow::Result<()> {
    let leader = managers.leader().await?;
    for (at, node) in managers.nodes.iter().enumerate() {
        let role = if at == leader { "leader" } else { "follower" };
        let size = Figure { value: full[at], unit: Unit::Mebibytes };
        row(&format!("{name}: resident memory, {role}"), size, None, "≤ 1024 MiB");
        let size = Figure { value: peak_mib(&pid(node)?)?, unit: Unit::Mebibytes };
        row(&format!("{name}: most memory so far, {role}"), size, None, "–");
        let bytes = (full[at] - empty[at]) * f64::from(1 << 20) / ratio(tasks, SECOND);
        let what = format!("{name}: memory for each task, {role}");
        row(&what, Figure { value: bytes, unit: Unit::Bytes }, None, "–");
    }
    Ok(())
}

/// Kills the leader, and waits for the next acknowledged write, for all nodes, and for all they have to say.
async fn failover(
    managers: &mut Managers,
    fleet: &Fleet,
    name: &str,
    (count, tasks): (usize, usize),
) -> anyhow::Result<()> {
    let leader = managers.leader().await?;
    let writer = Writer::start(&managers.nodes).await?;
    writer.acknowledged_after(Instant::now()).await?;
    let before = fleet.counts().traffic_bytes.load(Ordering::Relaxed);
    let killed = Instant::now();
    managers.nodes[leader].crash()?;
    let written = writer.acknowledged_after(killed).await?;
    drop(writer);
    seconds(&format!("{name}: leader killed → next write acknowledged"), written);
    fleet.until("all nodes are back", STEP_TIME_MAX, |all| &all.sessions, count).await?;
    seconds(&format!("{name}: leader killed → every node has a session"), killed.elapsed());
    fleet.until("all tasks are known", STEP_TIME_MAX, |all| &all.acknowledged, tasks).await?;
    seconds(&format!("{name}: leader killed → every task is known to run"), killed.elapsed());
    managers.nodes.remove(leader);
    let next = &managers.nodes[managers.leader().await?];
    ready(next, tasks).await.context("after the failover")?;
    seconds(&format!("{name}: leader killed → planned to be ready"), killed.elapsed());
    let size = Figure { value: resident_mib(&pid(next)?)?, unit: Unit::Mebibytes };
    row(&format!("{name}: resident memory, the next leader"), size, None, "≤ 1024 MiB");
    let bytes = fleet.counts().traffic_bytes.load(Ordering::Relaxed) - before;
    say(&format!("| ({name}: {} MiB of traffic views were sent meanwhile) | | | | |", bytes >> 20));
    Ok(())
}

const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn ratio(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn seconds(what: &str, took: Duration) {
    row(what, Figure { value: took.as_secs_f64(), unit: Unit::Seconds }, None, "–");
}
