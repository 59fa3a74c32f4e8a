//! Files that tasks get from the cluster: each task has a folder of its own, below a folder in memory where one can be
//! mounted.
//!
//! Secrets are never written to a disk: where no memory can be mounted they are refused, with the reason.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::stat;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use warren_core::id::TaskId;
use zeroize::Zeroizing;

/// The most memory that the files of all tasks of a node may take: what 1,000 tasks with the largest secret take, four
/// times.
const MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Where secrets are, below the folder of the store.
const MEMORY: &str = "memory";
/// Where configs are of tasks that have nothing else, while no memory can be mounted.
const DISK: &str = "disk";

/// One file of a task.
pub struct TaskFile {
    /// The absolute path that the task has it at.
    pub target: String,
    /// What is in it.
    pub content: Zeroizing<Vec<u8>>,
    /// Who may do what.
    pub mode: u16,
    /// Whose it is.
    pub uid: Option<u32>,
    /// The same for the group.
    pub gid: Option<u32>,
}

impl std::fmt::Debug for TaskFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskFile").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Files that cannot be had on this node.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no memory to put secrets in, and a disk is no place for them.
    #[error(
        "this node cannot keep secrets: no memory can be mounted at {} ({why}). Run Warren as root, or let it mount \
         (CAP_SYS_ADMIN)", path.display()
    )]
    NoMemory {
        /// Where it would be.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// They cannot be written.
    #[error("files of {task} cannot be written to {}", path.display())]
    Write {
        /// Whose.
        task: TaskId,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The files of the tasks of one node. Nothing is made and nothing mounted before the first file comes.
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
    mode: u32,
    /// Tasks whose files came since the last sweep, which may not know them yet.
    fresh: Mutex<BTreeSet<TaskId>>,
}

impl FileStore {
    /// The store in `folder`. Memory that an earlier process mounted there is used again, with what is in it. `mode` is
    /// who may pass through: 0700 where containers get files by mounts, 0711 where processes open them themselves.
    #[must_use]
    pub fn new(folder: PathBuf, mode: u32) -> Self {
        Self { folder, mode, fresh: Mutex::default() }
    }

    /// The folder with a task's files, once all of them are there: a file is in it under the path that the task has it
    /// at.
    #[must_use]
    pub fn find(&self, task: TaskId) -> Option<PathBuf> {
        let places = [MEMORY, DISK].map(|place| self.folder.join(place).join(task.to_string()));
        places.into_iter().find(|path| path.is_dir())
    }

    /// Writes a task's files, all or none, in place of what it had. With a `secret` among them all are in memory.
    /// `owner` is whose they are where they do not say.
    ///
    /// # Errors
    /// [`FileError::NoMemory`] where one is `secret` and no memory can be mounted; the disk or the memory is full.
    pub fn write(
        &self,
        task: TaskId,
        secret: bool,
        owner: Option<(u32, u32)>,
        files: &[TaskFile],
    ) -> Result<PathBuf, FileError> {
        let place = self.folder.join(if secret { MEMORY } else { DISK });
        let path = place.join(task.to_string());
        let failed = |source| FileError::Write { task, path: path.clone(), source };
        self.make(&place).map_err(failed)?;
        if secret {
            mounted(&place, self.mode).map_err(|error| FileError::NoMemory {
                path: place.clone(),
                why: error.desc().to_owned(),
            })?;
        }
        let mut fresh = self.fresh();
        fresh.insert(task);
        let new = place.join(format!(".new-{task}"));
        let written = write_all(&new, owner, files).and_then(|()| {
            gone(&path)?;
            std::fs::rename(&new, &path)
        });
        drop(fresh);
        match written {
            Ok(()) => Ok(path),
            Err(source) => {
                // Half a set is of no use, and is swept otherwise.
                let _ = gone(&new);
                Err(FileError::Write { task, path, source })
            }
        }
    }

    fn fresh(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, place: &Path) -> io::Result<()> {
        for path in [&self.folder, place] {
            match DirBuilder::new().mode(self.mode).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            // Whatever the umask is.
            std::fs::set_permissions(path, Permissions::from_mode(self.mode))?;
        }
        Ok(())
    }

    /// Removes the files of all tasks but those of `keep`, and those that came since the sweep before. Returns whether
    /// there were such: then another sweep is due.
    ///
    /// # Errors
    /// Something cannot be read or removed.
    pub fn sweep(&self, keep: &BTreeSet<TaskId>) -> io::Result<bool> {
        let mut fresh = self.fresh();
        let spared = std::mem::take(&mut *fresh);
        for place in [MEMORY, DISK] {
            let entries = match std::fs::read_dir(self.folder.join(place)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let kept = |task: TaskId| keep.contains(&task) || spared.contains(&task);
                if !name.parse().is_ok_and(kept) {
                    gone(&entry.path())?;
                }
            }
        }
        Ok(!spared.is_subset(keep))
    }

    /// Removes everything, and the memory.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn close(&self) -> io::Result<()> {
        self.fresh().clear();
        self.sweep(&BTreeSet::new())?;
        let memory = self.folder.join(MEMORY);
        if memory.is_dir() && is_mounted(&memory)? {
            umount2(&memory, MntFlags::MNT_DETACH)?;
        }
        gone(&self.folder)
    }
}

/// Whether there is memory of its own at `path`: also below a folder that is in memory already.
fn is_mounted(path: &Path) -> Result<bool, Errno> {
    let above = path.parent().ok_or(Errno::ENOENT)?;
    let is_memory = statfs(path)?.filesystem_type() == TMPFS_MAGIC;
    Ok(is_memory && stat(path)?.st_dev != stat(above)?.st_dev)
}

/// Makes sure that there is memory at `path`.
fn mounted(path: &Path, mode: u32) -> Result<(), Errno> {
    if is_mounted(path)? {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("size={MEMORY_BYTES_MAX},mode={mode:o}");
    // Kernels from 6.4 on can keep it from being swapped to a disk.
    let kept = format!("{options},noswap");
    let mounted = |options: &str| mount(Some("warren"), path, Some("tmpfs"), flags, Some(options));
    mounted(&kept).or_else(|_| mounted(&options))
}

fn write_all(folder: &Path, owner: Option<(u32, u32)>, files: &[TaskFile]) -> io::Result<()> {
    gone(folder)?;
    DirBuilder::new().mode(0o700).create(folder)?;
    let (uid, gid) = (owner.map(|(uid, _)| uid), owner.map(|(_, gid)| gid));
    for file in files {
        let path = folder.join(file.target.trim_start_matches('/'));
        if let Some(above) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(above)?;
        }
        let mut options = OpenOptions::new();
        let mut open = options.write(true).create_new(true).mode(0o600).open(&path)?;
        open.write_all(&file.content)?;
        let (uid, gid) = (file.uid.or(uid), file.gid.or(gid));
        if uid.is_some() || gid.is_some() {
            chown(&path, uid, gid)?;
        }
        // Nobody writes it: what is here is what the cluster has.
        let mode = u32::from(file.mode) & !0o222;
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    chown(folder, uid, gid)
}

fn gone(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(target: &str, content: &[u8], mode: u16) -> TaskFile {
        let (target, content) = (target.to_owned(), Zeroizing::new(content.to_vec()));
        TaskFile { target, content, mode, uid: None, gid: None }
    }

    #[test]
    fn a_task_has_its_files_under_their_paths_until_it_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::new(dir.path().join("files"), 0o711);
        store.sweep(&BTreeSet::new()).expect("nothing is there yet");
        assert!(!dir.path().join("files").exists(), "nothing is made before it is needed");
        let files = [file("/etc/app/a.toml", b"one", 0o640), file("/etc/b", b"two", 0o777)];
        let folder = store.write(TaskId(1), false, None, &files).unwrap();
        store.write(TaskId(2), false, None, &files).unwrap();
        let path = folder.join("etc/app/a.toml");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&folder.join("etc/b"))), (0o440, 0o555));
        assert_eq!((mode(&folder), mode(&dir.path().join("files/disk"))), (0o700, 0o711));
        store.write(TaskId(1), false, None, &[file("/etc/b", b"new", 0o444)]).unwrap();
        assert!(!path.exists(), "in place of what it had");
        let keep = BTreeSet::from([TaskId(1)]);
        assert!(store.sweep(&keep).unwrap(), "another one is due");
        assert!(store.find(TaskId(2)).is_some(), "a sweep may be older than the files");
        assert!(!store.sweep(&keep).unwrap());
        assert_eq!(store.find(TaskId(1)), Some(folder));
        assert_eq!(store.find(TaskId(2)), None);
        store.close().unwrap();
        assert!(!dir.path().join("files").exists());
    }
}
