//! The data directory: one process at a time, known by a lock that the kernel lets go of however the process ends.

use crate::failure::{Exit, Failure, Outcome};
use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK: &str = "lock";
const RUN: &str = "run.json";
const NODE: &str = "node.json";

/// A process id has at most 7 digits on Linux.
const PID_BYTES_MAX: u64 = 16;

/// How often the lock is tried, and the pause between: a look takes microseconds.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What a node says of its run, for whoever looks into its data directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The process.
    pub pid: u32,
    /// This node in the cluster.
    pub node_id: String,
    /// `manager` or `worker`.
    pub role: String,
    /// The cluster.
    pub cluster_id: String,
    /// What runs the tasks.
    pub runtime: String,
    /// The API.
    pub socket: PathBuf,
    /// Where other machines reach it; empty for a worker.
    pub address: String,
    /// Metrics and health; absent where they are off.
    pub http: Option<SocketAddr>,
    /// DNS for this machine.
    pub dns: SocketAddr,
    /// Every address that DNS is answered on.
    pub dns_all: Vec<SocketAddr>,
    /// Of Warren.
    pub version: String,
}

/// What a node keeps of itself between runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// What runs the tasks.
    pub runtime: String,
    /// The loopback addresses of its tasks, where they are processes.
    pub subnet: Option<ipnet::Ipv4Net>,
}

/// A data directory that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing, and takes it.
    ///
    /// # Errors
    /// It cannot be made or written, or another process has it, which is named.
    pub async fn claim(path: &Path) -> Outcome<Self> {
        let shown = path.display();
        let unusable = |what: &str, error: std::io::Error| {
            Failure::new(Exit::Failed, format!("{what} the data directory {shown}: {error}")).hint(
                match error.kind() {
                    ErrorKind::StorageFull => "make space there, or choose another with --data-dir",
                    ErrorKind::ReadOnlyFilesystem => {
                        "mount it so that it can be written, or choose another with --data-dir"
                    }
                    ErrorKind::NotADirectory => "name a folder with --data-dir",
                    _ => {
                        "run as a user who may (most often root), or choose another with --data-dir"
                    }
                },
            )
        };
        if path.exists() && !path.is_dir() {
            return Err(unusable("cannot use", ErrorKind::NotADirectory.into()));
        }
        if !path.exists() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|error| unusable("cannot make", error))?;
        }
        let may = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
        access(path, may).map_err(|error| unusable("cannot write to", error.into()))?;
        let file = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .map_err(|error| unusable("cannot write to", error))?;
        match try_lock(&lock).await {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut lock)
                    .map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{pid} runs Warren on {shown} already"),
                )
                .hint("stop it with `warren down`, or choose another directory with --data-dir"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable("cannot lock", error)),
        }
        let mut write = || {
            lock.set_len(0)?;
            lock.rewind()?;
            write!(lock, "{}", std::process::id())
        };
        write().map_err(|error| unusable("cannot write to", error))?;
        let claimed = Self { path: path.to_owned(), _lock: lock };
        // Of an earlier run that ended badly.
        claimed.forget_run();
        Ok(claimed)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the node is up.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn tell_run(&self, run: &Run) -> Outcome {
        self.write(RUN, run)
    }

    /// Says that the node is not up (any more).
    pub fn forget_run(&self) {
        let _ = std::fs::remove_file(self.path.join(RUN));
    }

    /// What the node kept of itself; nothing before its first run.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn kept(&self) -> Outcome<Option<Kept>> {
        read(&self.path.join(NODE))
    }

    /// Keeps this for the next run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, kept: &Kept) -> Outcome {
        self.write(NODE, kept)
    }

    /// Reads a JSON file; nothing where there is none.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Outcome<Option<T>> {
        read(&self.path.join(name))
    }

    /// Writes a JSON file whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Outcome {
        self.write(name, value)
    }

    /// Reads a text file; nothing where there is none.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read_text(&self, name: &str) -> Outcome<Option<String>> {
        let path = self.path.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let why = format!("cannot read {}: {error}", path.display());
                Err(Failure::new(Exit::Failed, why))
            }
        }
    }

    /// Writes a file, in a folder of its own, that only its owner reads.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_secret(&self, name: &str, bytes: &[u8]) -> Outcome {
        if let Some(folder) = Path::new(name).parent() {
            let folder = self.path.join(folder);
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        self.write_bytes(name, bytes)
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Outcome {
        let text = serde_json::to_vec_pretty(value).map_err(anyhow::Error::new)?;
        self.write_bytes(name, &text)
    }

    /// Writes a file whole or not at all.
    fn write_bytes(&self, name: &str, text: &[u8]) -> Outcome {
        let (path, draft) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let written = || -> std::io::Result<()> {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&draft)?;
            file.write_all(text)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(path.parent().unwrap_or(&self.path))?.sync_all()
        };
        written().map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
        })
    }
}

/// Takes the lock. [`holder`] has it for a moment while it looks, so that one refusal means nothing.
async fn try_lock(lock: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        if let Ok(()) = lock.try_lock() {
            return Ok(());
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    lock.try_lock()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Outcome<Option<T>> {
    let refuse = |why: String| {
        Failure::new(Exit::Failed, format!("cannot read {}: {why}", path.display()))
            .hint("restore it from a copy, or move the whole data directory away")
    };
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| refuse(e.to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The process that has the data directory at `path` now, and what it said of its run.
///
/// # Errors
/// The directory cannot be looked into.
pub fn holder(path: &Path) -> Outcome<Option<(u32, Option<Run>)>> {
    let file = path.join(LOCK);
    let mut lock = match File::open(&file) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::new(
                Exit::Failed,
                format!("cannot look into {}: {error}", path.display()),
            )
            .hint("run as the user that Warren runs as, most often root: sudo warren …"));
        }
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let run = read::<Run>(&path.join(RUN)).unwrap_or_default();
            Ok(read_pid(&mut lock).map(|pid| (pid, run)))
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn one_process_has_a_directory_and_the_second_is_told_which() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/data");
        assert_eq!(holder(&path).unwrap(), None);
        let claimed = DataDir::claim(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let refused = DataDir::claim(&path).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert_eq!(holder(&path).unwrap(), Some((std::process::id(), None)));
        drop(claimed);
        assert_eq!(holder(&path).unwrap(), None);
        assert!(DataDir::claim(&path).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_and_rubbish_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::claim(base.path()).await.unwrap();
        assert_eq!(dir.kept().unwrap(), None);
        let kept = Kept { runtime: "process".into(), subnet: "127.64.4.0/22".parse().ok() };
        dir.keep(&kept).unwrap();
        assert_eq!(dir.kept().unwrap(), Some(kept));
        std::fs::write(base.path().join(NODE), "{").unwrap();
        assert!(dir.kept().unwrap_err().to_string().contains("node.json"));
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_a_directory_is_refused_with_the_way_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = DataDir::claim(file.path()).await.unwrap_err().to_string();
        assert!(refused.contains("not a directory") && refused.contains("a folder"), "{refused}");
        let refused = DataDir::claim(&file.path().join("data")).await.unwrap_err().to_string();
        assert!(refused.contains("--data-dir"), "{refused}");
    }
}
