//! The directory of a node's durable state: who has it, what wrote it, and whether its disk has room.

use crate::error::{StartError, StorageFault};
use crate::options::StoreKind;
use crate::record;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use warren_core::id::NodeId;

/// New writes are refused when less is free. It leaves room for what Raft writes by itself: votes, the entries in
/// flight (at most a few MiB), a snapshot, and an engine's growth by a step.
pub(crate) const RESERVE_BYTES: u64 = 32 << 20;

/// A log is not opened when less is free: engines write at opening too, and sled, refused in the midst of that, leaves
/// files behind that it does not open again.
const OPEN_BYTES: u64 = 8 << 20;

/// A directory that this process has for itself.
#[derive(Debug)]
pub(crate) struct StoreDir {
    root: PathBuf,
    _lock: File,
}

impl StoreDir {
    /// Takes the directory `raft` in `data_dir`, making it where there is none.
    ///
    /// # Errors
    /// It is in use, not writable, too new, or was made for another node or engine.
    pub(crate) fn claim(
        data_dir: &Path,
        node: NodeId,
        kind: &StoreKind,
    ) -> Result<Self, StartError> {
        let root = data_dir.join("raft");
        let refuse = |path: &Path| {
            let path = path.to_owned();
            move |source| not_writable(path, source)
        };
        fs::create_dir_all(root.join("snapshots")).map_err(refuse(&root))?;
        let lock = lock(&root)?;
        let format = root.join("FORMAT");
        match fs::read_to_string(&format) {
            Ok(text) => check_format(&root, &format, &text, node, kind)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = format_text(node, kind);
                write_durably(&format, text.as_bytes()).map_err(refuse(&format))?;
            }
            Err(source) => return Err(not_writable(format, source)),
        }
        Ok(Self { root, _lock: lock })
    }

    /// Where the engine keeps the log.
    pub(crate) fn log(&self, kind: &StoreKind) -> PathBuf {
        match kind {
            StoreKind::Redb => self.root.join("log.redb"),
            StoreKind::Sled => self.root.join("log.sled"),
            StoreKind::Memory(_) => PathBuf::from("memory"),
        }
    }

    /// Makes an empty log with `make` and then gives it its name, so that a log of that name was once complete. What
    /// an interrupted first start has left is thrown away: nothing was acknowledged from it.
    ///
    /// # Errors
    /// What the system or the engine said.
    pub(crate) fn make_log(
        &self,
        kind: &StoreKind,
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let new = self.root.join("log.new");
        if new.is_dir() {
            fs::remove_dir_all(&new)?;
        } else if new.exists() {
            fs::remove_file(&new)?;
        }
        make(&new)?;
        fs::rename(&new, self.log(kind))?;
        sync_dir(&self.root)
    }

    /// Where the mark lies.
    pub(crate) fn mark(&self) -> PathBuf {
        self.root.join("mark")
    }

    /// Where snapshots lie.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }
}

/// Writes a file so that after a crash there is the old content or the new, and after return the new.
///
/// # Errors
/// What the system said.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the system said.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What an unprivileged process could still write where `path` lies.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let stat = nix::sys::statvfs::statvfs(existing).ok()?;
    Some(stat.blocks_available() * stat.fragment_size())
}

/// Refuses when the disk is so full that a new write might not fit.
pub(crate) fn check_space(path: &Path) -> Result<(), StorageFault> {
    check_free(path, RESERVE_BYTES)
}

/// Refuses when the disk is so full that a log might be damaged by opening it.
pub(crate) fn check_space_to_open(path: &Path) -> Result<(), StorageFault> {
    check_free(path, OPEN_BYTES)
}

fn check_free(path: &Path, need: u64) -> Result<(), StorageFault> {
    match free_bytes(path) {
        Some(free) if free < need => Err(StorageFault::DiskFull {
            path: path.to_owned(),
            free_mib: free >> 20,
            need_mib: need >> 20,
        }),
        Some(_) | None => Ok(()),
    }
}

fn lock(root: &Path) -> Result<File, StartError> {
    let path = root.join("LOCK");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(|source| not_writable(path.clone(), source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StartError::Locked { path: root.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(not_writable(path, source)),
    }
    // For people only: a lock without its holder's number is as good a lock, so a full disk does not matter here.
    let told = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    if let Err(error) = told {
        tracing::warn!(error = %error, path = %path.display(), "lock file not written");
    }
    Ok(file)
}

fn not_writable(path: PathBuf, source: io::Error) -> StartError {
    if source.kind() == io::ErrorKind::StorageFull {
        return StorageFault::from_io("write", &path, source).into();
    }
    StartError::NotWritable { path, source }
}

fn format_text(node: NodeId, kind: &StoreKind) -> String {
    format!("format {}\nstore {}\nnode {}\n", record::VERSION, kind.name(), node)
}

fn check_format(
    root: &Path,
    path: &Path,
    text: &str,
    node: NodeId,
    kind: &StoreKind,
) -> Result<(), StartError> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let missing = || StorageFault::damaged(path, format!("the line {name:?} is missing"));
        line.map(str::trim).ok_or_else(missing)
    };
    let format = field("format ")?;
    let unreadable = |what: &str| StorageFault::damaged(path, format!("{what} is not readable"));
    let found: u8 = format.parse().map_err(|_| unreadable("its format number"))?;
    if found > record::VERSION {
        let supported = record::VERSION;
        return Err(StorageFault::TooNew { path: root.to_owned(), found, supported }.into());
    }
    let store = field("store ")?;
    if store != kind.name() {
        let found = store.to_owned();
        return Err(StartError::OtherStore { path: root.to_owned(), found, asked: kind.name() });
    }
    let found: NodeId = field("node ")?.parse().map_err(|_| unreadable("its node id"))?;
    if found != node {
        return Err(StartError::OtherNode { path: root.to_owned(), found, asked: node });
    }
    Ok(())
}
