//! A real node: a `warren up` of its own, with folder, ports and tasks that are gone when the test ends.

mod copied;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::testbed::Namespace;
use crate::testbed::clock::Clock;
use crate::{binary, http, pool, sweep, wait};

/// The pool of a cluster in a testbed: a subnet for each of 256 machines.
pub const WIDE_POOL: &str = "10.210.0.0/16";
/// The port of the demo workload.
pub const PORT: u16 = 8080;
/// How far a node in a machine of its own goes before what else this machine does.
const AHEAD: &str = "-10";
/// A node of one starts in under a second; a loaded machine takes longer.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// Warren itself stops within 20 s or is cut off.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest command a test waits for: one that pulls, starts and probes tasks.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(120);

/// What runs the tasks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Supervised processes on loopback addresses.
    Process,
    /// Containers of the local engine.
    Docker,
}

/// Where a node runs, where that is not simply beside the test.
#[derive(Clone)]
pub struct Seat {
    /// The network that it is in.
    pub namespace: Arc<Namespace>,
    /// Its address there, at which the test finds it.
    pub address: Ipv4Addr,
    /// The wall clock that it reads, where it is not this machine's.
    pub clock: Option<Clock>,
}

/// One node, running or not. Dropping it kills it and removes its tasks, its network and its folder.
pub struct Node {
    folder: TempDir,
    runtime: Runtime,
    pool: String,
    arguments: Vec<String>,
    seat: Option<Seat>,
    child: Option<Child>,
    cluster: Option<String>,
    /// Where other nodes reach it: chosen at its first start, kept from then on, as of a machine.
    listen: Option<String>,
}

/// What a command gave.
#[derive(Debug)]
pub struct Said {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output: the data.
    pub out: String,
    /// Standard error: the talk.
    pub talk: String,
}

impl Node {
    /// Makes a folder and starts a node in it that is a cluster of one, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not get ready in time; the end of its log is in the message.
    pub async fn start(runtime: Runtime) -> anyhow::Result<Self> {
        Self::start_with(runtime, &[]).await
    }

    /// As [`Self::start`], with further arguments of `warren up`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(runtime: Runtime, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut node = Self::stopped(runtime, arguments)?;
        node.resume().await?;
        Ok(node)
    }

    /// A folder for a node that has not been started yet.
    ///
    /// # Errors
    /// Where no folder can be made.
    pub fn stopped(runtime: Runtime, arguments: &[&str]) -> anyhow::Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("warren-test-").tempdir()?,
            runtime,
            pool: pool::own(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            seat: None,
            child: None,
            cluster: None,
            listen: None,
        })
    }

    /// The same, in a machine of a testbed.
    #[must_use]
    pub fn seated(mut self, seat: Seat) -> Self {
        // Nobody else's routes are in a testbed's machines.
        WIDE_POOL.clone_into(&mut self.pool);
        self.seat = Some(seat);
        self
    }

    /// With another pool of addresses than the small one that each test has to itself.
    #[must_use]
    pub fn with_pool(mut self, pool: &str) -> Self {
        pool.clone_into(&mut self.pool);
        self
    }

    /// Other arguments of `warren up` from its next start on.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Where its data is going to be, made now, so that a test can mount something there.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn make_data_dir(&self) -> anyhow::Result<PathBuf> {
        let path = self.data_dir();
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Tries to start a node that is to refuse, and gives what it said. The arguments name its HTTP address.
    ///
    /// # Errors
    /// Where it starts all the same.
    pub async fn refused(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let dir = self.data_dir();
        let any_port = self.any_port();
        let up = ["up", "--data-dir", &path_text(&dir)?, "--runtime", self.runtime.name()];
        let ports = ["--dns", &any_port, "--listen", &any_port, "--pool", &self.pool];
        let _inside = self.seat.as_ref().map(|seat| seat.namespace.enter()).transpose()?;
        let said = self.command(&[&up[..], &ports[..], arguments].concat()).await?;
        ensure!(said.code != Some(0), "it ran and ended well: {said:?}");
        Ok(said)
    }

    /// Starts it, for the first time or after an end, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "it runs already");
        // The file is of this run; an old one would name ports that nobody listens on any more.
        let _ = std::fs::remove_file(self.run_file());
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let seat = self.seat.as_ref();
        let any_port = self.any_port();
        let listen = match (&self.listen, seat) {
            (Some(listen), _) => listen.clone(),
            (None, Some(_)) => any_port.clone(),
            (None, None) => pool::lasting()?.to_string(),
        };
        let clock = seat.and_then(|seat| seat.clock.as_ref());
        let mut warren = match seat {
            Some(_) => {
                // Machines do not take each other's time; programs of one machine do.
                let mut nice = Command::new("nice");
                nice.args(["-n", AHEAD]).arg(binary::warren()?);
                nice
            }
            None => Command::new(binary::warren()?),
        };
        warren
            .arg("up")
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--http", &any_port, "--dns", &any_port, "--listen", &listen])
            .args(["--pool", &self.pool])
            .args(["--runtime", self.runtime.name()])
            .args(&self.arguments)
            .envs(clock.map(Clock::environment).unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = {
            let _inside = seat.map(|seat| seat.namespace.enter()).transpose()?;
            warren.spawn().context("warren starts")?
        };
        self.child = Some(child);
        self.wait_until_ready().await.with_context(|| self.log_end())?;
        let run = self.run()?;
        let id = run.get("cluster_id").and_then(Value::as_str);
        self.cluster = Some(id.context("run.json names the cluster")?.to_owned());
        if let Some(address) = run.get("address").and_then(Value::as_str)
            && !address.is_empty()
        {
            self.listen = Some(address.to_owned());
        }
        Ok(())
    }

    /// Any free port of the machine that it runs in.
    fn any_port(&self) -> String {
        let address = self.seat.as_ref().map_or(Ipv4Addr::LOCALHOST, |seat| seat.address);
        SocketAddr::new(IpAddr::V4(address), 0).to_string()
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        wait::until("the node is ready", READY_TIME_MAX, async || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                return Ok(Err(anyhow::anyhow!("warren up ended: {status}")));
            }
            let (status, text) = http::get(self.http_address()?, "/readyz").await?;
            ensure!(status == 200, "/readyz says {status}: {text}");
            Ok(Ok(()))
        })
        .await?
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A path in the folder for files of the test; gone with the node.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where `/metrics` and `/readyz` are.
    ///
    /// # Errors
    /// Where the node has not written its addresses.
    pub fn http_address(&self) -> anyhow::Result<SocketAddr> {
        self.address("http")
    }

    /// Where it answers DNS.
    ///
    /// # Errors
    /// As [`Self::http_address`].
    pub fn dns_address(&self) -> anyhow::Result<SocketAddr> {
        self.address("dns")
    }

    /// What it wrote about its run, once its ports were open.
    ///
    /// # Errors
    /// Where it has not yet.
    pub fn run(&self) -> anyhow::Result<Value> {
        let text = std::fs::read(self.run_file()).context("no run.json")?;
        Ok(serde_json::from_slice(&text)?)
    }

    fn address(&self, key: &str) -> anyhow::Result<SocketAddr> {
        let run = self.run()?;
        let text = run.get(key).and_then(Value::as_str);
        Ok(text.with_context(|| format!("run.json has no {key}: {run}"))?.parse()?)
    }

    /// Runs a command against this node and gives what it said, whatever its exit code.
    ///
    /// # Errors
    /// Where it does not end in time.
    pub async fn command(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        self.command_with_input(arguments, "").await
    }

    /// As [`Self::command`], with text on its standard input.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub async fn command_with_input(
        &self,
        arguments: &[&str],
        input: &str,
    ) -> anyhow::Result<Said> {
        use tokio::io::AsyncWriteExt as _;
        let mut child = self.spawn(arguments)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input closes it; that is its right.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = tokio::time::timeout(COMMAND_TIME_MAX, child.wait_with_output())
            .await
            .with_context(|| format!("warren {} did not end", arguments.join(" ")))??;
        Ok(Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            talk: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn spawn(&self, arguments: &[&str]) -> anyhow::Result<tokio::process::Child> {
        Ok(tokio::process::Command::new(binary::warren()?)
            .args(arguments)
            .env("WARREN_DATA_DIR", self.data_dir())
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?)
    }

    /// Runs a command that goes on until somebody has seen enough: until its first line, which it gives.
    ///
    /// # Errors
    /// Where it says nothing in time, or ends without a word.
    pub async fn glimpse(&self, arguments: &[&str]) -> anyhow::Result<String> {
        use tokio::io::{AsyncBufReadExt as _, BufReader};
        let mut child = self.spawn(arguments)?;
        let out = child.stdout.take().context("it has an output")?;
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(COMMAND_TIME_MAX, lines.next_line()).await;
        let line = line.with_context(|| format!("warren {} is silent", arguments.join(" ")))??;
        child.kill().await?;
        line.with_context(|| format!("warren {} said nothing", arguments.join(" ")))
    }

    /// Runs a command that has to succeed, and gives its data.
    ///
    /// # Errors
    /// Where it fails; with what it said.
    pub async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let said = self.command(arguments).await?;
        if said.code == Some(0) {
            return Ok(said.out);
        }
        bail!("warren {} failed: {said:#?}\n{}", arguments.join(" "), self.log_end())
    }

    /// As [`Self::ok`], with `--output json`, read.
    ///
    /// # Errors
    /// As [`Self::ok`], or where the data is not JSON.
    pub async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.ok(&[arguments, &["--output", "json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }

    /// Kills it as a crash would; its tasks run on.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Has it abort, as after a fault of its own, and tells how it ended.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn abort(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("it does not run")?;
        kill(Pid::from_raw(child.id().try_into()?), Signal::SIGABRT)?;
        Ok(child.wait()?)
    }

    /// Stops it where it is, as a machine that hangs, or lets it go on.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn hang(&self, hangs: bool) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        crate::testbed::processes::hang(child.id(), hangs)
    }

    /// Whether it was started and has ended by itself; then it may be resumed.
    ///
    /// # Errors
    /// Where its process cannot be asked.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => false,
        };
        if ended {
            self.child = None;
        }
        Ok(ended)
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// Where it does not run, or does not end in time.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it does not run")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let status = wait::until("warren stops", STOP_TIME_MAX, async || {
            child.try_wait()?.context("it still runs")
        })
        .await?;
        self.child = None;
        Ok(status)
    }

    /// Listens there from its next start on.
    pub fn listen_at(&mut self, address: &str) {
        self.listen = Some(address.to_owned());
    }

    /// Where other nodes reach it, once it has run as a manager.
    #[must_use]
    pub fn listen(&self) -> &str {
        self.listen.as_deref().unwrap_or_default()
    }

    /// The id of the cluster, as in the labels of its containers.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        const LINES: usize = 40;
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(LINES)..];
        format!("the end of its log:\n{}", end.join("\n"))
    }

    /// What [`Self::run`] reads.
    #[must_use]
    pub fn run_file(&self) -> PathBuf {
        self.data_dir().join("run.json")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("warren.log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{}", self.log_end());
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        sweep::processes_below(self.folder.path());
        // A testbed takes the containers of its engines away itself.
        if let (Runtime::Docker, Some(cluster), None) = (self.runtime, &self.cluster, &self.seat) {
            sweep::containers_of(cluster);
        }
        sweep::memory_of(&self.data_dir());
    }
}

impl Runtime {
    /// As the flag says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
        }
    }

    /// What a test calls a service's image under this runtime: the server's file, or an image of it.
    ///
    /// # Errors
    /// Where the server cannot be built, or no engine answers.
    pub async fn web_image(self, version: &str) -> anyhow::Result<String> {
        match self {
            Self::Process => path_text(binary::web()?),
            Self::Docker => {
                let docker = crate::image::docker().await.context("no Docker engine answers")?;
                crate::image::web(&docker, version).await
            }
        }
    }
}

fn path_text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().context("the path is not UTF-8")?.to_owned())
}
