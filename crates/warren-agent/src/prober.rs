//! Looks at running tasks as their checks say and tells when a verdict changes. What to look at is given anew each
//! round; each check of each run has a loop of its own that ends when it is not given any more.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use warren_core::converge::Check;
use warren_core::health::{Edge, HealthFold, Verdict};
use warren_core::id::TaskId;
use warren_core::spec::{HealthCheck, Probe};
use warren_core::time::Tick;
use warren_drivers::probe::{ProbeOutcome, Target, probe};
use warren_drivers::runtime::{ContainerRef, ContainerRuntime};

/// Looks under way at once: 253 tasks whose looks take their whole 2 s every 10 s need 51.
const LOOKS_MAX: usize = 64;
/// The verdict that a look changed, waiting to be heard: two for each task of a node.
pub(crate) const LOOKED_QUEUED: usize = 512;
/// Looks of tasks that were started together are spread over this part of their interval.
const SPREAD: u32 = 10;

/// Whom to look at.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Subject {
    pub(crate) check: HealthCheck,
    pub(crate) run: u64,
    pub(crate) address: Ipv4Addr,
    pub(crate) container: ContainerRef,
    /// When the run began, by the wall clock.
    pub(crate) since: SystemTime,
}

/// All that is to be looked at.
pub(crate) type Subjects = BTreeMap<(TaskId, Check), Subject>;

/// What a look saw, told when it changes the verdict, and when it failed before there was one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Looked {
    pub(crate) task: TaskId,
    pub(crate) check: Check,
    pub(crate) run: u64,
    /// The verdict; absent where there is none yet.
    pub(crate) passes: Option<bool>,
    /// What was wrong in the last look.
    pub(crate) detail: String,
}

/// The loops.
pub(crate) struct Prober {
    loops: JoinSet<()>,
    active: BTreeMap<(TaskId, Check), (Subject, AbortHandle)>,
    permits: Arc<Semaphore>,
    looked: mpsc::Sender<Looked>,
}

impl Prober {
    /// A prober that looks at nothing yet and tells `looked`.
    pub(crate) fn new(looked: mpsc::Sender<Looked>) -> Self {
        let permits = Arc::new(Semaphore::new(LOOKS_MAX));
        Self { loops: JoinSet::new(), active: BTreeMap::new(), permits, looked }
    }

    /// Looks no more by commands in containers, until they are given anew.
    pub(crate) fn pause_commands(&mut self) {
        self.active.retain(|_, (subject, handle)| {
            let command = matches!(subject.check.probe, Probe::Exec { .. });
            if command {
                handle.abort();
            }
            !command
        });
    }

    /// Looks at `subjects` from now on, and at nothing else.
    pub(crate) fn look_at(&mut self, subjects: Subjects, runtime: &Arc<dyn ContainerRuntime>) {
        while self.loops.try_join_next().is_some() {}
        self.active.retain(|key, (subject, handle)| {
            let stays = subjects.get(key).is_some_and(|wanted| wanted == subject);
            if !stays {
                handle.abort();
            }
            stays
        });
        for ((task, check), subject) in subjects {
            if self.active.contains_key(&(task, check)) {
                continue;
            }
            let watch = Watch {
                task,
                kind: check,
                subject: subject.clone(),
                runtime: Arc::clone(runtime),
                permits: Arc::clone(&self.permits),
                looked: self.looked.clone(),
            };
            let handle = self.loops.spawn(watch.run());
            self.active.insert((task, check), (subject, handle));
        }
    }
}

/// One check of one run.
struct Watch {
    task: TaskId,
    kind: Check,
    subject: Subject,
    runtime: Arc<dyn ContainerRuntime>,
    permits: Arc<Semaphore>,
    looked: mpsc::Sender<Looked>,
}

impl Watch {
    async fn run(self) {
        let check = &self.subject.check;
        let age = SystemTime::now().duration_since(self.subject.since).unwrap_or_default();
        let begin = Instant::now();
        // Ticks of this run: it began at its start.
        let tick = || Tick::from_ms(0).after(age).after(begin.elapsed());
        let started = Tick::from_ms(0);
        let spread = check.interval / SPREAD / 16 * u32::try_from(self.task.0 % 16).unwrap_or(0);
        let mut fold = HealthFold::default();
        let mut last_detail = String::new();
        loop {
            let Ok(permit) = self.permits.acquire().await else { return };
            let outcome = self.look().await;
            drop(permit);
            let now = tick();
            let edge = fold.observe(check, started, now, outcome.passed());
            let detail = match outcome {
                ProbeOutcome::Pass => String::new(),
                ProbeOutcome::Fail(reason) => reason,
            };
            let waits_longer = fold.verdict() == Verdict::Unknown && detail != last_detail;
            if edge.is_some() || waits_longer {
                let passes = edge.map(|edge| edge == Edge::Healthy);
                last_detail.clone_from(&detail);
                if !self.tell(passes, detail).await {
                    return;
                }
            }
            let wait = fold.next_at(check, started, now).since(now);
            let settled = fold.verdict() != Verdict::Unknown;
            tokio::time::sleep(if settled { wait + spread } else { wait }).await;
        }
    }

    fn look(&self) -> impl Future<Output = ProbeOutcome> {
        let check = &self.subject.check;
        let target = Target {
            address: self.subject.address,
            container: &self.subject.container,
            runtime: &*self.runtime,
        };
        probe(&check.probe, check.timeout.max(Duration::from_millis(1)), target)
    }

    async fn tell(&self, passes: Option<bool>, detail: String) -> bool {
        let Self { task, kind, .. } = *self;
        let looked = Looked { task, check: kind, run: self.subject.run, passes, detail };
        self.looked.send(looked).await.is_ok()
    }
}
