//! What every runtime must do, as checks that each implementation runs in its tests.
//!
//! A runtime's tests make a [`Fixture`] and name it to [`runtime_contract!`](crate::runtime_contract), which makes one
//! test for each check. The checks run a small program (`tests/apps/probe.rs`) with the arguments that each needs.

#![expect(
    clippy::missing_errors_doc,
    reason = "every check fails in the same way: the runtime broke it"
)]

mod files;
mod images;
mod io;
mod life;
mod limits;

pub use files::*;
pub use images::*;
use io::all;
pub use io::*;
pub use life::*;
pub use limits::*;

use crate::runtime::{
    Container, ContainerRef, ContainerRuntime, ContainerSpec, ContainerState, Dns, Exit, Labels,
    NetworkSpec, PullProgress, RuntimeError, Scope,
};
use async_trait::async_trait;
use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use warren_core::id::{RevisionNumber, ServiceId, Slot, TaskId};
use warren_core::spec::{Hash, Image, PinnedImage, PullPolicy, ServiceName, Strategy, Template};

/// How long anything may take that must happen: generous, as a busy machine is no failure.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What a runtime brings along for its checks.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens the runtime, as Warren does after a restart.
    ///
    /// # Errors
    /// As the runtime's own way to open it.
    async fn open(&self, scope: Scope) -> Result<Arc<dyn ContainerRuntime>, RuntimeError>;

    /// Whose containers the check makes; nobody else may have the same.
    fn scope(&self) -> Scope;

    /// The image of the probe program, present on this machine.
    fn image(&self) -> Image;

    /// The probe program's path for commands inside a container.
    fn program(&self) -> String;

    /// The network to use; free on this machine.
    fn network(&self) -> NetworkSpec;

    /// A name that no image has, of the runtime's own form.
    fn absent_image(&self) -> Image;

    /// The bytes that no image has, of the runtime's own form.
    fn absent_bytes(&self) -> PinnedImage {
        PinnedImage(format!("sha256:{}", "0".repeat(64)))
    }

    /// Makes a template out of one of the probe program that can be created but not started.
    ///
    /// # Errors
    /// Where it cannot be made.
    async fn unrunnable(&self, template: Template) -> Result<Template, Broken>;

    /// Makes something that is not Warren's and has the name of a container.
    ///
    /// # Errors
    /// Where it cannot be made.
    async fn squat(&self, name: &str) -> Result<(), Broken>;
}

/// A check that failed.
pub struct Broken(String);

impl Broken {
    /// A check that failed for this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(format!("{error} ({error:?})"))
    }
}

/// How a check ends.
pub type Checked = Result<(), Broken>;

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err($crate::runtime::contract::Broken::new(format!($($why)+)));
        }
    };
}
pub(crate) use ensure;

/// Makes one `#[tokio::test]` for each check. `$run` is an async function that takes the check's name and the check, a
/// function of a `&dyn Fixture`.
#[macro_export]
macro_rules! runtime_contract {
    ($run:path) => {
        $crate::runtime_contract! {
            $run:
            the_machine_is_told,
            an_image_is_resolved_to_its_bytes,
            an_image_that_nobody_has_is_named,
            an_image_in_use_or_kept_stays,
            a_task_goes_from_created_to_gone,
            a_task_is_created_once,
            an_exit_code_is_kept_and_a_task_starts_again,
            a_task_that_ignores_its_signal_is_killed,
            a_command_that_cannot_run_is_refused,
            a_foreign_container_is_a_conflict,
            an_address_in_use_is_a_conflict,
            tasks_are_adopted_after_a_restart,
            another_node_sees_nothing,
            many_tasks_start_at_once,
            leaving_takes_everything_along,
            a_task_gets_its_environment_and_arguments,
            a_task_runs_as_its_user_in_its_folder,
            a_task_answers_on_its_address,
            a_task_reads_its_files_and_nobody_writes_them,
            logs_tell_lines_streams_and_times,
            logs_follow_until_the_end,
            logs_cut_long_lines_and_keep_bytes,
            a_command_talks_and_exits,
            a_command_reads_its_input,
            a_command_on_a_terminal,
            a_command_needs_a_running_task,
            a_task_above_its_memory_is_killed,
            use_is_measured,
            changes_are_announced,
        }
    };
    ($run:path: $($check:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                $run(stringify!($check), |fixture| {
                    Box::pin($crate::runtime::contract::$check(fixture))
                })
                .await;
            }
        )+
    };
}

/// A fixture with its runtime open, its network made and its image resolved. Also for a runtime's tests of its own.
pub struct Bench<'a> {
    /// Whose bench.
    pub fixture: &'a dyn Fixture,
    /// The runtime.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The probe program's image.
    pub image: PinnedImage,
}

impl fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("image", &self.image).finish_non_exhaustive()
    }
}

impl<'a> Bench<'a> {
    /// Opens the runtime and makes what every check needs.
    pub async fn new(fixture: &'a dyn Fixture) -> Result<Self, Broken> {
        let runtime = fixture.open(fixture.scope()).await?;
        runtime.prepare_network(&fixture.network()).await?;
        let image = runtime.resolve(&fixture.image(), PullPolicy::Missing, None).await?;
        let (progress, _) = watch::channel(PullProgress::default());
        runtime.pull(&image, &fixture.image(), None, &progress).await?;
        Ok(Self { fixture, runtime, image })
    }

    /// A task of the probe program with these arguments. Its number also gives it its address.
    #[must_use]
    pub fn spec(&self, task: u8, args: &[&str]) -> ContainerSpec {
        let mut template = Template::new(self.fixture.image());
        template.args = args.iter().map(|word| (*word).to_owned()).collect();
        self.spec_of(task, template)
    }

    /// A task of this template.
    #[must_use]
    pub fn spec_of(&self, task: u8, template: Template) -> ContainerSpec {
        let network = self.fixture.network();
        let base = u32::from(network.subnet.network());
        let scope = self.fixture.scope();
        ContainerSpec {
            labels: Labels {
                cluster: scope.cluster,
                epoch: 1,
                service: service(),
                service_id: ServiceId(7),
                task: TaskId(u64::from(task)),
                slot: Slot(u32::from(task)),
                node: scope.node,
                revision: Hash([task; 32]),
                version: RevisionNumber(3),
                strategy: Strategy::Canary,
                state: warren_core::task::DeploymentState::Canary,
            },
            template,
            image: self.image.clone(),
            network: network.name,
            address: Ipv4Addr::from(base + 10 + u32::from(task)),
            dns: Dns::default(),
            files: None,
        }
    }

    /// Creates and starts a task.
    pub async fn run(&self, spec: &ContainerSpec) -> Result<ContainerRef, Broken> {
        let id = self.runtime.create(spec).await?;
        self.runtime.start(&id).await?;
        Ok(id)
    }

    /// Waits for the end of a task.
    pub async fn end(&self, id: &ContainerRef) -> Result<Exit, Broken> {
        eventually(&format!("the end of {id}"), || async {
            Ok(match self.runtime.inspect(id).await?.state {
                ContainerState::Exited(exit) => Some(exit),
                ContainerState::Created | ContainerState::Running { .. } => None,
            })
        })
        .await
    }

    /// Runs a task to its end and returns what it wrote.
    pub async fn output(
        &self,
        spec: &ContainerSpec,
    ) -> Result<(ContainerRef, Exit, String), Broken> {
        let id = self.run(spec).await?;
        let exit = self.end(&id).await?;
        let lines = all(&*self.runtime, &id).await?;
        let texts = lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned());
        Ok((id, exit, texts.collect::<Vec<_>>().join("\n")))
    }

    async fn only(&self) -> Result<Container, Broken> {
        let mut containers = self.runtime.list().await?;
        ensure!(containers.len() == 1, "one container was expected: {containers:?}");
        containers.pop().ok_or_else(|| Broken::new("no container"))
    }
}

/// A name of a service.
fn service() -> ServiceName {
    // The only way to make one may fail, and this text does not.
    ServiceName::parse("probe").unwrap_or_else(|error| unreachable!("{error}"))
}

/// Waits until `look` finds something.
async fn eventually<T, F>(what: &str, look: impl Fn() -> F) -> Result<T, Broken>
where
    F: Future<Output = Result<Option<T>, Broken>>,
{
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(begin.elapsed() < DEADLINE, "{what} did not come within {DEADLINE:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Awaits something that must happen.
async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T, Broken> {
    let done = tokio::time::timeout(DEADLINE, work).await;
    done.map_err(|_| Broken::new(format!("{what} did not come within {DEADLINE:?}")))
}
