//! `warren up`

use crate::client::ClientArgs;
use crate::config::{NodeConfig, NodeFlags, settings};
use crate::failure::{Exit, Failure, Outcome};
use crate::node;
use crate::output;
use clap::Args;
use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a node in the background has to become ready: it opens its state and its runtime, and nothing is pulled.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// How long the kernel may take to clear away a node that was killed.
const LINGER: Duration = Duration::from_millis(200);

/// Its log in the data directory.
const LOG: &str = "warren.log";

/// Lines of it that are shown where it did not become ready.
const LOG_LINES: usize = 10;

/// Start this node: resume its cluster, or make a new one
///
/// Ctrl-C and SIGTERM stop the node; its tasks run on and are adopted by the next start. `warren down` takes the tasks
/// with it.
#[derive(Args, Debug)]
pub struct Up {
    #[command(flatten)]
    node: NodeFlags,
    /// Return once the node is ready; it goes on in the background and logs to warren.log in its data directory
    #[arg(long, short)]
    detach: bool,
    /// Begin a session of its own: how `--detach` starts it
    #[arg(long, hide = true)]
    own_session: bool,
    /// Only where there is no cluster yet: how `warren cluster init` starts it
    #[arg(skip)]
    first: bool,
}

impl Up {
    /// Runs it where there is no cluster yet, and makes one.
    ///
    /// # Errors
    /// There is one, or as [`Self::run`].
    pub fn init(self, client: &ClientArgs) -> Outcome {
        Self { first: true, ..self }.run(client)
    }

    /// Runs it.
    ///
    /// # Errors
    /// The node could not start, or a part of it broke.
    pub fn run(self, client: &ClientArgs) -> Outcome {
        let settings = settings(&self.node, client, |name| std::env::var(name).ok())?;
        let config = NodeConfig::from_settings(&settings)?;
        if self.first {
            check_first(&config)?;
        }
        if self.detach {
            return crate::cli::block_on(detach(&config.data_dir));
        }
        if self.own_session {
            // It fails where there is a session already, which is as good.
            let _ = nix::unistd::setsid();
        }
        node::start_logging(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::from)?;
        let outcome = runtime.block_on(node::run(config));
        // What still sits in a blocking call has been told to stop and cut off: it does not hold the process.
        runtime.shutdown_background();
        outcome
    }
}

/// Refuses a data directory that has a cluster already.
fn check_first(config: &NodeConfig) -> Outcome {
    if config.join.is_some() {
        return Err(Failure::usage(
            "--join is for a cluster that exists, and init makes a new one",
        )
        .hint("`warren up --join …` joins"));
    }
    let shown = config.data_dir.display();
    if node::has_cluster(&config.data_dir) {
        return Err(Failure::new(Exit::Failed, format!("{shown} has a cluster already"))
            .hint("`warren up` goes on with it; name another with --data-dir for a new one"));
    }
    Ok(())
}

async fn detach(data_dir: &Path) -> Outcome {
    // A node that was just killed takes a moment to be gone.
    if node::holder(data_dir)?.is_some() {
        sleep(LINGER).await;
    }
    if let Some((pid, _)) = node::holder(data_dir)? {
        let why = format!("process {pid} runs Warren on {} already", data_dir.display());
        return Err(Failure::new(Exit::Failed, why)
            .hint("stop it with `warren down`, or choose another directory with --data-dir"));
    }
    let failed = |what: &str, error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot {what} {}: {error}", data_dir.display()))
            .hint("run as a user who may (most often root), or choose another with --data-dir")
    };
    if !data_dir.exists() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
        made.map_err(|error| failed("make the data directory", error))?;
    }
    let path = data_dir.join(LOG);
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let log = log.map_err(|error| failed("write to the data directory", error))?;
    let begun_at = log.metadata()?.len();
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach" && word != "-d");
    let mut child = Command::new("/proc/self/exe")
        .args(words)
        .arg("--own-session")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    match wait_ready(&mut child, data_dir).await {
        Ok(text) => {
            output::say(text);
            Ok(())
        }
        Err(failure) => Err(failure.hint(log_end(&path, begun_at))),
    }
}

async fn wait_ready(child: &mut Child, data_dir: &Path) -> Outcome<String> {
    let begun = Instant::now();
    while begun.elapsed() < READY_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Err(Failure::new(Exit::Failed, format!("the node ended: {status}")));
        }
        if let Some((pid, Some(run))) = node::holder(data_dir)?
            && pid == child.id()
        {
            let shown = data_dir.display();
            return Ok(format!(
                "node {} is up as process {pid}; its log is {shown}/{LOG}; \
                 `warren down --data-dir {shown}` stops it",
                run.node_id
            ));
        }
        sleep(LOOK).await;
    }
    let pid = child.id();
    let time = output::duration(READY_TIMEOUT);
    Err(Failure::new(
        Exit::Unfinished,
        format!("process {pid} runs, but is not ready after {time}"),
    ))
}

/// What the node logged since it was started.
fn log_end(path: &Path, begun_at: u64) -> String {
    let log = std::fs::read(path).unwrap_or_default();
    let new = log.get(usize::try_from(begun_at).unwrap_or(usize::MAX)..).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
    format!("the end of its log, {}:\n  {}", path.display(), end.join("\n  "))
}
