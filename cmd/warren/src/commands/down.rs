//! `warren down`

use super::confirm;
use crate::client::ClientArgs;
use crate::failure::{Exit, Failure, Outcome};
use crate::node;
use crate::output;
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a stopping node is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long a node may take to stop its tasks and itself: its tasks have a minute, its parts 20 s by default.
const STOP_TIMEOUT: Duration = Duration::from_secs(120);

/// Stop this node's tasks and the node
///
/// The node's containers are stopped and removed, then the node ends. What the cluster wants stays in the data
/// directory: `warren up` starts it all again. Volumes stay, and images unless `--images` is given.
#[derive(Args, Debug)]
pub struct Down {
    /// Stop the node only; its tasks run on
    #[arg(long)]
    keep_tasks: bool,
    /// Also remove the images that Warren brought here; a task whose image is no longer to be had cannot start again
    #[arg(long, conflicts_with = "keep_tasks")]
    images: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Down {
    /// As for somebody who has been asked already.
    pub fn quietly(keep_tasks: bool) -> Self {
        Self { keep_tasks, images: false, yes: true }
    }

    /// Runs it.
    ///
    /// # Errors
    /// No node runs there, or it did not end in time.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let dir = client.data_dir();
        let shown = dir.display();
        let Some((pid, _)) = node::holder(&dir)? else {
            return Err(Failure::new(Exit::Unreachable, format!("no Warren runs on {shown}"))
                .hint("tasks of a node that ended badly are found again by `warren up`; then take it down"));
        };
        if !self.keep_tasks {
            confirm(self.yes, &format!("Stop all tasks of the node on {shown}?"))?;
        }
        let signal = match (self.keep_tasks, self.images) {
            (true, _) => Signal::SIGTERM,
            (false, false) => Signal::SIGUSR1,
            (false, true) => Signal::SIGUSR2,
        };
        let target = i32::try_from(pid).map_err(|e| anyhow::anyhow!("process {pid}: {e}"))?;
        kill(Pid::from_raw(target), signal).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot stop process {pid}: {error}"))
                .hint("run as the user that Warren runs as, most often root: sudo warren down")
        })?;
        wait_gone(&dir, pid).await?;
        let tasks = if self.keep_tasks { "its tasks run on" } else { "its tasks are gone" };
        output::say(format_args!("the node on {shown} is down; {tasks}"));
        Ok(())
    }
}

/// Waits until process `pid` has given the data directory up.
///
/// # Errors
/// It has not in time.
pub async fn wait_gone(dir: &Path, pid: u32) -> Outcome {
    let begun = Instant::now();
    while begun.elapsed() < STOP_TIMEOUT {
        match node::holder(dir)? {
            Some((holder, _)) if holder == pid => sleep(LOOK).await,
            Some(_) | None => return Ok(()),
        }
    }
    let time = output::duration(STOP_TIMEOUT);
    Err(Failure::new(Exit::Unfinished, format!("process {pid} has not ended after {time}"))
        .hint(format!("its log says what it waits for; `kill -9 {pid}` ends it, its tasks run on")))
}
