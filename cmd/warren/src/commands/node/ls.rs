//! `warren node ls`

use crate::client::{ClientArgs, StaleArgs};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_core::units::MilliCpu;
use warren_wire::v1;

/// List nodes
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let nodes = super::nodes(&client).await?;
        output::print(self.output.output, &nodes, |nodes| {
            let rows = nodes.iter().map(|node| {
                let role = if node.leader { "leader" } else { node.role.as_str() };
                vec![
                    node.id.clone(),
                    node.hostname.clone(),
                    role.to_owned(),
                    node.status.clone(),
                    takes(node),
                    node.tasks.to_string(),
                    MilliCpu(node.cpu_milli).to_string(),
                    output::size(node.memory_bytes),
                    node.runtime.clone(),
                    node.version.clone(),
                    node.feature_level.to_string(),
                ]
            });
            let header = [
                "ID", "HOST", "ROLE", "STATUS", "TAKES", "TASKS", "CPUS", "MEMORY", "RUNTIME",
                "WARREN", "LEVEL",
            ];
            output::table(&header, rows) + &silences(nodes)
        })
    }
}

/// What is known of nodes that are silent and not down.
fn silences(nodes: &[v1::Node]) -> String {
    let suspects = nodes.iter().filter(|node| node.status == "suspect");
    let told = suspects.filter_map(|node| Some((&node.hostname, node.problems.first()?)));
    told.map(|(hostname, known)| format!("{hostname}: {known}\n")).collect()
}

/// Whether it takes tasks, and how long a drain has.
fn takes(node: &v1::Node) -> String {
    let left = super::drain_left(node).map(|left| format!(", {left}"));
    format!("{}{}", node.availability, left.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_suspect_is_shown() {
        let node = |hostname: &str, status: &str| v1::Node {
            hostname: hostname.into(),
            status: status.into(),
            problems: vec!["silent for 12 s".into()],
            ..v1::Node::default()
        };
        let nodes = [node("one", "up"), node("two", "suspect"), node("three", "down")];
        assert_eq!(silences(&nodes), "two: silent for 12 s\n");
    }

    #[test]
    fn the_deadline_of_a_drain_is_shown() {
        let node = |availability: &str, drain_left_ms| {
            takes(&v1::Node {
                availability: availability.into(),
                drain_left_ms,
                ..v1::Node::default()
            })
        };
        assert_eq!(node("active", None), "active");
        assert_eq!(node("drain", None), "drain");
        assert_eq!(node("drain", Some(125_000)), "drain, 2m 5s left");
        assert_eq!(node("drain", Some(0)), "drain, its deadline has passed");
    }
}
