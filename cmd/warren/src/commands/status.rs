//! `warren status`

use crate::client::{ClientArgs, StaleArgs, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use warren_core::units::counted;
use warren_wire::v1;

/// Different troubles of running tasks that are shown: a page's worth; `service ps` has all.
const TROUBLES_MAX: usize = 10;

/// Show the cluster in a few lines
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Whole {
    cluster: v1::GetClusterResponse,
    nodes: Vec<v1::Node>,
    services: Vec<v1::Service>,
    tasks: Vec<v1::Task>,
    waits: Vec<v1::Wait>,
    freezes: Vec<v1::Freeze>,
}

impl Status {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let (mut clusters, mut nodes) = (client.clusters(), client.nodes());
        let (mut services, mut why) = (client.services(), client.services());
        let (mut tasks, mut rollouts) = (client.tasks(), client.rollouts());
        let everything = v1::ExplainServiceRequest { service_id: String::new() };
        let (cluster, nodes, services, tasks, waits, freezes) = tokio::try_join!(
            clusters.get_cluster(request(v1::GetClusterRequest {})),
            nodes.list_nodes(request(v1::ListNodesRequest {})),
            services.list_services(request(v1::ListServicesRequest {})),
            tasks.list_tasks(request(v1::ListTasksRequest::default())),
            why.explain_service(request(everything)),
            rollouts.list_freezes(request(v1::ListFreezesRequest {})),
        )?;
        let whole = Whole {
            cluster: cluster.into_inner(),
            nodes: nodes.into_inner().nodes,
            services: services.into_inner().services,
            tasks: tasks.into_inner().tasks,
            waits: waits.into_inner().waits,
            freezes: freezes.into_inner().freezes,
        };
        output::print(self.output.output, &whole, table)
    }
}

fn table(whole: &Whole) -> String {
    let cluster = &whole.cluster;
    let leader = match whole.nodes.iter().find(|node| node.leader) {
        Some(node) => format!("{} ({})", node.hostname, node.id),
        None if cluster.leader_id.is_empty() => "none: nothing can be changed now".into(),
        None => cluster.leader_id.clone(),
    };
    let mut text = output::pairs(&[
        ("cluster", format!("{}, up {}", cluster.id, up(cluster))),
        ("leader", leader),
        ("nodes", format!("{} of {} up", cluster.nodes_up, cluster.nodes)),
        ("services", cluster.services.to_string()),
        ("tasks", format!("{} running or starting, {} ready", cluster.tasks, cluster.ready)),
        ("dns", dns(cluster)),
        ("frozen", frozen(&whole.freezes)),
        ("state", format!("entry {} in {}", cluster.applied_index, cluster.store)),
        ("version", cluster.version.clone()),
    ]);
    if !whole.services.is_empty() {
        text.push('\n');
        text.push_str(&super::service::ls::table(&whole.services));
    }
    if !whole.waits.is_empty() {
        text.push_str("\nwaiting:\n");
        text.push_str(&super::why::lines(&whole.waits));
    }
    let drains = drains(&whole.nodes);
    if !drains.is_empty() {
        text.push_str("\nbeing drained:\n");
        text.push_str(&drains);
    }
    let problems = problems(&whole.nodes);
    if !problems.is_empty() {
        text.push_str("\nnodes with problems:\n");
        text.push_str(&problems);
    }
    let troubles = troubles(&whole.tasks);
    if !troubles.is_empty() {
        text.push_str("\nrunning, but:\n");
        text.push_str(&troubles);
    }
    text
}

/// Nodes that tasks are moved away from, a line for each that has some; `node ls` has all.
fn drains(nodes: &[v1::Node]) -> String {
    let drained = nodes.iter().filter(|node| node.availability == "drain" && node.tasks > 0);
    let lines = drained.take(TROUBLES_MAX).map(|node| {
        let tasks = counted(node.tasks, "task");
        let left = super::node::drain_left(node).map(|left| format!(", {left}"));
        format!("  {}: {tasks} to go{}\n", node.hostname, left.unwrap_or_default())
    });
    lines.collect()
}

/// What nodes say is wrong with them, a line for each; `node inspect` has all.
fn problems(nodes: &[v1::Node]) -> String {
    let all = nodes.iter().flat_map(|node| {
        node.problems.iter().map(|problem| format!("  {}: {problem}\n", node.hostname))
    });
    all.take(TROUBLES_MAX).collect()
}

/// What is wrong with tasks that run all the same: one line for each node and trouble, not for each task.
fn troubles(tasks: &[v1::Task]) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let running = tasks.iter().filter(|task| task.phase == "running" && task.desired == "run");
    for task in running.filter(|task| !task.detail.is_empty()) {
        *counts.entry((&task.node, &task.detail)).or_default() += 1;
    }
    let lines = counts.iter().take(TROUBLES_MAX).map(|((node, detail), count)| {
        let tasks = if *count == 1 { "1 task".into() } else { format!("{count} tasks") };
        format!("  {tasks} on {node}: {detail}\n")
    });
    lines.collect()
}

fn up(cluster: &v1::GetClusterResponse) -> String {
    output::duration(Duration::from_millis(cluster.cluster_time_ms))
}

/// The freeze of all services; one of a single service is in the list of services.
fn frozen(freezes: &[v1::Freeze]) -> String {
    let all = freezes.iter().find(|freeze| freeze.service.is_empty());
    all.map(|freeze| format!("all releases, {}", super::freeze::words(freeze))).unwrap_or_default()
}

fn dns(cluster: &v1::GetClusterResponse) -> String {
    match cluster.dns_addresses.as_slice() {
        [] => String::new(),
        addresses => format!("*.{} at {}", cluster.zone, addresses.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trouble_of_many_tasks_is_one_line() {
        let task = |detail: &str| v1::Task {
            phase: "running".into(),
            desired: "run".into(),
            node: "a".into(),
            detail: detail.into(),
            ..v1::Task::default()
        };
        let gone = v1::Task { phase: "stopped".into(), ..task("asked to stop") };
        let tasks = [task("no engine"), task(""), task("no engine"), task("unhealthy"), gone];
        assert_eq!(troubles(&tasks), "  2 tasks on a: no engine\n  1 task on a: unhealthy\n");
        assert_eq!(troubles(&[task("")]), "");
    }

    #[test]
    fn drains_are_shown_with_what_is_left() {
        let node = |hostname: &str, availability: &str, tasks, drain_left_ms| v1::Node {
            hostname: hostname.into(),
            availability: availability.into(),
            tasks,
            drain_left_ms,
            ..v1::Node::default()
        };
        let nodes = [
            node("a", "active", 3, None),
            node("b", "drain", 1, None),
            node("c", "drain", 2, Some(60_000)),
            node("d", "drain", 0, Some(0)),
        ];
        assert_eq!(drains(&nodes), "  b: 1 task to go\n  c: 2 tasks to go, 1m 0s left\n");
    }

    #[test]
    fn what_nodes_say_of_themselves_is_shown() {
        let node = |hostname: &str, problems: &[&str]| v1::Node {
            hostname: hostname.into(),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
            ..v1::Node::default()
        };
        let nodes = [node("a", &[]), node("b", &["no vxlan", "no iptables"])];
        assert_eq!(problems(&nodes), "  b: no vxlan\n  b: no iptables\n");
    }
}
