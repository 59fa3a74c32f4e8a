//! Making, starting, stopping and removing tasks.

use crate::runtime::process::files::{
    Root, RunRecord, TaskFolder, TaskRecord, UserIds, blocking, not_found, unavailable, write_json,
};
use crate::runtime::process::{ProcessOptions, store, supervise};
use crate::runtime::{ContainerRef, ContainerSpec, Labels, NetworkSpec, RuntimeError};
use nix::unistd::{Group, User};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use warren_core::spec::{Signal, Template};

/// How long a supervisor may take to start its task: reading a large program from a slow disk takes seconds.
const START: Duration = Duration::from_secs(30);

/// How long a task may take to be gone after SIGKILL. Above: it hangs in the kernel.
const KILL: Duration = Duration::from_secs(15);

/// How often a task is looked at until it has ended, at first and at most: a few reads of `/proc`.
const LOOK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// The longest answer of a supervisor.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Loopback addresses need no network to be made; others cannot be had.
pub(super) fn check_network(spec: &NetworkSpec) -> Result<(), RuntimeError> {
    if spec.subnet.addr().is_loopback() && spec.subnet.broadcast().is_loopback() {
        return Ok(());
    }
    Err(RuntimeError::Refused {
        what: format!("network {} ({})", spec.name, spec.subnet),
        why: "processes listen on loopback addresses: give this node a subnet of 127.64.0.0/10"
            .to_owned(),
    })
}

pub(super) async fn create(
    root: &Root,
    options: &ProcessOptions,
    spec: &ContainerSpec,
) -> Result<ContainerRef, RuntimeError> {
    let id = ContainerRef(spec.labels.container_name());
    check(&id, spec)?;
    let user = spec.template.user.as_deref().map(|user| user_ids(&id, user)).transpose()?;
    store::check(root, &spec.image).await?;
    let folder = root.task(&id)?;
    if let Some(user) = user {
        let mut paths = vec![folder.path.clone()];
        paths.extend(spec.files.as_ref().map(|files| files.folder.clone()));
        let look = move || first_closed(&paths, user);
        if let Some(closed) = blocking(root, look).await? {
            let (uid, closed) = (user.uid, closed.display());
            let why = format!(
                "user {uid} cannot pass through {closed} to its program and its files: let others pass \
                 (chmod o+x {closed})"
            );
            return Err(refuse(&id, &why));
        }
    }
    let record = record(root, options, spec, user, &folder)?;
    let labels = spec.labels.clone();
    let outcome = blocking(root, move || make(&folder, &record, &labels)).await?;
    match outcome {
        Made::Ours => Ok(id),
        Made::Foreign(path) => Err(RuntimeError::Conflict {
            what: format!("container {id}"),
            why: format!("{} is there and is not of this task: remove it", path.display()),
        }),
    }
}

fn refuse(id: &ContainerRef, why: &str) -> RuntimeError {
    RuntimeError::Refused { what: format!("container {id}"), why: why.to_owned() }
}

/// What a process cannot be given.
fn check(id: &ContainerRef, spec: &ContainerSpec) -> Result<(), RuntimeError> {
    let Template { mounts, ports, stop, .. } = &spec.template;
    if let Some(mount) = mounts.first() {
        let why = format!(
            "a process sees the node's own files, nothing can be mounted at {} for it: leave the \
             mount out and use paths of the node, or run it on a node with Docker",
            mount.target
        );
        return Err(refuse(id, &why));
    }
    if let Some(port) = ports.iter().find(|port| port.host.is_some()) {
        let why = format!(
            "a process has its own address and no host port leads to its port {}: reach it by its \
             name in DNS, or run it on a node with Docker",
            port.container
        );
        return Err(refuse(id, &why));
    }
    if !spec.address.is_loopback() {
        return Err(refuse(
            id,
            "its address is not a loopback address, and processes have no other",
        ));
    }
    signal(id, stop.signal).map(drop)
}

fn signal(id: &ContainerRef, signal: Signal) -> Result<rustix::process::Signal, RuntimeError> {
    let named = rustix::process::Signal::from_named_raw(i32::from(signal.number()));
    named.ok_or_else(|| {
        let why = format!("a process cannot be sent the real-time signal {signal}: choose another");
        refuse(id, &why)
    })
}

/// Reads `name`, `uid`, `name:group` or `uid:gid`.
pub(super) fn user_ids(id: &ContainerRef, text: &str) -> Result<UserIds, RuntimeError> {
    let unknown = || refuse(id, &format!("this node has no user {text:?}"));
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let found = match user.parse::<u32>() {
        Ok(uid) => User::from_uid(uid.into()).ok().flatten(),
        Err(_) => Some(User::from_name(user).ok().flatten().ok_or_else(unknown)?),
    };
    let uid = found.as_ref().map(|user| user.uid.as_raw()).or_else(|| user.parse().ok());
    let gid = match group {
        None => Some(found.map_or(0, |user| user.gid.as_raw())),
        Some(group) => group
            .parse()
            .ok()
            .or_else(|| Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw())),
    };
    let (Some(uid), Some(gid)) = (uid, gid) else { return Err(unknown()) };
    if uid != rustix::process::geteuid().as_raw() && !rustix::process::geteuid().is_root() {
        return Err(refuse(id, "only root can run a task as another user: start Warren as root"));
    }
    Ok(UserIds { uid, gid })
}

/// The first folder on the way to one of `paths` that the user cannot pass through.
fn first_closed(paths: &[PathBuf], user: UserIds) -> io::Result<Option<PathBuf>> {
    for path in paths {
        if let Some(closed) = closed_to(path, user)? {
            return Ok(Some(closed));
        }
    }
    Ok(None)
}

/// The first folder on the way to `path` that the user cannot pass through.
fn closed_to(path: &Path, user: UserIds) -> io::Result<Option<PathBuf>> {
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        let found = std::fs::metadata(folder)?;
        let pass = match user {
            UserIds { uid: 0, .. } => true,
            UserIds { uid, .. } if uid == found.uid() => found.mode() & 0o100 != 0,
            UserIds { gid, .. } if gid == found.gid() => found.mode() & 0o010 != 0,
            UserIds { .. } => found.mode() & 0o001 != 0,
        };
        if !pass {
            return Ok(Some(folder.to_owned()));
        }
    }
    Ok(None)
}

fn record(
    root: &Root,
    options: &ProcessOptions,
    spec: &ContainerSpec,
    user: Option<UserIds>,
    folder: &TaskFolder,
) -> Result<TaskRecord, RuntimeError> {
    let template = &spec.template;
    let mut words = template.command.iter().chain(&template.args).cloned();
    let name = if template.command.is_empty() { None } else { words.next() };
    Ok(TaskRecord {
        labels: spec.labels.to_map(),
        address: spec.address,
        program: store::path(root, &spec.image)?,
        name: name.unwrap_or_else(|| template.image.to_string()),
        args: words.collect(),
        env: environment(spec),
        user,
        working_dir: template
            .working_dir
            .as_ref()
            .map_or_else(|| folder.file("work"), PathBuf::from),
        memory_limit: template.resources.memory_limit.map(|limit| limit.0),
        log_bytes_max: options.log_bytes_max.0,
    })
}

/// A process shares the machine's files: where its own are, a variable tells.
fn environment(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let mut environment = spec.environment();
    if let Some(files) = &spec.files {
        let folder = files.folder.display().to_string();
        environment.insert("WARREN_FILES".to_owned(), folder);
    }
    environment
}

/// Who a task of the user `text` runs as; nobody where this machine has no such user.
#[must_use]
pub fn owner(text: &str) -> Option<(u32, u32)> {
    let nobody = ContainerRef(String::new());
    user_ids(&nobody, text).ok().map(|UserIds { uid, gid }| (uid, gid))
}

enum Made {
    Ours,
    Foreign(PathBuf),
}

/// Makes the folder beside its place and puts it there in one step.
fn make(folder: &TaskFolder, record: &TaskRecord, labels: &Labels) -> io::Result<Made> {
    let new = beside(&folder.path, "new");
    remove_folder(&new)?;
    std::fs::create_dir_all(new.join("work"))?;
    if let Some(UserIds { uid, gid }) = record.user {
        std::os::unix::fs::chown(new.join("work"), Some(uid), Some(gid))?;
    }
    write_json(&new.join("task.json"), record)?;
    match std::fs::rename(&new, &folder.path) {
        Ok(()) => return Ok(Made::Ours),
        Err(error) if is_occupied(&error) => {}
        Err(error) => return Err(error),
    }
    remove_folder(&new)?;
    let found = folder.record().ok().flatten();
    let found = found.and_then(|found| Labels::from_map(&found.labels.into_iter().collect()).ok());
    let is_ours = found.is_some_and(|found| found.is_same_task(labels));
    Ok(if is_ours { Made::Ours } else { Made::Foreign(folder.path.clone()) })
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::NotADirectory
    )
}

/// A hidden name in the same folder.
fn beside(path: &Path, kind: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{kind}-{name}"))
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

pub(super) async fn start(
    root: &Root,
    options: &ProcessOptions,
    id: &ContainerRef,
) -> Result<(), RuntimeError> {
    let folder = root.task(id)?;
    let (at, this) = (root.clone(), folder.clone());
    let Some(ready) = blocking(root, move || ready(&at, &this)).await? else {
        return Err(not_found(id));
    };
    match ready {
        Ready::Runs => Ok(()),
        Ready::Taken { by, address } => Err(RuntimeError::Conflict {
            what: format!("container {id}"),
            why: format!("its address {address} is in use by container {by}"),
        }),
        Ready::Free => match supervisor(root, options, &folder).await?.as_str() {
            supervise::STARTED | supervise::BUSY => Ok(()),
            "" => Err(unavailable(root, &io::Error::other("the supervisor said nothing"))),
            why => Err(refuse(id, why)),
        },
    }
}

enum Ready {
    Free,
    Runs,
    Taken { by: ContainerRef, address: Ipv4Addr },
}

fn ready(root: &Root, folder: &TaskFolder) -> io::Result<Option<Ready>> {
    let Some(record) = folder.record()? else { return Ok(None) };
    if folder.live()?.is_some() {
        return Ok(Some(Ready::Runs));
    }
    for (by, other) in root.all()? {
        let same = other.record()?.is_some_and(|other| other.address == record.address);
        if same && other.path != folder.path && other.live()?.is_some() {
            return Ok(Some(Ready::Taken { by, address: record.address }));
        }
    }
    Ok(Some(Ready::Free))
}

/// Starts a supervisor and returns its first line. It is left to itself then; where it ends before this process, the
/// runtime's orphan queue reaps it.
async fn supervisor(
    root: &Root,
    options: &ProcessOptions,
    folder: &TaskFolder,
) -> Result<String, RuntimeError> {
    let failed = |error: io::Error| unavailable(root, &error);
    let errors = folder.file("supervisor.log");
    let errors =
        blocking(root, move || std::fs::OpenOptions::new().append(true).create(true).open(errors))
            .await?;
    let mut child = command(options)
        .map_err(failed)?
        .args([supervise::RUN.as_ref(), folder.path.as_os_str()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(failed)?;
    let said = child.stdout.take().ok_or_else(|| failed(io::Error::other("no output")))?;
    let mut line = String::new();
    let mut said = BufReader::new(said.take(ANSWER_BYTES_MAX));
    match tokio::time::timeout(START, said.read_line(&mut line)).await {
        Ok(read) => read.map(|_| line.trim().to_owned()).map_err(failed),
        Err(_) => Err(RuntimeError::Timeout { what: "starting the task".to_owned(), after: START }),
    }
}

/// The supervisor's command, without its last arguments.
pub(super) fn command(options: &ProcessOptions) -> io::Result<Command> {
    let mut words = options.supervisor.iter();
    let program = words.next().ok_or_else(|| io::Error::other("no supervisor command is set"))?;
    let mut command = Command::new(program);
    command.args(words);
    Ok(command)
}

/// The run of a container that is there; `None` where it does not run.
async fn live(root: &Root, id: &ContainerRef) -> Result<Option<RunRecord>, RuntimeError> {
    let folder = root.task(id)?;
    let look = move || folder.record()?.is_some().then(|| folder.live()).transpose();
    blocking(root, look).await?.ok_or_else(|| not_found(id))
}

pub(super) async fn stop(
    root: &Root,
    id: &ContainerRef,
    stop_signal: Signal,
    limit: Duration,
) -> Result<(), RuntimeError> {
    let Some(run) = live(root, id).await? else { return Ok(()) };
    let signal = signal(id, stop_signal)?;
    blocking(root, move || run.task.signal(signal)).await?;
    match tokio::time::timeout(limit, ended(root, id)).await {
        Ok(ended) => ended,
        Err(_) => kill(root, id).await,
    }
}

pub(super) async fn kill(root: &Root, id: &ContainerRef) -> Result<(), RuntimeError> {
    let Some(run) = live(root, id).await? else { return Ok(()) };
    blocking(root, move || run.task.kill_all()).await?;
    let what = || format!("the end of container {id}");
    tokio::time::timeout(KILL, ended(root, id))
        .await
        .map_err(|_| RuntimeError::Timeout { what: what(), after: KILL })?
}

/// Waits until the task has ended and its end is written down, or nobody is left to do so.
async fn ended(root: &Root, id: &ContainerRef) -> Result<(), RuntimeError> {
    let (mut pause, longest) = LOOK;
    while live(root, id).await?.is_some() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
    Ok(())
}

pub(super) async fn remove(root: &Root, id: &ContainerRef) -> Result<(), RuntimeError> {
    match kill(root, id).await {
        Ok(()) => {}
        Err(RuntimeError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    }
    let folder = root.task(id)?;
    blocking(root, move || {
        // Out of the way in one step: a half-removed task is never seen.
        let gone = beside(&folder.path, "gone");
        remove_folder(&gone)?;
        std::fs::rename(&folder.path, &gone)?;
        remove_folder(&gone)
    })
    .await
}
