//! A container runtime in memory, with faults on demand.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{broadcast, watch};
use warren_core::id::TaskId;
use warren_core::spec::{Image, PinnedImage, PullPolicy, Signal};
use warren_core::units::{Bytes as Size, MilliCpu};
use warren_drivers::runtime::*;

/// The runtime. Clones are one and the same; what it runs outlives every agent.
#[derive(Clone)]
pub(crate) struct Sim {
    world: Arc<Mutex<World>>,
    events: broadcast::Sender<RuntimeEvent>,
    /// Moves with every change, so that tests can wait.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) containers: BTreeMap<String, SimContainer>,
    /// The engine does not answer.
    pub(crate) down: bool,
    /// What `create` answers with.
    pub(crate) create_error: Option<RuntimeError>,
    /// A started container ends at once with this code.
    pub(crate) crash_at_start: Option<i32>,
    /// A pull takes until it is called off.
    pub(crate) pull_hangs: bool,
    /// Tasks whose `check` command fails.
    pub(crate) failing: BTreeSet<TaskId>,
    pub(crate) starts: BTreeMap<TaskId, u32>,
    pub(crate) networks: u32,
    pub(crate) pulls_called_off: u32,
    pub(crate) cleaned: Vec<Vec<PinnedImage>>,
    tick: u64,
}

#[derive(Clone)]
pub(crate) struct SimContainer {
    pub(crate) listed: Container,
    spec: ContainerSpec,
    pub(crate) lines: Vec<LogLine>,
}

struct CalledOff(Arc<Mutex<World>>);

impl Drop for CalledOff {
    fn drop(&mut self) {
        self.0.lock().unwrap().pulls_called_off += 1;
    }
}

impl Sim {
    pub(crate) fn new() -> Self {
        let (events, _) = broadcast::channel(64);
        let (changed, _) = watch::channel(0);
        Self { world: Arc::default(), events, changed }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn opener(&self) -> crate::OpenRuntime {
        let sim = self.clone();
        Box::new(move |_scope| {
            let runtime: Arc<dyn ContainerRuntime> = Arc::new(sim.clone());
            Box::pin(async { Ok(runtime) })
        })
    }

    /// Changes the world and lets everybody who waits look again.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let changed = change(&mut self.world());
        self.changed.send_modify(|n| *n += 1);
        changed
    }

    /// Waits until the world is as `condition` says.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&World) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !condition(&self.world()) {
                changed.changed().await.unwrap();
            }
        };
        super::within(what, wait).await;
    }

    /// What a task's container was made from.
    pub(crate) fn spec(&self, task: u64) -> ContainerSpec {
        let world = self.world();
        let found = world.containers.values().find(|c| c.listed.labels.task.0 == task);
        found.unwrap().spec.clone()
    }

    pub(crate) fn running(&self) -> BTreeSet<u64> {
        let world = self.world();
        let running = world.containers.values().filter(|c| is_running(&c.listed));
        running.map(|container| container.listed.labels.task.0).collect()
    }

    /// Ends a task from inside, with or without an event.
    pub(crate) fn crash(&self, task: u64, code: i32, event: bool) {
        let task = TaskId(task);
        let id = self.change(|world| {
            let at = world.now();
            let container =
                world.containers.values_mut().find(|c| c.listed.labels.task == task).unwrap();
            let exit = Exit { code: Some(code), signal: None, oom: false, at };
            container.listed.state = ContainerState::Exited(exit);
            container.listed.id.clone()
        });
        if event {
            let died = RuntimeEvent { container: id, task: Some(task), kind: EventKind::Died };
            let _ = self.events.send(died);
        }
    }

    pub(crate) fn write(&self, task: u64, text: &str) {
        self.change(|world| {
            let at = world.now();
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            let line = LogLine { at, stream: OutputStream::Stdout, bytes };
            let mut all = world.containers.values_mut();
            all.find(|c| c.listed.labels.task.0 == task).unwrap().lines.push(line);
        });
    }

    fn answers(&self) -> Result<(), RuntimeError> {
        if self.world().down {
            let why = "connection refused".to_owned();
            return Err(RuntimeError::Unavailable { runtime: "sim".to_owned(), why });
        }
        Ok(())
    }
}

pub(crate) fn is_running(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

fn missing(container: &ContainerRef) -> RuntimeError {
    RuntimeError::NotFound { what: format!("container {container}") }
}

impl World {
    /// A time that is never told twice.
    fn now(&mut self) -> SystemTime {
        self.tick += 1;
        SystemTime::now() + Duration::from_nanos(self.tick)
    }

    fn get(&mut self, id: &ContainerRef) -> Result<&mut SimContainer, RuntimeError> {
        self.containers.get_mut(&id.0).ok_or_else(|| missing(id))
    }

    fn end(&mut self, id: &ContainerRef, code: i32) -> Result<(), RuntimeError> {
        let at = self.now();
        let container = self.get(id)?;
        if is_running(&container.listed) {
            let exit = Exit { code: Some(code), signal: None, oom: false, at };
            container.listed.state = ContainerState::Exited(exit);
        }
        Ok(())
    }
}

#[async_trait]
impl ContainerRuntime for Sim {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        Ok(RuntimeInfo {
            kind: RuntimeKind::Process,
            version: "1".to_owned(),
            cpus: MilliCpu(1000),
            memory: Size::from_mib(1024),
            platform: "linux/amd64".to_owned(),
            hostname: "sim".to_owned(),
            kernel: "6".to_owned(),
            enforces: Enforcement { memory: false, cpu: false, pids: false },
        })
    }

    async fn prepare_network(&self, _spec: &NetworkSpec) -> Result<(), RuntimeError> {
        self.answers()?;
        self.change(|world| world.networks += 1);
        Ok(())
    }

    async fn resolve(
        &self,
        image: &Image,
        _pull: PullPolicy,
        _credentials: Option<&Credentials>,
    ) -> Result<PinnedImage, RuntimeError> {
        self.answers()?;
        if image.as_str() == "missing" {
            let why = "nobody has it: check the name".to_owned();
            return Err(RuntimeError::ImageMissing { image: image.to_string(), why });
        }
        Ok(PinnedImage(format!("sha256:{image}")))
    }

    async fn pull(
        &self,
        _image: &PinnedImage,
        _name: &Image,
        _credentials: Option<&Credentials>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<(), RuntimeError> {
        self.answers()?;
        if self.world().pull_hangs {
            let _guard = CalledOff(Arc::clone(&self.world));
            let bytes = 1024 * 1024;
            progress.send_replace(PullProgress {
                bytes_done: bytes / 2,
                bytes,
                ..Default::default()
            });
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerRef, RuntimeError> {
        self.answers()?;
        self.change(|world| {
            if let Some(error) = &world.create_error {
                return Err(error.clone());
            }
            let id = ContainerRef(spec.labels.container_name());
            let listed = Container {
                id: id.clone(),
                labels: spec.labels.clone(),
                address: Some(spec.address),
                state: ContainerState::Created,
            };
            let made = SimContainer { listed, spec: spec.clone(), lines: Vec::new() };
            world.containers.entry(id.0.clone()).or_insert(made);
            Ok(id)
        })
    }

    async fn start(&self, id: &ContainerRef) -> Result<(), RuntimeError> {
        self.answers()?;
        let task = self.change(|world| {
            let (since, crash) = (world.now(), world.crash_at_start);
            let container = world.get(id)?;
            if is_running(&container.listed) {
                return Ok(container.listed.labels.task);
            }
            container.listed.state = ContainerState::Running { since, pid: 1 };
            let task = container.listed.labels.task;
            *world.starts.entry(task).or_default() += 1;
            if let Some(code) = crash {
                world.end(id, code)?;
            }
            Ok(task)
        })?;
        let kind = EventKind::Started;
        let _ = self.events.send(RuntimeEvent { container: id.clone(), task: Some(task), kind });
        Ok(())
    }

    async fn stop(
        &self,
        id: &ContainerRef,
        _signal: Signal,
        _timeout: Duration,
    ) -> Result<(), RuntimeError> {
        self.answers()?;
        self.change(|world| world.end(id, 143))
    }

    async fn kill(&self, id: &ContainerRef) -> Result<(), RuntimeError> {
        self.answers()?;
        self.change(|world| world.end(id, 137))
    }

    async fn remove(&self, id: &ContainerRef) -> Result<(), RuntimeError> {
        self.answers()?;
        self.change(|world| world.containers.remove(&id.0));
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        self.answers()?;
        Ok(self.world().containers.values().map(|container| container.listed.clone()).collect())
    }

    async fn inspect(&self, id: &ContainerRef) -> Result<Container, RuntimeError> {
        Ok(self.world().get(id)?.listed.clone())
    }

    async fn logs(
        &self,
        id: &ContainerRef,
        options: LogOptions,
    ) -> Result<BoxStream<LogLine>, RuntimeError> {
        let all = self.world().get(id)?.lines.clone();
        let fits = |line: &LogLine| options.since.is_none_or(|since| line.at >= since);
        let fitting = all.iter().filter(|line| fits(line)).count();
        let tail = options.tail.map_or(fitting, |tail| fitting.min(tail as usize));
        let from = all.len() - tail;
        let (sim, id) = (self.clone(), id.clone());
        let changed = self.changed.subscribe();
        let lines = futures::stream::unfold((from, changed), move |(at, mut changed)| {
            let (sim, id) = (sim.clone(), id.clone());
            async move {
                loop {
                    let (line, running) = {
                        let mut world = sim.world();
                        let container = world.get(&id).ok()?;
                        (container.lines.get(at).cloned(), is_running(&container.listed))
                    };
                    match line {
                        Some(line) => return Some((Ok(line), (at + 1, changed))),
                        None if !options.follow || !running => return None,
                        None => changed.changed().await.ok()?,
                    }
                }
            }
        });
        Ok(Box::pin(lines))
    }

    async fn exec(&self, id: &ContainerRef, spec: ExecSpec) -> Result<ExecSession, RuntimeError> {
        self.answers()?;
        let task = self.world().get(id)?.listed.labels.task;
        let words: Vec<&str> = spec.command.iter().map(String::as_str).collect();
        let nothing: BoxStream<OutputChunk> = Box::pin(futures::stream::empty());
        let (stdin, output, code) = match words[..] {
            ["check"] => (None, nothing, i32::from(self.world().failing.contains(&task))),
            ["exit", code] => (None, nothing, code.parse().unwrap()),
            ["cat"] => {
                let (near, far) = tokio::io::duplex(4096);
                let stdin: Pin<Box<dyn AsyncWrite + Send>> = Box::pin(near);
                (Some(stdin), echo(far), 0)
            }
            _ => {
                let (what, why) = (spec.command.join(" "), "not found".to_owned());
                return Err(RuntimeError::Refused { what, why });
            }
        };
        Ok(ExecSession { stdin, output, control: Box::new(Control(code)) })
    }

    async fn stats(&self, id: &ContainerRef) -> Result<Stats, RuntimeError> {
        Err(missing(id))
    }

    async fn events(&self) -> Result<BoxStream<RuntimeEvent>, RuntimeError> {
        self.answers()?;
        let events = tokio_stream::wrappers::BroadcastStream::new(self.events.subscribe());
        Ok(Box::pin(events.filter_map(|event| async move { event.ok().map(Ok) })))
    }

    async fn pin(&self, _image: &PinnedImage) -> Result<(), RuntimeError> {
        self.answers()
    }

    async fn cleanup(&self, keep: &[PinnedImage]) -> Result<Vec<PinnedImage>, RuntimeError> {
        self.answers()?;
        self.change(|world| world.cleaned.push(keep.to_vec()));
        Ok(Vec::new())
    }
}

fn echo(far: impl AsyncRead + Send + Unpin + 'static) -> BoxStream<OutputChunk> {
    Box::pin(futures::stream::unfold(far, |mut far| async move {
        let mut buffer = vec![0; 1024];
        let read = far.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        let bytes = Bytes::copy_from_slice(&buffer[..read]);
        Some((Ok(OutputChunk { stream: OutputStream::Stdout, bytes }), far))
    }))
}

struct Control(i32);

#[async_trait]
impl ExecControl for Control {
    async fn resize(&self, _size: TtySize) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn wait(&self) -> Result<i32, RuntimeError> {
        Ok(self.0)
    }
}
