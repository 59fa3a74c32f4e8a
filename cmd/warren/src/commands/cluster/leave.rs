//! `warren cluster leave`

use crate::client::{ClientArgs, request};
use crate::commands::{confirm, down};
use crate::failure::{Exit, Failure, Outcome};
use crate::node::{self, Seen};
use crate::output;
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};
use tonic::Code;
use warren_wire::channel::Target;
use warren_wire::trust::MANAGER_NAME;
use warren_wire::v1;
use warren_wire::v1::membership_client::MembershipClient;

/// How often the cluster is asked how far it is: people watch this.
const LOOK: Duration = Duration::from_millis(500);

/// For how long nobody who leads may be found: elections take a second.
const LEADERLESS_MAX: Duration = Duration::from_secs(20);

/// Take this node out of its cluster
///
/// Its tasks are moved to other nodes first, then its vote is given up, then Warren is stopped here and the node is
/// forgotten. It is refused where the other managers could not go on without it. The data directory is kept aside.
#[derive(Args, Debug)]
pub struct Leave {
    /// Go even where the cluster does not agree or does not answer: what only this node has is lost to it
    #[arg(long)]
    force: bool,
    /// Remove the data directory instead of keeping it aside
    #[arg(long)]
    remove_data: bool,
    /// How long the tasks may take to move
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = crate::flags::words::duration)]
    wait_timeout: Duration,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Leave {
    /// Runs it.
    ///
    /// # Errors
    /// The others could not go on, nobody leads, or the tasks do not move in time.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let dir = client.data_dir();
        let seen = Seen::read(&dir)?;
        let node = seen.member.node;
        let question = match self.force {
            true => format!(
                "Take {node} out whatever the cluster says? Its tasks are stopped; where it is the last manager, or one \
                 that the others need, the cluster cannot be changed any more."
            ),
            false => format!("Take {node} out of cluster {}?", seen.member.cluster),
        };
        confirm(self.yes, &question)?;
        let mut way = Way::new(seen, &dir);
        if let Err(failure) = self.drained(&mut way).await {
            self.or_forced(failure)?;
        }
        if let Some((pid, _)) = node::holder(&dir)? {
            let target = i32::try_from(pid).map_err(|e| anyhow::anyhow!("process {pid}: {e}"))?;
            kill(Pid::from_raw(target), Signal::SIGUSR1).map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot stop process {pid}: {error}"))
            })?;
            down::wait_gone(&dir, pid).await?;
        }
        if let Err(failure) = way.ask(true).await {
            self.or_forced(failure)?;
            output::say(format_args!(
                "the cluster still counts {node}: `warren node rm {node} --force` on a manager forgets it"
            ));
        }
        let kept = put_away(&dir, self.remove_data)?;
        let shown = kept.map_or_else(
            || format!("{} is removed", dir.display()),
            |kept| format!("its data is kept in {}", kept.display()),
        );
        output::say(format_args!("{node} has left; {shown}"));
        Ok(())
    }

    /// Waits until the node has no tasks and no vote.
    async fn drained(&self, way: &mut Way) -> Outcome {
        let begun = Instant::now();
        let mut told = None;
        loop {
            let now = way.ask(false).await?;
            if now.tasks == 0 && !now.counted {
                return Ok(());
            }
            let at = (now.tasks, now.counted);
            if told != Some(at) {
                output::say(match at {
                    (0, _) => "it has no tasks any more, and its vote is given up".to_owned(),
                    (1, _) => "1 task to go".to_owned(),
                    (tasks, _) => format!("{tasks} tasks to go"),
                });
                told = Some(at);
            }
            if begun.elapsed() > self.wait_timeout {
                let time = output::duration(self.wait_timeout);
                let why = format!("not ready to leave after {time}: {} tasks are here", now.tasks);
                return Err(Failure::new(Exit::Unfinished, why).hint(
                    "`warren why SERVICE` says what they wait for; --force stops them; `warren node activate` takes all of it back",
                ));
            }
            sleep(LOOK).await;
        }
    }

    fn or_forced(&self, failure: Failure) -> Outcome {
        if self.force {
            output::say(format_args!("going all the same: {}", failure.message));
            return Ok(());
        }
        if failure.hint.is_empty() {
            return Err(failure.hint("--force leaves all the same, and says what is lost"));
        }
        Err(failure)
    }
}

/// The way to whoever leads.
struct Way {
    seen: Seen,
    managers: Vec<String>,
}

impl Way {
    fn new(seen: Seen, dir: &Path) -> Self {
        let own = node::holder(dir).ok().flatten().and_then(|(_, run)| run);
        let own = own.map(|run| run.address).filter(|address| !address.is_empty());
        let managers = own.into_iter().chain(seen.member.managers.clone()).collect();
        Self { seen, managers }
    }

    async fn ask(&mut self, done: bool) -> Outcome<v1::LeaveResponse> {
        let begun = Instant::now();
        loop {
            let mut last = Failure::new(Exit::Unreachable, "no manager is known");
            for manager in self.managers.clone() {
                match self.ask_one(&manager, done).await {
                    Ok(answer) => {
                        let new = answer.managers.iter().filter(|one| !self.managers.contains(one));
                        let new: Vec<String> = new.cloned().collect();
                        self.managers.extend(new);
                        return Ok(answer);
                    }
                    // What the leader says counts.
                    Err((true, failure)) => return Err(failure),
                    Err((false, failure)) => last = failure,
                }
            }
            if begun.elapsed() > LEADERLESS_MAX {
                return Err(last);
            }
            sleep(LOOK).await;
        }
    }

    /// Asks one manager; with a failure, says whether it is the leader's word.
    async fn ask_one(
        &self,
        manager: &str,
        done: bool,
    ) -> Result<v1::LeaveResponse, (bool, Failure)> {
        let target = Target::Tcp(manager.to_owned());
        let channel = self.seen.dialer.connect(&target, MANAGER_NAME).await.map_err(|error| {
            (false, Failure::new(Exit::Unreachable, format!("{manager}: {error}")))
        })?;
        let mut client = MembershipClient::new(channel);
        let answer = client.leave(request(v1::LeaveRequest { done })).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            // It was taken out before, and the answer was lost.
            Err(status)
                if done && matches!(status.code(), Code::NotFound | Code::PermissionDenied) =>
            {
                Ok(v1::LeaveResponse::default())
            }
            Err(status) => {
                let word = [Code::FailedPrecondition, Code::NotFound, Code::PermissionDenied];
                Err((word.contains(&status.code()), status.into()))
            }
        }
    }
}

/// Puts the data directory aside, or removes it. Returns where it is kept.
fn put_away(dir: &Path, remove: bool) -> Outcome<Option<PathBuf>> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("the node has left, but {} stays: {error}", dir.display()),
        )
        .hint("move it away or remove it by hand before another node is started there")
    };
    if remove {
        std::fs::remove_dir_all(dir).map_err(failed)?;
        return Ok(None);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut kept = dir.as_os_str().to_owned();
    kept.push(format!(".left-{now}"));
    let kept = PathBuf::from(kept);
    std::fs::rename(dir, &kept).map_err(failed)?;
    Ok(Some(kept))
}
