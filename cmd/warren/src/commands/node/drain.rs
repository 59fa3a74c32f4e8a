//! `warren node drain`

use crate::client::{Client, ClientArgs, request};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use clap::Args;
use std::time::Duration;
use warren_wire::v1;

/// How often a drained node is looked at: people watch this.
const LOOK: Duration = Duration::from_millis(500);

/// Move all tasks away from a node
///
/// It takes no new ones until `warren node activate`. A task that its service cannot spare stays until another one
/// has taken its place; with a deadline, only until then. The last drain of a node counts.
#[derive(Args, Debug)]
pub struct Drain {
    /// Host name or id of the node
    name: String,
    /// Move whatever is still there after this long, also what services cannot spare
    #[arg(long, value_name = "TIME", value_parser = crate::flags::words::duration)]
    deadline: Option<Duration>,
    /// Wait until it runs none
    #[arg(long, short)]
    wait: bool,
    /// Stop waiting after this long; the work goes on (exit code 4)
    #[arg(long, value_name = "TIME", default_value = "10m",
        value_parser = crate::flags::words::duration, requires = "wait")]
    wait_timeout: Duration,
}

impl Drain {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such node, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let node = super::set_availability(&client, &self.name, "drain", self.deadline).await?;
        match super::drain_left(&node) {
            None => output::say(format_args!("{} takes no new tasks", node.hostname)),
            Some(_) => {
                let within = output::duration(self.deadline.unwrap_or_default());
                let host = &node.hostname;
                output::say(format_args!(
                    "{host} takes no new tasks, and keeps none after {within}"
                ));
            }
        }
        if !self.wait {
            return Ok(());
        }
        let mut left = node.tasks;
        let unfinished = |why: &str, left: u32| {
            Failure::new(Exit::Unfinished, format!("{why}; {left} tasks are still there"))
                .hint(format!("the work goes on; see `warren service ps --node {}`", self.name))
        };
        let done = tokio::select! {
            done = drained(&client, &node.id, &mut left) => done,
            () = tokio::time::sleep(self.wait_timeout) => Err(None),
            _ = tokio::signal::ctrl_c() => return Err(unfinished("stopped watching", left)),
        };
        match done {
            Ok(()) => {
                output::say(format_args!("{} runs no tasks any more", node.hostname));
                Ok(())
            }
            Err(Some(failure)) => Err(failure),
            Err(None) => {
                let time = output::duration(self.wait_timeout);
                Err(unfinished(&format!("not drained after {time}"), left))
            }
        }
    }
}

async fn drained(client: &Client, node: &str, left: &mut u32) -> Result<(), Option<Failure>> {
    loop {
        let asked = v1::GetNodeRequest { node_id: node.to_owned() };
        let answer = client.nodes().get_node(request(asked)).await;
        let tasks = answer.map_err(|status| Some(status.into()))?.into_inner();
        let tasks = tasks.node.unwrap_or_default().tasks;
        if tasks == 0 {
            return Ok(());
        }
        if tasks != *left {
            output::say(format_args!("{tasks} tasks to go"));
            *left = tasks;
        }
        tokio::time::sleep(LOOK).await;
    }
}
