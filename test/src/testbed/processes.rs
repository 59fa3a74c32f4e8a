//! The processes of a testbed: by their namespace, their words, or the control group that its engines use.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::namespace;

/// The control groups of this machine, of both versions.
const GROUPS: &str = "/sys/fs/cgroup";

/// A thread stands still when the kernel next looks at it; one that writes to a slow disk, when that is done.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// A process and when it began, as no later process of the same number has it.
pub(super) fn life_of(pid: u32) -> String {
    let stat = stat(&PathBuf::from(format!("/proc/{pid}")));
    let began = stat.split_whitespace().nth(19).unwrap_or_default();
    format!("{pid} {began}")
}

/// Whether a process that [`life_of`] has described is still there.
pub(super) fn lives(life: &str) -> bool {
    let pid = life.split(' ').next().and_then(|pid| pid.parse().ok());
    pid.is_some_and(|pid| life_of(pid) == life && !has_ended(pid))
}

/// The control group below which the containers of a testbed's engines are.
pub(super) fn group(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    format!("/{}", name.to_string_lossy())
}

/// The sockets that helpers of an engine listen on, which they keep outside of the engine's folders.
pub(super) fn shim_sockets(namespace: &str) -> Vec<PathBuf> {
    const SOCKETS: &str = "/run/containerd/s/";
    let listed = namespace::open(namespace).and_then(|namespace| {
        let _inside = namespace.enter()?;
        Ok(fs::read_to_string("/proc/thread-self/net/unix")?)
    });
    let listed = listed.unwrap_or_default();
    let paths = listed.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter(|path| path.starts_with(SOCKETS)).map(PathBuf::from).collect()
}

/// Kills everything that belongs to the testbed in that folder and says how much there was.
pub(super) fn kill_all(folder: &Path, namespaces: &[String]) -> usize {
    let networks: BTreeSet<u64> = namespaces
        .iter()
        .filter_map(|name| Some(fs::metadata(namespace::path(name)).ok()?.ino()))
        .collect();
    let group = format!("{}/", group(folder));
    let words = format!("{}/", folder.display());
    let belongs = |process: &Path| {
        let network = fs::metadata(process.join("ns/net")).map(|file| file.ino());
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        network.is_ok_and(|network| networks.contains(&network))
            || String::from_utf8_lossy(&line).contains(&words)
            || groups.contains(&group)
    };
    let own = Pid::this();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = all.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok().map(Pid::from_raw)?;
        (pid != own && belongs(&entry.path()) && !is_dead(&entry.path())).then_some(pid)
    });
    let found: Vec<Pid> = numbered.collect();
    for pid in &found {
        let _ = kill(*pid, Signal::SIGKILL);
    }
    found.len()
}

/// Kills these and waits until none of them runs.
pub(super) fn kill_these(these: &[u32]) {
    for pid in these.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let start = Instant::now();
    while !these.iter().all(|pid| has_ended(*pid)) && start.elapsed() < STOP_TIME_MAX {
        std::thread::yield_now();
    }
}

/// Stops every thread of a process where it is, and returns once none runs any more; or lets it go on.
pub(crate) fn hang(pid: u32, hangs: bool) -> anyhow::Result<()> {
    let process = Pid::from_raw(i32::try_from(pid)?);
    if !hangs {
        return Ok(kill(process, Signal::SIGCONT)?);
    }
    kill(process, Signal::SIGSTOP)?;
    let start = Instant::now();
    let threads = PathBuf::from(format!("/proc/{pid}/task"));
    let runs = |thread: &Path| !stat(thread).starts_with(['T', 'Z', 'X']);
    while fs::read_dir(&threads)?.flatten().any(|thread| runs(&thread.path())) {
        ensure!(start.elapsed() < STOP_TIME_MAX, "process {pid} does not stand still");
        std::thread::yield_now();
    }
    Ok(())
}

/// The state of a process or thread and what comes after it; dead where nobody knows it any more.
fn stat(process: &Path) -> String {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_else(|_| ") X".into());
    // The name may hold anything, also spaces; it ends with the last parenthesis.
    stat.rsplit(')').next().unwrap_or_default().trim_start().to_owned()
}

/// The processes of the demo workload in a machine's network, also those of which nobody knows any more.
pub(crate) fn serving_in(machine: &namespace::Namespace) -> anyhow::Result<Vec<u32>> {
    let network = machine.inode()?;
    let serves = |process: &Path| {
        let its = fs::metadata(process.join("ns/net")).map(|file| file.ino());
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let name = line.split(|byte| *byte == 0).next().unwrap_or_default();
        its.is_ok_and(|its| its == network) && name.ends_with(b"/web") && !is_dead(process)
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    Ok(all
        .filter(|entry| serves(&entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// Whether a process is gone, or only its parent still remembers it.
pub(crate) fn has_ended(pid: u32) -> bool {
    is_dead(&PathBuf::from(format!("/proc/{pid}")))
}

fn is_dead(process: &Path) -> bool {
    stat(process).starts_with(['Z', 'X'])
}

/// Removes the control groups of the testbed in that folder, the innermost first.
pub(super) fn remove_groups(folder: &Path) {
    let name = group(folder);
    let name = name.trim_start_matches('/');
    let trees = fs::read_dir(GROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    for tree in trees.chain([PathBuf::from(GROUPS)]) {
        remove_group(&tree.join(name));
    }
}

fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    // Where it is not there, there is nothing to remove.
    let _ = fs::remove_dir(group);
}
