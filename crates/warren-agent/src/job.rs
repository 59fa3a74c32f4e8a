//! Does the steps of one task, one after the other, each bounded in time.

use crate::courier::Courier;
use crate::metrics;
use crate::runtime::failure;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use warren_core::assignment::Assignment;
use warren_core::converge::{ContainerKey, Failure, FailureKind, Step};
use warren_core::id::TaskId;
use warren_core::spec::{PinnedImage, PullPolicy};
use warren_drivers::runtime::{
    ContainerRef, ContainerRuntime, ContainerSpec, Dns, Labels, PullProgress, RuntimeError,
};

use crate::cache::Membership;

/// How long an image may take: 10 GB at 10 MB/s, with a little to spare.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// How long the runtime may take for one call: an engine under load takes seconds, one that hangs takes for ever.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// What a stop may take beside the task's own time.
const STOP_SLACK: Duration = Duration::from_secs(15);

/// The steps of one task.
pub(crate) struct Job {
    pub(crate) task: TaskId,
    pub(crate) steps: Vec<Step>,
    /// Absent for a stray, which is only stopped and removed.
    pub(crate) assignment: Option<Assignment>,
    pub(crate) membership: Membership,
    pub(crate) network: String,
    /// Whether the container asks the node's resolver.
    pub(crate) resolver: bool,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) courier: Courier,
    pub(crate) news: mpsc::Sender<News>,
    /// Calls a fetch off, which is the only step that may take long and is harmless to leave.
    pub(crate) cancel: CancellationToken,
}

/// What a job says while it goes on.
#[derive(Debug)]
pub(crate) enum News {
    /// A step begins.
    Begun(TaskId, Step),
    /// How far it is, for people.
    Note(TaskId, String),
}

/// How a job ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) task: TaskId,
    /// The image that the task runs, where the job had to find out.
    pub(crate) image: Option<PinnedImage>,
    pub(crate) result: Result<(), (Step, Failure)>,
}

/// What the steps of one job leave to the next.
#[derive(Default)]
struct Carry {
    image: Option<PinnedImage>,
    created: Option<ContainerRef>,
}

impl Job {
    pub(crate) async fn run(self) -> Done {
        let mut carry = Carry::default();
        let mut result = Ok(());
        for step in &self.steps {
            if self.news.send(News::Begun(self.task, step.clone())).await.is_err() {
                break;
            }
            let began = Instant::now();
            let outcome = self.step(step, &mut carry).await;
            metrics::step(step, began.elapsed(), outcome.is_ok());
            if let Err(failure) = outcome {
                tracing::warn!(
                    task = %self.task,
                    step = step.name(),
                    error = %failure.message,
                    "step failed"
                );
                result = Err((step.clone(), failure));
                break;
            }
            tracing::debug!(task = %self.task, step = step.name(), "step done");
        }
        Done { task: self.task, image: carry.image, result }
    }

    async fn step(&self, step: &Step, carry: &mut Carry) -> Result<(), Failure> {
        let runtime = &self.runtime;
        match step {
            Step::Fetch => {
                let fetch = within("fetching the image", FETCH_TIMEOUT, self.fetch());
                let fetched = tokio::select! {
                    fetched = fetch => fetched,
                    () = self.cancel.cancelled() => {
                        return Err(Failure { kind: FailureKind::Moot, message: String::new() });
                    }
                };
                carry.image = Some(fetched?);
                self.bring_files().await
            }
            Step::Create => {
                carry.created = Some(self.create(carry.image.clone()).await?);
                Ok(())
            }
            Step::StartCreated => match &carry.created {
                Some(container) => call("starting the container", runtime.start(container)).await,
                None => Err(Failure { kind: FailureKind::Moot, message: String::new() }),
            },
            Step::Start(key) => {
                // Memory does not outlive the machine's last start.
                self.bring_files().await?;
                call("starting the container", runtime.start(&container(key))).await
            }
            Step::Stop(key, stop) => {
                let limit = stop.timeout + STOP_SLACK;
                let key = container(key);
                let work = runtime.stop(&key, stop.signal, stop.timeout);
                within("stopping the container", limit, work).await
            }
            Step::Kill(key) => call("killing the container", runtime.kill(&container(key))).await,
            Step::Remove(key) => {
                call("removing the container", runtime.remove(&container(key))).await
            }
        }
    }

    /// Brings the image onto the node and keeps it there.
    async fn fetch(&self) -> Result<PinnedImage, RuntimeError> {
        let Some(assignment) = &self.assignment else {
            return Err(RuntimeError::NotFound { what: format!("assignment of {}", self.task) });
        };
        let template = &assignment.template;
        let pinned = match &template.pinned {
            Some(pinned) => pinned.clone(),
            None => self.runtime.resolve(&template.image, template.pull, None).await?,
        };
        if template.pull != PullPolicy::Never {
            let (progress, news) = watch::channel(PullProgress::default());
            let pull = self.runtime.pull(&pinned, &template.image, None, &progress);
            tokio::select! {
                pulled = pull => pulled?,
                () = self.tell_progress(news) => {}
            }
        }
        self.runtime.pin(&pinned).await?;
        Ok(pinned)
    }

    /// Has the task's secrets and configs where it reads them.
    async fn bring_files(&self) -> Result<(), Failure> {
        let Some(assignment) = &self.assignment else { return Ok(()) };
        tokio::select! {
            brought = self.courier.bring(assignment) => brought,
            () = self.cancel.cancelled() => {
                Err(Failure { kind: FailureKind::Moot, message: String::new() })
            }
        }
    }

    /// Never ends by itself: the sender outlives it.
    async fn tell_progress(&self, mut news: watch::Receiver<PullProgress>) {
        while news.changed().await.is_ok() {
            let progress = *news.borrow_and_update();
            let note = News::Note(self.task, progress_text(progress));
            if self.news.send(note).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    }

    async fn create(&self, image: Option<PinnedImage>) -> Result<ContainerRef, Failure> {
        let (Some(assignment), Some(image)) = (&self.assignment, image) else {
            return Err(Failure { kind: FailureKind::Moot, message: String::new() });
        };
        let gateway = self.membership.gateway();
        let dns = Dns { servers: vec![gateway], search: vec![self.membership.zone.clone()] };
        let spec = ContainerSpec {
            labels: labels(assignment, &self.membership),
            template: assignment.template.clone(),
            image,
            network: self.network.clone(),
            address: assignment.address,
            dns: if self.resolver { dns } else { Dns::default() },
            files: self.courier.files(assignment),
        };
        call("creating the container", self.runtime.create(&spec)).await
    }
}

fn labels(assignment: &Assignment, membership: &Membership) -> Labels {
    Labels {
        cluster: membership.cluster.to_string(),
        epoch: u64::from(membership.epoch),
        service: assignment.name.clone(),
        service_id: assignment.service,
        task: assignment.task,
        slot: assignment.slot,
        node: membership.node,
        revision: assignment.template.hash(),
        version: assignment.revision,
        // Labels of a container never change, and a rollout may; what a revision is to its service now is the
        // cluster's to say.
        strategy: assignment.track.strategy,
        state: assignment.track.state,
    }
}

fn container(key: &ContainerKey) -> ContainerRef {
    ContainerRef(key.0.clone())
}

fn progress_text(progress: PullProgress) -> String {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    match progress.bytes {
        0 => format!("pulling, {} of {} layers", progress.layers_done, progress.layers),
        all => {
            let percent = progress.bytes_done.saturating_mul(100) / all;
            format!("pulling {percent} % of {} MiB", mib(all))
        }
    }
}

async fn call<T>(
    what: &'static str,
    work: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, Failure> {
    within(what, CALL_TIMEOUT, work).await
}

async fn within<T>(
    what: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, Failure> {
    let late = |_| RuntimeError::Timeout { what: what.to_owned(), after: limit };
    timeout(limit, work).await.map_err(late).and_then(|done| done).map_err(|e| failure(&e))
}
