//! Making, starting, stopping and removing containers.

use crate::runtime::docker::client::{CHANGE, Client, READ, timeout};
use crate::runtime::docker::{DockerOptions, network};
use crate::runtime::{ContainerRef, ContainerSpec, Labels, RuntimeError};
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig,
    Mount, MountTmpfsOptions, MountType, NetworkingConfig, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use std::collections::HashMap;
use std::time::Duration;
use warren_core::spec::{self, MountKind, Resources, Signal};
use warren_core::units::Bytes;

/// How long a container may take to be gone after SIGKILL. Above: its processes hang in the kernel.
const KILL: Duration = Duration::from_secs(15);

/// In how many files the log of a container is kept.
const LOG_FILES: u64 = 3;

pub(super) async fn create(
    client: &Client,
    options: &DockerOptions,
    spec: &ContainerSpec,
) -> Result<ContainerRef, RuntimeError> {
    let name = spec.labels.container_name();
    let what = format!("container {name}");
    let network = network::id(client, &options.scope, &spec.network).await?;
    let query = CreateContainerOptionsBuilder::new().name(&name).build();
    let call = client.docker.create_container(Some(query), body(spec, options, network));
    match client.call(&what, CHANGE, call).await {
        Ok(created) => Ok(ContainerRef(created.id)),
        Err(RuntimeError::Conflict { .. }) => holder(client, spec, name).await,
        Err(RuntimeError::NotFound { .. }) => Err(RuntimeError::ImageMissing {
            image: spec.image.to_string(),
            why: "it is not on this machine: pull it first".to_owned(),
        }),
        Err(error) => Err(error),
    }
}

/// Who has the name that we want: the same task from an earlier attempt is welcome.
async fn holder(
    client: &Client,
    spec: &ContainerSpec,
    name: String,
) -> Result<ContainerRef, RuntimeError> {
    let what = format!("container {name}");
    let found = client.call(&what, READ, client.docker.inspect_container(&name, None)).await?;
    let id = found.id.unwrap_or_default();
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    match Labels::from_map(&labels) {
        Ok(labels) if labels.is_same_task(&spec.labels) => Ok(ContainerRef(id)),
        Ok(_) | Err(_) => Err(RuntimeError::Conflict {
            what,
            why: format!(
                "container {} has this name and is not Warren's: rename or remove it \
                 (docker rename {name} OTHER)",
                id.chars().take(12).collect::<String>()
            ),
        }),
    }
}

pub(super) async fn start(client: &Client, id: &ContainerRef) -> Result<(), RuntimeError> {
    let call = client.docker.start_container(&id.0, None::<StartContainerOptions>);
    client.call(&format!("container {id}"), CHANGE, call).await
}

pub(super) async fn stop(
    client: &Client,
    id: &ContainerRef,
    stop_signal: Signal,
    limit: Duration,
) -> Result<(), RuntimeError> {
    if !signal(client, id, stop_signal.number()).await? {
        return Ok(());
    }
    match wait(client, id, limit).await {
        Err(RuntimeError::Timeout { .. }) => kill(client, id).await,
        ended => ended,
    }
}

pub(super) async fn kill(client: &Client, id: &ContainerRef) -> Result<(), RuntimeError> {
    const SIGKILL: u8 = 9;
    if signal(client, id, SIGKILL).await? { wait(client, id, KILL).await } else { Ok(()) }
}

pub(super) async fn remove(client: &Client, id: &ContainerRef) -> Result<(), RuntimeError> {
    // `v` takes the anonymous volumes along; named ones stay.
    let query = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let call = client.docker.remove_container(&id.0, Some(query));
    match client.call(&format!("container {id}"), CHANGE, call).await {
        Err(RuntimeError::NotFound { .. }) => Ok(()),
        done => done,
    }
}

/// Sends a signal; `false` where the container does not run.
async fn signal(client: &Client, id: &ContainerRef, number: u8) -> Result<bool, RuntimeError> {
    let query = KillContainerOptionsBuilder::new().signal(&number.to_string()).build();
    let call = client.docker.kill_container(&id.0, Some(query));
    match client.call(&format!("container {id}"), CHANGE, call).await {
        Ok(()) => Ok(true),
        Err(RuntimeError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits until the container does not run.
async fn wait(client: &Client, id: &ContainerRef, limit: Duration) -> Result<(), RuntimeError> {
    let what = format!("the end of container {id}");
    let query = WaitContainerOptionsBuilder::new().condition("not-running").build();
    let mut ends = client.docker.wait_container(&id.0, Some(query));
    match tokio::time::timeout(limit, ends.next()).await {
        Err(_) => Err(timeout(&what, limit)),
        // A code that is not 0 is an error to bollard.
        Ok(Some(Ok(_) | Err(Error::DockerContainerWaitError { .. }))) => Ok(()),
        Ok(Some(Err(error))) => match client.meaning(&what, &error) {
            RuntimeError::NotFound { .. } => Ok(()),
            error => Err(error),
        },
        Ok(None) => Err(client.unavailable("the connection closed while waiting".to_owned())),
    }
}

fn body(spec: &ContainerSpec, options: &DockerOptions, network: String) -> ContainerCreateBody {
    let template = &spec.template;
    let labels = template.labels.iter().map(|(key, value)| (key.to_string(), value.clone()));
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(spec.address.to_string()),
            ..Default::default()
        }),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(spec.image.to_string()),
        entrypoint: some_unless_empty(&template.command),
        cmd: some_unless_empty(&template.args),
        env: Some(
            spec.environment().iter().map(|(name, value)| format!("{name}={value}")).collect(),
        ),
        user: template.user.clone(),
        working_dir: template.working_dir.clone(),
        labels: Some(labels.chain(spec.labels.to_map()).collect()),
        stop_signal: Some(template.stop.signal.number().to_string()),
        stop_timeout: i64::try_from(template.stop.timeout.as_secs()).ok(),
        exposed_ports: Some(template.ports.iter().map(port).collect()),
        host_config: Some(host_config(spec, options, network.clone())),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network, endpoint)])),
        }),
        ..Default::default()
    }
}

fn host_config(spec: &ContainerSpec, options: &DockerOptions, network: String) -> HostConfig {
    let Resources { memory_limit, cpu_limit, pids_limit, .. } = spec.template.resources;
    let memory = memory_limit.map(size);
    let bindings = spec.template.ports.iter().filter_map(|published| {
        let binding = PortBinding { host_ip: None, host_port: Some(published.host?.to_string()) };
        Some((port(published), Some(vec![binding])))
    });
    HostConfig {
        memory,
        // As much swap as memory means none: a task above its limit is killed, it does not get slow.
        memory_swap: memory,
        nano_cpus: cpu_limit.map(|cpu| i64::from(cpu.0) * 1_000_000),
        pids_limit: pids_limit.map(i64::from),
        mounts: Some(spec.template.mounts.iter().map(mount).chain(files(spec)).collect()),
        port_bindings: Some(bindings.collect()),
        network_mode: Some(network),
        dns: Some(spec.dns.servers.iter().map(ToString::to_string).collect()),
        dns_search: Some(spec.dns.search.clone()),
        // Reaps orphans and passes signals on, so that a shell as first process stops in time.
        init: Some(true),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), (options.log_bytes_max.0 / LOG_FILES).max(1).to_string()),
                ("max-file".to_owned(), LOG_FILES.to_string()),
            ])),
        }),
        ..Default::default()
    }
}

fn mount(mount: &spec::Mount) -> Mount {
    let (typ, source, tmpfs_options) = match &mount.kind {
        MountKind::Bind { source } => (MountType::BIND, Some(source.clone()), None),
        MountKind::Volume { name } => (MountType::VOLUME, Some(name.to_string()), None),
        MountKind::Tmpfs { size: limit } => {
            let options = MountTmpfsOptions { size_bytes: limit.map(size), ..Default::default() };
            (MountType::TMPFS, None, Some(options))
        }
    };
    Mount {
        target: Some(mount.target.clone()),
        source,
        typ: Some(typ),
        read_only: Some(mount.read_only),
        tmpfs_options,
        ..Default::default()
    }
}

/// Secrets and configs, each at its place. The engine makes the folders on the way there.
fn files(spec: &ContainerSpec) -> impl Iterator<Item = Mount> {
    spec.files.iter().flat_map(|files| {
        files.targets.iter().map(|target| Mount {
            target: Some(target.clone()),
            source: Some(files.source(target).display().to_string()),
            typ: Some(MountType::BIND),
            read_only: Some(true),
            ..Default::default()
        })
    })
}

fn port(port: &spec::Port) -> String {
    format!("{}/{}", port.container, port.protocol)
}

fn size(bytes: Bytes) -> i64 {
    i64::try_from(bytes.0).unwrap_or(i64::MAX)
}

fn some_unless_empty(words: &[String]) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.to_vec())
}
