//! `warren service ps`

use crate::client::{ClientArgs, StaleArgs, of_service, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use std::time::Duration;
use warren_wire::v1;

/// List the tasks of a service
#[derive(Args, Debug)]
pub struct Ps {
    /// Name or id of the service; all services where left out
    name: Option<String>,
    /// Only tasks on this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Also tasks that have ended
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Ps {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service or node.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let asked = v1::ListTasksRequest {
            service_id: self.name.unwrap_or_default(),
            node_id: self.node.unwrap_or_default(),
        };
        let answer = client.tasks().list_tasks(request(asked)).await.map_err(of_service)?;
        let mut tasks = answer.into_inner().tasks;
        if !self.all {
            tasks.retain(|task| !is_past(task));
        }
        output::print(self.output.output, &tasks, |tasks| table(tasks))
    }
}

/// Ended as it was asked to; a task that ended otherwise is news.
fn is_past(task: &v1::Task) -> bool {
    let asked = task.desired != "run";
    let ended =
        matches!(task.phase.as_str(), "completed" | "failed" | "rejected" | "stopped" | "lost");
    ended && asked
}

/// Tasks as a table.
pub fn table(tasks: &[v1::Task]) -> String {
    let rows = tasks.iter().map(|task| {
        let restarts = if task.restarts == 0 { String::new() } else { task.restarts.to_string() };
        vec![
            task.id.clone(),
            format!("{}.{}", task.service, task.slot),
            format!("v{}", task.revision),
            task.node.clone(),
            task.address.clone(),
            state(task),
            output::duration(Duration::from_millis(task.phase_age_ms)),
            restarts,
            task.detail.clone(),
        ]
    });
    let header = ["ID", "TASK", "VERSION", "NODE", "ADDRESS", "STATE", "FOR", "RESTARTS", "DETAIL"];
    output::table(&header, rows)
}

fn state(task: &v1::Task) -> String {
    if task.restarting && task.desired == "run" {
        return "restarting".into();
    }
    match (task.phase.as_str(), task.desired.as_str(), task.ready) {
        ("running", "run", true) => "ready".into(),
        ("running", "run", false) if task.health.is_empty() => "running".into(),
        ("running", "run", false) => format!("running, {}", task.health),
        ("running", "drain", _) => "draining".into(),
        ("running", _, _) => "stopping".into(),
        (phase, _, _) => phase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_waits_for_its_restart_does_not_run() {
        let (phase, desired) = ("running".to_owned(), "run".to_owned());
        let mut task = v1::Task { phase, desired, restarting: true, ..v1::Task::default() };
        assert_eq!(state(&task), "restarting");
        task.restarting = false;
        assert_eq!(state(&task), "running");
    }
}
