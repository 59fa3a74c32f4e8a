//! A Docker engine of a machine's own: its own network, files, socket and control group, so that it can be stopped and
//! killed without hurting anybody else's containers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bollard::{API_DEFAULT_VERSION, Docker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::namespace::Namespace;
use super::{NotHere, processes, tool};
use crate::wait;

/// An engine answers a second after its start; three at once on a loaded machine take longer.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// It gives its containers 15 s to end.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a request to an engine of this machine may take, in seconds.
const REQUEST_S_MAX: u64 = 60;

/// An engine, running or not. Its containers outlive the value; the testbed that it belongs to removes them.
pub struct Engine {
    namespace: Arc<Namespace>,
    folder: PathBuf,
    live_restore: bool,
    child: Option<Child>,
}

impl Engine {
    /// Starts one in a namespace and waits until it answers.
    ///
    /// # Errors
    /// [`NotHere`] where no engine is installed or this machine lets none start.
    pub async fn start(
        namespace: Arc<Namespace>,
        folder: PathBuf,
        live_restore: bool,
    ) -> anyhow::Result<Self> {
        tool::find("dockerd")?;
        std::fs::create_dir_all(&folder)?;
        // The machine's own configuration would move this engine's files to where its own are.
        std::fs::write(folder.join("daemon.json"), "{}")?;
        let mut engine = Self { namespace, folder, live_restore, child: None };
        engine.resume().await.map_err(|error| NotHere(format!("no engine starts: {error:#}")))?;
        Ok(engine)
    }

    /// Starts it again after a stop or a kill, and waits until it answers.
    ///
    /// # Errors
    /// Where it runs already or does not answer in time; the end of its log is in the message.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut dockerd = Command::new("dockerd");
        dockerd
            .arg("--config-file")
            .arg(self.folder.join("daemon.json"))
            .arg("--data-root")
            .arg(self.folder.join("data"))
            .arg("--exec-root")
            .arg(self.folder.join("exec"))
            .arg("--pidfile")
            .arg(self.folder.join("pid"))
            .arg("--cgroup-parent")
            .arg(self.group())
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if self.live_restore {
            dockerd.arg("--live-restore");
        }
        let child = {
            let _inside = self.namespace.enter()?;
            dockerd.spawn().context("dockerd")?
        };
        self.child = Some(child);
        self.wait_until_it_answers().await
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let answered = wait::until("the engine answers", START_TIME_MAX, async || {
            if let Some(status) = self.child.as_mut().context("a child")?.try_wait()? {
                // Waiting on would only hide why.
                return Ok(Err(status));
            }
            self.client()?.ping().await?;
            Ok(Ok(()))
        })
        .await;
        let log = || std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let end = |log: String| log.lines().last().unwrap_or_default().to_owned();
        match answered {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("dockerd ended with {status}: {}", end(log())),
            Err(error) => Err(error.context(end(log()))),
        }
    }

    /// Tells it to stop and waits for its end.
    ///
    /// # Errors
    /// Where it does not run or does not end in time.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it does not run")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let status = wait::until("the engine stops", STOP_TIME_MAX, async || {
            child.try_wait()?.context("it still runs")
        })
        .await?;
        self.child = None;
        Ok(status)
    }

    /// Kills it as a crash would. Its containers and their shims run on.
    ///
    /// # Errors
    /// Where it does not run, or its containerd outlives it.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        // The kernel kills its containerd with it. Where the machine's init is slow to ask after that, the number stays
        // taken, and the next engine would believe that it runs and wait for it.
        let note = self.folder.join("exec/containerd/containerd.pid");
        let containerd: u32 = std::fs::read_to_string(&note)?.trim().parse()?;
        wait::until("containerd ends with its engine", STOP_TIME_MAX, async || {
            ensure!(processes::has_ended(containerd), "process {containerd} runs");
            Ok(())
        })
        .await?;
        Ok(std::fs::remove_file(note)?)
    }

    /// Stops every thread of it where it is, or lets it go on: an engine that hangs.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn hang(&self, hangs: bool) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        processes::hang(child.id(), hangs)
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// A client of it.
    ///
    /// # Errors
    /// Where the socket's path is none.
    pub fn client(&self) -> anyhow::Result<Docker> {
        let socket = self.socket();
        let socket = socket.to_str().context("a path of plain letters")?;
        Ok(Docker::connect_with_unix(socket, REQUEST_S_MAX, API_DEFAULT_VERSION)?)
    }

    pub(super) fn leave_standing(&mut self) {
        self.child = None;
    }

    fn group(&self) -> String {
        // .../warren-bed-ID/MACHINE/docker
        let bed = self.folder.ancestors().nth(2).unwrap_or_else(|| Path::new("/"));
        processes::group(bed)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
