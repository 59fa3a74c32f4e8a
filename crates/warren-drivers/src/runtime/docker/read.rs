//! What the engine says of containers.

use crate::runtime::docker::client::{Client, READ, ours};
use crate::runtime::{
    Container, ContainerRef, ContainerState, Exit, Labels, RuntimeError, Scope, Stats,
};
use bollard::models::{
    self, ContainerInspectResponse, ContainerMemoryStats, ContainerStateStatusEnum, NetworkSettings,
};
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use futures::{StreamExt, TryStreamExt, stream};
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};
use warren_core::spec::Signal;
use warren_core::units::Bytes;

/// Inspections at once: enough to hide the latency of each, few enough not to crowd out the engine's other work.
const INSPECTIONS: usize = 8;

pub(super) async fn list(client: &Client, scope: &Scope) -> Result<Vec<Container>, RuntimeError> {
    let query = ListContainersOptionsBuilder::new().all(true).filters(&ours(scope)).build();
    let listing = client.docker.list_containers(Some(query));
    let found = client.call("listing containers", READ, listing).await?;
    let ids = found.into_iter().filter_map(|summary| summary.id.map(ContainerRef));
    let mut containers: Vec<Container> = stream::iter(ids)
        .map(|id| async move { inspect_ours(client, &id).await })
        .buffer_unordered(INSPECTIONS)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await?;
    containers.sort_by_key(|container| container.labels.task);
    Ok(containers)
}

/// A listed container; `None` where it is gone by now, or only looks like ours.
async fn inspect_ours(
    client: &Client,
    id: &ContainerRef,
) -> Result<Option<Container>, RuntimeError> {
    match inspect(client, id).await {
        Ok(container) => Ok(Some(container)),
        Err(RuntimeError::NotFound { .. }) => Ok(None),
        Err(RuntimeError::Refused { what, why }) => {
            tracing::warn!(what, why, "container left alone: its labels are not ours");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn inspect(client: &Client, id: &ContainerRef) -> Result<Container, RuntimeError> {
    let what = format!("container {id}");
    let found = client.call(&what, READ, client.docker.inspect_container(&id.0, None)).await?;
    read(found).map_err(|why| RuntimeError::Refused { what, why })
}

fn read(found: ContainerInspectResponse) -> Result<Container, String> {
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    Ok(Container {
        id: ContainerRef(found.id.unwrap_or_default()),
        labels: Labels::from_map(&labels).map_err(|error| error.to_string())?,
        address: found.network_settings.and_then(address),
        state: state(found.state.unwrap_or_default()),
    })
}

/// The address that the container was made with: the engine forgets the one in use when it ends.
fn address(settings: NetworkSettings) -> Option<Ipv4Addr> {
    let endpoint = settings.networks?.into_values().next()?;
    let fixed = endpoint.ipam_config.and_then(|config| config.ipv4_address);
    fixed.or(endpoint.ip_address)?.parse().ok()
}

fn state(state: models::ContainerState) -> ContainerState {
    use ContainerStateStatusEnum as Status;
    match state.status.unwrap_or(Status::EMPTY) {
        Status::EMPTY | Status::CREATED => ContainerState::Created,
        Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING => {
            ContainerState::Running {
                since: time(state.started_at.as_deref()),
                pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
            }
        }
        Status::EXITED | Status::DEAD | Status::REMOVING => {
            let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
            ContainerState::Exited(Exit {
                code,
                signal: code.and_then(signal),
                oom: state.oom_killed.unwrap_or_default(),
                at: time(state.finished_at.as_deref()),
            })
        }
    }
}

/// The signal of a code above 128, by the shell's convention.
fn signal(code: i32) -> Option<Signal> {
    code.checked_sub(128)?.to_string().parse().ok()
}

/// A time as the engine writes it. One that cannot be read counts as long ago.
pub(super) fn time(text: Option<&str>) -> SystemTime {
    text.and_then(|text| humantime::parse_rfc3339(text).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(super) async fn stats(client: &Client, id: &ContainerRef) -> Result<Stats, RuntimeError> {
    let what = format!("container {id}");
    // A sample tells the machine's memory where there is no limit.
    let found = client.call(&what, READ, client.docker.inspect_container(&id.0, None)).await?;
    let limit = found.host_config.and_then(|config| config.memory);
    // The first sample of a stream comes at once; a single sample is held back a second by the engine.
    let query = StatsOptionsBuilder::new().stream(true).build();
    let mut samples = client.docker.stats(&id.0, Some(query));
    let first = client.call(&what, READ, async { samples.try_next().await }).await?;
    let sample = first.ok_or_else(|| client.unavailable("no statistics came".to_owned()))?;
    let memory = sample.memory_stats.unwrap_or_default();
    let cpu = sample.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage);
    // A container that does not run gets an empty sample.
    let (Some(cpu), Some(_)) = (cpu, memory.usage) else {
        let why = "it does not run, so it uses nothing".to_owned();
        return Err(RuntimeError::Conflict { what, why });
    };
    let pids = sample.pids_stats.and_then(|pids| pids.current).unwrap_or_default();
    Ok(Stats {
        cpu: Duration::from_nanos(cpu),
        memory: Bytes(used(&memory)),
        memory_limit: limit.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Bytes),
        pids: u32::try_from(pids).unwrap_or(u32::MAX),
    })
}

/// Memory without the cache that the kernel can drop, named differently by cgroup versions 1 and 2.
fn used(memory: &ContainerMemoryStats) -> u64 {
    let named = |name| memory.stats.as_ref().and_then(|stats| stats.get(name)).copied();
    let cache = named("total_inactive_file").or_else(|| named("inactive_file")).unwrap_or_default();
    memory.usage.unwrap_or_default().saturating_sub(cache)
}
