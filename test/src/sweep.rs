//! Removes what a test's node may have left: the processes and containers that outlive it by design.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::image;

/// A killed process is gone in milliseconds, unless the kernel is writing its memory out.
const GONE_TIME_MAX: Duration = Duration::from_secs(10);

/// Kills every process whose program lies below a folder or that was started with its path, and waits until they are
/// gone. The process runtime copies the programs of its tasks into the data directory and tells their supervisors
/// where it is, so these are the tasks of the node that had it.
pub fn processes_below(folder: &Path) {
    let start = Instant::now();
    loop {
        let found = running_below(folder);
        if found.is_empty() || start.elapsed() > GONE_TIME_MAX {
            return;
        }
        for pid in found {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
}

fn running_below(folder: &Path) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let program = std::fs::read_link(entry.path().join("exe"));
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words);
            program.is_ok_and(|program| program.starts_with(folder))
                || words.contains(&*folder.to_string_lossy())
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .collect()
}

/// Lets go of the memory in which a node kept the secrets of its tasks, or its folder could not be removed.
pub fn memory_of(data_dir: &Path) {
    let _ = umount2(&data_dir.join("agent/files/memory"), MntFlags::MNT_DETACH);
}

/// Removes the containers and networks labelled with a cluster's id, and its names for images. It is called while a
/// value is dropped, maybe inside a runtime, so it works on a thread and a runtime of its own.
pub fn containers_of(cluster: &str) {
    let cluster = cluster.to_owned();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            let _ = runtime.block_on(remove_all_of(&cluster));
        }
    });
    let _ = thread.join();
}

async fn remove_all_of(cluster: &str) -> anyhow::Result<()> {
    let Some(docker) = image::docker().await else { return Ok(()) };
    let label = &*format!("warren.cluster={cluster}");
    let filters = HashMap::from([("label", vec![label])]);
    let all = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(all)).await? {
        let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let id = container.id.unwrap_or_default();
        let _ = docker.remove_container(&id, Some(force)).await;
    }
    let all = ListNetworksOptionsBuilder::new().filters(&filters).build();
    for network in docker.list_networks(Some(all)).await? {
        let _ = docker.remove_network(&network.id.unwrap_or_default()).await;
    }
    // The name by which a node keeps an image that no tag holds any more.
    let pins = format!("warren-pin/{}-", &cluster[..8.min(cluster.len())]);
    image::untag(&docker, &pins).await
}
