//! What tasks are and use now.

use crate::runtime::process::files::{Root, blocking, not_found};
use crate::runtime::process::proc;
use crate::runtime::{
    BoxStream, Container, ContainerRef, ContainerState, Enforcement, EventKind, RuntimeError,
    RuntimeEvent, RuntimeInfo, RuntimeKind, Scope, Stats,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};
use warren_core::units::{Bytes, MilliCpu};

/// How often a listener asks whether anything changed: one `stat`.
const LISTEN: Duration = Duration::from_millis(100);

/// A change within this time of the last look may have come after it: file times are this coarse at worst.
const COARSE: Duration = Duration::from_millis(50);

pub(super) fn info() -> io::Result<RuntimeInfo> {
    let name = rustix::system::uname();
    let machine = name.machine().to_string_lossy().into_owned();
    let cpus = u32::try_from(std::thread::available_parallelism()?.get()).unwrap_or(u32::MAX);
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(RuntimeInfo {
        kind: RuntimeKind::Process,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpus: MilliCpu(cpus.saturating_mul(1000)),
        memory: Bytes(kib.unwrap_or_default().saturating_mul(1024)),
        platform: format!("linux/{}", crate::runtime::info::platform_arch(&machine)),
        hostname: name.nodename().to_string_lossy().into_owned(),
        kernel: name.release().to_string_lossy().into_owned(),
        enforces: Enforcement { memory: true, cpu: false, pids: false },
    })
}

pub(super) async fn list(root: &Root, scope: &Scope) -> Result<Vec<Container>, RuntimeError> {
    let (at, scope) = (root.clone(), scope.clone());
    blocking(root, move || list_now(&at, &scope)).await
}

fn list_now(root: &Root, scope: &Scope) -> io::Result<Vec<Container>> {
    let mut containers = Vec::new();
    for (id, folder) in root.all()? {
        match folder.container(&id) {
            Ok(container) => containers.extend(container.filter(|c| c.labels.is_in(scope))),
            // One damaged folder hides no other task.
            Err(error) => tracing::warn!(container = %id, %error, "task folder cannot be read"),
        }
    }
    containers.sort_by_key(|container| container.labels.task);
    Ok(containers)
}

pub(super) async fn inspect(root: &Root, id: &ContainerRef) -> Result<Container, RuntimeError> {
    let folder = root.task(id)?;
    let this = id.clone();
    blocking(root, move || folder.container(&this)).await?.ok_or_else(|| not_found(id))
}

pub(super) async fn stats(root: &Root, id: &ContainerRef) -> Result<Stats, RuntimeError> {
    let folder = root.task(id)?;
    let look = move || {
        let Some(record) = folder.record()? else { return Ok(None) };
        let family = folder.live()?.map(|run| run.task.family()).unwrap_or_default();
        let found: Vec<_> = family.iter().filter_map(|pid| proc::stat(*pid).ok()).collect();
        let stats = Stats {
            cpu: found.iter().map(|stat| stat.cpu).sum(),
            memory: Bytes(proc::memory(&family)),
            memory_limit: record.memory_limit.map(Bytes),
            pids: found.iter().map(|stat| stat.threads).sum(),
        };
        Ok(Some((!found.is_empty()).then_some(stats)))
    };
    let running = blocking(root, look).await?.ok_or_else(|| not_found(id))?;
    running.ok_or_else(|| RuntimeError::Conflict {
        what: format!("container {id}"),
        why: "it does not run, so it uses nothing".to_owned(),
    })
}

/// What a listener has seen.
struct Seen {
    root: Root,
    scope: Scope,
    /// When anything had changed last, and the states then; nothing before the first look.
    last: Option<(SystemTime, BTreeMap<ContainerRef, ContainerState>)>,
}

pub(super) fn events(root: &Root, scope: &Scope) -> BoxStream<RuntimeEvent> {
    let seen = Seen { root: root.clone(), scope: scope.clone(), last: None };
    stream::try_unfold(seen, |mut seen| async move {
        loop {
            let root = seen.root.clone();
            let look = blocking(&root, move || seen.look().map(|events| (events, seen)));
            let (events, looked) = look.await?;
            seen = looked;
            if !events.is_empty() {
                return Ok(Some((stream::iter(events.into_iter().map(Ok)), seen)));
            }
            tokio::time::sleep(LISTEN).await;
        }
    })
    .try_flatten()
    .boxed()
}

impl Seen {
    fn look(&mut self) -> io::Result<Vec<RuntimeEvent>> {
        let changed = std::fs::metadata(self.root.changed())?.modified()?;
        let settled = changed.elapsed().is_ok_and(|age| age > COARSE);
        if settled && self.last.as_ref().is_some_and(|(last, _)| *last == changed) {
            return Ok(Vec::new());
        }
        let now = list_now(&self.root, &self.scope)?;
        let events = match &self.last {
            None => Vec::new(),
            Some((_, before)) => {
                now.iter().flat_map(|c| differences(before.get(&c.id), c)).collect()
            }
        };
        self.last = Some((changed, now.into_iter().map(|c| (c.id, c.state)).collect()));
        Ok(events)
    }
}

fn differences(before: Option<&ContainerState>, now: &Container) -> Vec<RuntimeEvent> {
    if before == Some(&now.state) {
        return Vec::new();
    }
    let kinds: &[EventKind] = match (&now.state, before) {
        (ContainerState::Created, _) => &[],
        (ContainerState::Running { .. }, _) => &[EventKind::Started],
        (ContainerState::Exited(exit), Some(ContainerState::Running { .. })) if exit.oom => {
            &[EventKind::OutOfMemory, EventKind::Died]
        }
        (ContainerState::Exited(_), Some(ContainerState::Running { .. })) => &[EventKind::Died],
        // It ran and ended between two looks.
        (ContainerState::Exited(_), _) => &[EventKind::Started, EventKind::Died],
    };
    let event = |kind: &EventKind| RuntimeEvent {
        container: now.id.clone(),
        task: Some(now.labels.task),
        kind: *kind,
    };
    kinds.iter().map(event).collect()
}
