//! How long `plan` and `apply` take at the size of a large cluster: 5,000 nodes, 500 services, 50,000 tasks.
//!
//! `cargo bench -p warren-core` prints one line per figure; `make bench` puts them into its table. The aims are 2 s
//! from scratch and 20 ms after one change.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures real time and prints what it finds"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;
use warren_core::command::{Command, Entry, TaskEdge};
use warren_core::id::{LogIndex, NodeId};
use warren_core::node::{NodeFacts, Role};
use warren_core::observed::{Observed, TaskObserved};
use warren_core::plan::plan;
use warren_core::service::Actor;
use warren_core::spec::{
    HostName, Image, Mode, Placement, RestartPolicy, ServiceName, ServiceSpec, Strategy, Template,
    UpdateSettings,
};
use warren_core::task::{End, Phase};
use warren_core::time::{ClusterTime, WallTime};
use warren_core::units::{Bytes, MilliCpu};
use warren_core::{ClusterId, State};

const NODES: u32 = 5_000;
const SERVICES: u32 = 500;
const REPLICAS: u32 = 100;

struct Cluster {
    state: State,
    index: u64,
}

impl Cluster {
    fn apply(&mut self, command: Command) {
        self.index += 1;
        let at = ClusterTime::from_ms(9_900_000 + self.index);
        let index = LogIndex(self.index);
        self.state.apply(Entry { index, at, wall: WallTime(0), command }).unwrap();
    }

    fn new(nodes: u32, services: u32, replicas: u32) -> Self {
        let mut cluster = Self { state: State::default(), index: 0 };
        cluster.apply(Command::InitCluster {
            id: ClusterId(1),
            zone: "warren".to_owned(),
            pool: "10.0.0.0/8".parse().unwrap(),
        });
        for n in 0..nodes {
            cluster.apply(register(n));
        }
        for s in 0..services {
            let spec = Box::new(service(&format!("service-{s}"), replicas));
            cluster.apply(Command::CreateService { spec, by: Actor::named("bench".to_owned()) });
        }
        cluster
    }
}

fn register(n: u32) -> Command {
    let facts = NodeFacts {
        hostname: HostName::parse(&format!("host-{n}")).unwrap(),
        address: IpAddr::from([127, 0, 0, 1]),
        port: 0,
        platform: "linux/amd64".to_owned(),
        cpu: MilliCpu(16_000),
        memory: Bytes::from_mib(65_536),
        runtime: "bench".to_owned(),
        version: "0".to_owned(),
        level: warren_core::level::Level::OURS,
        encryption: warren_core::node::Encryption::default(),
        probe_port: 0,
    };
    let subnet = format!("10.{}.{}.0/24", n / 256, n % 256).parse().ok();
    Command::RegisterNode {
        key: format!("key-{n}"),
        role: Role::Worker,
        facts: Box::new(facts),
        subnet,
        labels: BTreeMap::new(),
    }
}

fn service(name: &str, replicas: u32) -> ServiceSpec {
    let mut template = Template::new(Image::parse("web:v1").unwrap());
    template.resources.memory_limit = Some(Bytes::from_mib(256));
    ServiceSpec {
        name: ServiceName::parse(name).unwrap(),
        mode: Mode::Replicated { replicas },
        template,
        placement: Placement::default(),
        restart: RestartPolicy::default(),
        update: UpdateSettings::default(),
        labels: BTreeMap::new(),
    }
    .checked()
    .unwrap()
}

fn run_all(cluster: &mut Cluster, observed: &mut Observed) {
    let tasks: Vec<_> = cluster.state.tasks().map(|task| (task.node, task.id)).collect();
    let mut by_node: BTreeMap<NodeId, Vec<TaskEdge>> = BTreeMap::new();
    for (node, task) in tasks {
        let edge = TaskEdge { task, phase: Phase::Running, end: None };
        by_node.entry(node).or_default().push(edge);
        let seen = TaskObserved {
            phase: Phase::Running,
            ready_since: Some(ClusterTime::START),
            unready_since: None,
            unseen: false,
            healthy: None,
            restarts: 0,
            detail: String::new(),
        };
        observed.tasks.insert(task, seen);
    }
    for (node, edges) in by_node {
        cluster.apply(Command::ReportTasks { node, edges });
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn main() {
    let mut cluster = Cluster::new(NODES, SERVICES, REPLICAS);
    let mut observed = Observed::default();
    let now = ClusterTime::from_ms(10_000_000);

    let start = Instant::now();
    let first = plan(&cluster.state, &observed, now);
    let scratch = ms(start);
    let start = Instant::now();
    for command in first.commands {
        cluster.apply(command);
    }
    let applied = ms(start);
    let tasks = cluster.state.tasks().len();
    println!("plan from scratch: {NODES} nodes, {tasks} tasks: {scratch:.1} ms (aim 2000 ms)");
    println!("apply of that plan: {applied:.1} ms, {:.0} tasks/s", tasks as f64 / applied * 1000.0);

    run_all(&mut cluster, &mut observed);
    for command in plan(&cluster.state, &observed, now).commands {
        cluster.apply(command);
    }
    assert!(plan(&cluster.state, &observed, now).commands.is_empty(), "the cluster is at rest");

    let mut times: Vec<f64> = Vec::new();
    for round in 0..20 {
        let task = cluster.state.tasks().filter(|task| task.is_live()).nth(round * 97).unwrap();
        let (node, task) = (task.node, task.id);
        let end = Some(End { code: Some(1), ..End::default() });
        let edges = vec![TaskEdge { task, phase: Phase::Failed, end }];
        cluster.apply(Command::ReportTasks { node, edges });
        let start = Instant::now();
        let next = plan(&cluster.state, &observed, now);
        times.push(ms(start));
        assert!(!next.commands.is_empty(), "the failed task is replaced");
        for command in next.commands {
            cluster.apply(command);
        }
    }
    times.sort_by(f64::total_cmp);
    println!(
        "plan after one change: median {:.1} ms, worst {:.1} ms (aim 20 ms)",
        times[10], times[19]
    );
    let bytes = postcard::to_stdvec(&cluster.state).map_or(0, |bytes| bytes.len());
    println!("state in a snapshot: {} bytes a task", bytes / tasks);
    releases(now);
}

/// A thousand services of ten tasks, each in the middle of a release.
fn releases(now: ClusterTime) {
    let mut cluster = Cluster::new(1_000, 1_000, 10);
    let mut observed = Observed::default();
    for _ in 0..3 {
        for command in plan(&cluster.state, &observed, now).commands {
            cluster.apply(command);
        }
        run_all(&mut cluster, &mut observed);
    }
    let canary = Strategy::Canary;
    for strategy in [Strategy::Rolling, canary] {
        let services: Vec<_> = cluster.state.services().cloned().collect();
        for found in services {
            let mut spec = Box::new(found.spec.clone());
            spec.template.image = Image::parse(&format!("web:{strategy}")).unwrap();
            spec.update.strategy = strategy;
            let (service, expect, by) =
                (found.id, found.generation, Actor::named("bench".to_owned()));
            let (cause, freeze_override) = (String::new(), None);
            let update =
                Command::UpdateService { service, expect, spec, by, cause, freeze_override };
            cluster.apply(update);
        }
        let start = Instant::now();
        let first = plan(&cluster.state, &observed, now);
        let begins = ms(start);
        for command in first.commands {
            cluster.apply(command);
        }
        let start = Instant::now();
        let next = plan(&cluster.state, &observed, now);
        println!(
            "plan of 1,000 services in a {strategy} release: {begins:.1} ms at its start, {:.1} ms in it ({} commands)",
            ms(start),
            next.commands.len()
        );
    }
}
