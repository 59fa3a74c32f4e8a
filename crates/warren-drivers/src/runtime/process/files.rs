//! The files of the runtime: what is where, and how it is read and written.
//!
//! ```text
//! store/<sha256>              the programs
//! tasks/<container name>/     one folder for each task:
//!   task.json                 what it is made from; written once
//!   run.json  exit.json       its latest run and how a run ended, numbered alike
//!   log  log.1                its output, newest in log
//!   lock                      held by its supervisor
//!   supervisor.log            what went wrong in its supervisor
//!   work/                     its working directory
//! changed                     written whenever a task started or ended
//! ```

use crate::runtime::process::proc::{self, Process};
use crate::runtime::{Container, ContainerRef, ContainerState, Exit, Labels, RuntimeError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The folder of the runtime.
#[derive(Clone, Debug)]
pub(super) struct Root(PathBuf);

/// What a task is made from.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(super) struct TaskRecord {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) address: Ipv4Addr,
    pub(super) program: PathBuf,
    /// The name that the program sees itself under.
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) user: Option<UserIds>,
    pub(super) working_dir: PathBuf,
    pub(super) memory_limit: Option<u64>,
    pub(super) log_bytes_max: u64,
}

/// A user and a group of the machine.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserIds {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// One run of a task.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(super) struct RunRecord {
    /// Counts the runs, from 1.
    pub(super) number: u32,
    /// The machine's boot in which it began; after another nothing of it is left.
    pub(super) boot: String,
    pub(super) supervisor: Process,
    pub(super) task: Process,
    pub(super) since_ms: u64,
}

/// How a run ended.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(super) struct ExitRecord {
    /// Of which run.
    pub(super) number: u32,
    pub(super) code: i32,
    pub(super) signal: Option<i32>,
    pub(super) oom: bool,
    pub(super) at_ms: u64,
}

/// The folder of one task.
#[derive(Clone, Debug)]
pub(super) struct TaskFolder {
    pub(super) path: PathBuf,
}

impl Root {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(super) fn make(&self) -> io::Result<()> {
        std::fs::create_dir_all(self.store())?;
        std::fs::create_dir_all(self.tasks())?;
        std::fs::OpenOptions::new().append(true).create(true).open(self.changed()).map(drop)
    }

    pub(super) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub(super) fn tasks(&self) -> PathBuf {
        self.0.join("tasks")
    }

    /// Its modification time tells when a task last started or ended.
    pub(super) fn changed(&self) -> PathBuf {
        self.0.join("changed")
    }

    /// The folder of a container, whether it is there or not.
    pub(super) fn task(&self, id: &ContainerRef) -> Result<TaskFolder, RuntimeError> {
        let plain = !id.0.is_empty() && !id.0.starts_with('.') && !id.0.contains(['/', '\0']);
        if plain { Ok(TaskFolder { path: self.tasks().join(&id.0) }) } else { Err(not_found(id)) }
    }

    /// Every task whose folder is whole.
    pub(super) fn all(&self) -> io::Result<Vec<(ContainerRef, TaskFolder)>> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(self.tasks())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let path = self.tasks().join(&name);
                folders.push((ContainerRef(name), TaskFolder { path }));
            }
        }
        Ok(folders)
    }
}

impl TaskFolder {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn record(&self) -> io::Result<Option<TaskRecord>> {
        read_json(&self.file("task.json"))
    }

    pub(super) fn run(&self) -> io::Result<Option<RunRecord>> {
        read_json(&self.file("run.json"))
    }

    fn exit_of(&self, run: &RunRecord) -> io::Result<Option<ExitRecord>> {
        let exit: Option<ExitRecord> = read_json(&self.file("exit.json"))?;
        Ok(exit.filter(|exit| exit.number == run.number))
    }

    /// The latest run, where it has not ended.
    pub(super) fn live(&self) -> io::Result<Option<RunRecord>> {
        let Some(run) = self.run()? else { return Ok(None) };
        if self.exit_of(&run)?.is_some() || run.boot != proc::boot()? {
            return Ok(None);
        }
        // A task whose end is not yet written down still has its supervisor.
        let alive = run.task.is_alive() || run.supervisor.is_alive();
        Ok(alive.then_some(run))
    }

    pub(super) fn state(&self) -> io::Result<ContainerState> {
        let Some(run) = self.run()? else { return Ok(ContainerState::Created) };
        if let Some(run) = self.live()? {
            return Ok(ContainerState::Running { since: at(run.since_ms), pid: run.task.pid });
        }
        // Asked after the processes: an end that was written down meanwhile is seen.
        let exit = match self.exit_of(&run)? {
            Some(exit) => Exit {
                code: Some(exit.code),
                signal: exit.signal.and_then(|number| number.to_string().parse().ok()),
                oom: exit.oom,
                at: at(exit.at_ms),
            },
            // Its supervisor was killed too: its last words are the best guess of when.
            None => {
                let log = std::fs::metadata(self.file("log")).and_then(|log| log.modified());
                Exit {
                    code: None,
                    signal: None,
                    oom: false,
                    at: log.unwrap_or_else(|_| at(run.since_ms)),
                }
            }
        };
        Ok(ContainerState::Exited(exit))
    }

    /// The task as it is now; `None` where the folder is gone or not one of ours.
    pub(super) fn container(&self, id: &ContainerRef) -> io::Result<Option<Container>> {
        let Some(record) = self.record()? else { return Ok(None) };
        let labels = record.labels.into_iter().collect();
        let labels = match Labels::from_map(&labels) {
            Ok(labels) => labels,
            Err(error) => {
                tracing::warn!(container = %id, %error, "task folder left alone");
                return Ok(None);
            }
        };
        let (id, address) = (id.clone(), Some(record.address));
        Ok(Some(Container { id, labels, address, state: self.state()? }))
    }
}

/// Runs file work on a thread where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    root: &Root,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, RuntimeError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.flatten().map_err(|error| unavailable(root, &error))
}

pub(super) fn unavailable(root: &Root, error: &io::Error) -> RuntimeError {
    RuntimeError::Unavailable {
        runtime: format!("the process runtime in {}", root.0.display()),
        why: error.to_string(),
    }
}

pub(super) fn not_found(id: &ContainerRef) -> RuntimeError {
    RuntimeError::NotFound { what: format!("container {id}") }
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display()))),
        // A file where a folder was expected is nothing of ours either.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// Writes a file whole or not at all: readers see the old one or the new one.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}
