//! What belongs to one testbed, and how all of it is taken away.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::mount::{MntFlags, umount2};

use super::{namespace, processes, tool};

/// The id of the testbed that a person makes by hand.
pub const HAND: &str = "hand";

/// How every name here begins.
const PREFIX: &str = "warren-bed-";

/// A killed process is gone in milliseconds, an engine with many containers takes longer.
const GONE_TIME_MAX: Duration = Duration::from_secs(20);

/// The id and the folder of one testbed.
pub(super) struct Ground {
    id: String,
    standing: bool,
}

impl Ground {
    /// A new one, of this process.
    pub(super) fn claim() -> anyhow::Result<Self> {
        let mut bytes = [0_u8; 3];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::make(id, &processes::life_of(std::process::id()))
    }

    /// The one that belongs to no process.
    pub(super) fn claim_by_hand() -> anyhow::Result<Self> {
        ensure!(!folder(HAND).exists(), "it is there already: `make testbed-down` takes it away");
        Self::make(HAND.into(), HAND)
    }

    fn make(id: String, owner: &str) -> anyhow::Result<Self> {
        let folder = folder(&id);
        // Filled under a name that no sweep looks at: one without an owner would be swept by a test that starts now.
        let beside = std::env::temp_dir().join(format!("new-{PREFIX}{id}"));
        fs::create_dir_all(&beside)?;
        fs::write(beside.join("owner"), owner)?;
        fs::rename(&beside, &folder)?;
        Ok(Self { id, standing: false })
    }

    pub(super) fn name_of(&self, part: &str) -> String {
        name(&self.id, part)
    }

    pub(super) fn folder(&self) -> PathBuf {
        folder(&self.id)
    }

    pub(super) fn leave_standing(&mut self) {
        self.standing = true;
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !self.standing
            && let Err(error) = clear(&self.id)
        {
            crate::say(&format!("the testbed {} is not quite gone: {error:#}", self.id));
        }
    }
}

pub(super) fn name(id: &str, part: &str) -> String {
    format!("{PREFIX}{id}-{part}")
}

pub(super) fn folder(id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{PREFIX}{id}"))
}

/// Takes away every testbed whose test was killed.
///
/// # Errors
/// Where something cannot be removed.
pub fn sweep() -> anyhow::Result<()> {
    // One at a time: tests that start together would stumble over what another has just removed.
    let lock = fs::File::create(std::env::temp_dir().join(format!("{PREFIX}lock")))?;
    lock.lock()?;
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_prefix(PREFIX) else { continue };
        let Ok(owner) = fs::read_to_string(entry.path().join("owner")) else { continue };
        if owner != HAND && !processes::lives(&owner) {
            clear(id)?;
        }
    }
    Ok(())
}

/// Ends every process of a testbed and removes its mounts, namespaces, control groups and files.
///
/// # Errors
/// Where something of it stays.
pub(super) fn clear(id: &str) -> anyhow::Result<()> {
    let folder = folder(id);
    let namespaces = namespace::named(&name(id, ""));
    let sockets: Vec<PathBuf> =
        namespaces.iter().flat_map(|name| processes::shim_sockets(name)).collect();
    let start = Instant::now();
    while processes::kill_all(&folder, &namespaces) > 0 {
        if start.elapsed() > GONE_TIME_MAX {
            bail!("processes of {} do not end", folder.display());
        }
        std::thread::yield_now();
    }
    unmount_below(&folder);
    for name in &namespaces {
        tool::run("ip", &["netns", "del", name], "")?;
    }
    processes::remove_groups(&folder);
    for socket in sockets {
        // A shim that had time to end has removed its own.
        let _ = fs::remove_file(socket);
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Takes away what engines and tests have mounted, the last first.
fn unmount_below(folder: &Path) {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = table.lines().filter_map(|line| line.split(' ').nth(1));
    let below: Vec<&str> = mounted.filter(|path| Path::new(path).starts_with(folder)).collect();
    for path in below.iter().rev() {
        // One that is gone already is none the worse for it.
        let _ = umount2(*path, MntFlags::MNT_DETACH);
    }
}
