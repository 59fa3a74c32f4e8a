//! One service of the demo workload, and what is released to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use warren_wire::v1::health_check::Probe;
use warren_wire::v1::service_spec::Mode;
use warren_wire::v1::{
    ApproveRolloutRequest, CreateServiceRequest, DeploymentStrategy, GetRolloutRequest,
    GetServiceRequest, HealthCheck, HttpProbe, ListRolloutsRequest, Port, Replicated,
    RollbackServiceRequest, Rollout, ScaleServiceRequest, ServiceSpec, Step, Task, TaskTemplate,
    UpdateConfig, UpdateServiceRequest,
};

use crate::api::Api;
use crate::cluster::{Node, PORT, Runtime};
use crate::watch::Watch;
use crate::{dns, wait};

/// Long for a release whose windows are seconds, also where an engine takes seconds to start each container.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(180);
/// Between two probes of a task: the shortest there is.
const PROBED_EVERY_MS: u64 = 100;

/// A service of the demo workload.
#[derive(Clone)]
pub struct Web {
    api: Api,
    /// Its name.
    pub name: String,
    /// What its tasks run.
    image: String,
}

/// What is to become of it.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What the new tasks call themselves.
    pub version: &'static str,
    /// Another image than before.
    pub image: Option<String>,
    /// Faults that the new tasks start with, as in `NEVER_READY`.
    pub faults: Vec<(&'static str, &'static str)>,
    /// The shape.
    pub strategy: DeploymentStrategy,
    /// The numbers, laid over [`quick`].
    pub config: UpdateConfig,
}

/// Numbers with which a release of a few tasks takes seconds. The deadlines are those of the product: a slow engine is
/// no fault of a version.
#[must_use]
pub fn quick() -> UpdateConfig {
    UpdateConfig {
        parallelism: Some(0),
        max_surge: Some(2),
        min_ready_ms: Some(500),
        monitor_ms: Some(0),
        standby_ms: Some(1_000),
        scale_down_delay_ms: Some(500),
        ..UpdateConfig::default()
    }
}

/// Steps of a canary: each share in per cent and how long it is kept in milliseconds.
#[must_use]
pub fn steps(steps: &[(u32, u64)]) -> Vec<Step> {
    let step = |(percent, hold_ms): &(u32, u64)| Step {
        weight_per_mille: Some(percent * 10),
        hold_ms: *hold_ms,
        ..Step::default()
    };
    steps.iter().map(step).collect()
}

impl Web {
    /// Makes a service of so many tasks of `v1` and waits until its first release is over.
    ///
    /// # Errors
    /// Where it does not get there.
    pub async fn create(
        node: &Node,
        runtime: Runtime,
        name: &str,
        replicas: u32,
    ) -> anyhow::Result<Self> {
        Self::create_of(node, &runtime.web_image("v1").await?, name, replicas).await
    }

    /// As [`Self::create`], of an image that every node has.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn create_of(
        node: &Node,
        image: &str,
        name: &str,
        replicas: u32,
    ) -> anyhow::Result<Self> {
        let mut web = Self::of(node, name, image.to_owned());
        let spec = web.spec(replicas);
        let request = CreateServiceRequest { spec: Some(spec), skip_resolve: false };
        web.api.services.create_service(request).await?;
        wait::until(&format!("{name} runs"), RELEASE_TIME_MAX, async || {
            let service = web.service().await?;
            ensure!(service.stable_revision == 1 && service.ready == replicas, "{service:?}");
            ensure!(service.rollout.is_none(), "{:?}", service.rollout);
            Ok(())
        })
        .await?;
        Ok(web)
    }

    /// A service of the demo workload that is there already.
    #[must_use]
    pub fn of(node: &Node, name: &str, image: String) -> Self {
        Self { api: Api::of(node), name: name.to_owned(), image }
    }

    fn spec(&self, replicas: u32) -> ServiceSpec {
        let probe = |path: &str| HealthCheck {
            probe: Some(Probe::Http(HttpProbe { port: PORT.into(), path: path.to_owned() })),
            interval_ms: Some(PROBED_EVERY_MS),
            ..HealthCheck::default()
        };
        let template = TaskTemplate {
            image: self.image.clone(),
            env: BTreeMap::from([("VERSION".to_owned(), "v1".to_owned())]),
            ports: vec![Port { name: "http".into(), container: PORT.into(), ..Port::default() }],
            health: Some(probe("/health")),
            readiness: Some(HealthCheck { retries: Some(1), ..probe("/ready") }),
            ..TaskTemplate::default()
        };
        ServiceSpec {
            name: self.name.clone(),
            mode: Some(Mode::Replicated(Replicated { replicas: Some(replicas) })),
            template: Some(template),
            update_config: Some(quick()),
            ..ServiceSpec::default()
        }
    }

    /// The service as it is.
    ///
    /// # Errors
    /// Where no manager answers.
    pub async fn service(&self) -> anyhow::Result<warren_wire::v1::Service> {
        let asked = GetServiceRequest { service_id: self.name.clone() };
        let answer = self.api.services.clone().get_service(asked).await?.into_inner();
        answer.service.context("a service")
    }

    /// Its tasks that have not ended, by id.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub async fn tasks(&self) -> anyhow::Result<BTreeMap<String, Task>> {
        let asked = GetServiceRequest { service_id: self.name.clone() };
        let answer = self.api.services.clone().get_service(asked).await?.into_inner();
        let ended = ["completed", "failed", "rejected", "stopped", "lost"];
        let live = answer.tasks.into_iter().filter(|task| !ended.contains(&task.phase.as_str()));
        Ok(live.map(|task| (task.id.clone(), task)).collect())
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn update(&self, change: &Change) -> anyhow::Result<()> {
        let mut spec = self.service().await?.spec.context("a spec")?;
        let template = spec.template.get_or_insert_default();
        template.env = BTreeMap::from([("VERSION".to_owned(), change.version.to_owned())]);
        for (fault, value) in &change.faults {
            template.env.insert(format!("FAULT_{fault}"), (*value).to_owned());
        }
        template.image = change.image.clone().unwrap_or_else(|| self.image.clone());
        // Every release starts from the same numbers, whatever the one before was given.
        spec.update_config = Some(quick());
        let request = UpdateServiceRequest {
            service_id: self.name.clone(),
            spec: Some(spec),
            strategy: Some(change.strategy.into()),
            update_config: Some(change.config.clone()),
            reason: format!("to {}", change.version),
            ..UpdateServiceRequest::default()
        };
        let answer = self.api.services.clone().update_service(request).await?.into_inner();
        ensure!(answer.changed, "{} is no change", change.version);
        Ok(())
    }

    /// Changes it and waits for the end of the release.
    ///
    /// # Errors
    /// Where it is refused or does not end.
    pub async fn release(&self, change: &Change) -> anyhow::Result<Rollout> {
        self.update(change).await?;
        self.end().await
    }

    /// Goes back to the stable revision, or to an earlier one.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn roll_back(&self) -> anyhow::Result<Rollout> {
        let asked = RollbackServiceRequest { service_id: self.name.clone(), ..Default::default() };
        let answer = self.api.rollouts.clone().rollback_service(asked).await?.into_inner();
        answer.rollout.context("a rollout")
    }

    /// Waits until the release stands at the gate of a step with this share, in thousandths, and asks for a word.
    ///
    /// # Errors
    /// As [`Self::reach`].
    pub async fn asked(&self, per_mille: u32) -> anyhow::Result<()> {
        let what = format!("{} asks for a word at {per_mille} per mille", self.name);
        wait::until(&what, RELEASE_TIME_MAX, async || {
            let at = self.rollout().await?;
            let asked = at.phase == "gating" && !at.approval_wanted.is_empty();
            ensure!(asked && at.weight_per_mille == per_mille, "{}: {:?}", at.phase, at.waits);
            Ok(())
        })
        .await
    }

    /// Agrees to what is asked at a gate.
    ///
    /// # Errors
    /// Where nothing is asked.
    pub async fn approve(&self) -> anyhow::Result<()> {
        let asked = ApproveRolloutRequest { service_id: self.name.clone(), ..Default::default() };
        self.api.rollouts.clone().approve_rollout(asked).await?;
        Ok(())
    }

    /// Changes the number of its tasks.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn scale(&self, replicas: u32) -> anyhow::Result<()> {
        let service_id = self.name.clone();
        let asked = ScaleServiceRequest { service_id, replicas, ..Default::default() };
        self.api.services.clone().scale_service(asked).await?;
        Ok(())
    }

    /// Its releases, newest first.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub async fn rollouts(&self) -> anyhow::Result<Vec<Rollout>> {
        let asked = ListRolloutsRequest { service_id: self.name.clone() };
        Ok(self.api.rollouts.clone().list_rollouts(asked).await?.into_inner().rollouts)
    }

    /// The release under way, or the last.
    ///
    /// # Errors
    /// Where there has been none, or no manager answers.
    pub async fn rollout(&self) -> anyhow::Result<Rollout> {
        let asked = GetRolloutRequest { service_id: self.name.clone() };
        let answer = self.api.rollouts.clone().get_rollout(asked).await?.into_inner();
        answer.rollout.context("a rollout")
    }

    /// Waits until the release has ended and nothing is left to do.
    ///
    /// # Errors
    /// Where it does not end; with what it waits for.
    pub async fn end(&self) -> anyhow::Result<Rollout> {
        wait::until(&format!("the release of {} ends", self.name), RELEASE_TIME_MAX, async || {
            let rollout = self.rollout().await?;
            ensure!(rollout.ended_unix_ms > 0, "{}: {:?}", rollout.phase, rollout.waits);
            Ok(rollout)
        })
        .await
    }

    /// Waits until the release is in a phase.
    ///
    /// # Errors
    /// Where it ends or does not get there.
    pub async fn reach(&self, phase: &str) -> anyhow::Result<Rollout> {
        let what = format!("the release of {} is {phase}", self.name);
        let found = wait::until(&what, RELEASE_TIME_MAX, async || {
            let rollout = self.rollout().await?;
            let there = rollout.phase == phase;
            ensure!(there || rollout.ended_unix_ms > 0, "{}: {:?}", rollout.phase, rollout.waits);
            Ok(rollout)
        })
        .await?;
        if found.ended_unix_ms > 0 {
            bail!("{what}: it ended before: {} {}", found.outcome, found.reason);
        }
        Ok(found)
    }

    /// The addresses of its tasks of one revision.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub async fn addresses(&self, revision: u32) -> anyhow::Result<BTreeSet<IpAddr>> {
        let tasks = self.tasks().await?;
        let of = tasks.values().filter(|task| task.revision == revision);
        Ok(of.map(|task| task.address.parse()).collect::<Result<_, _>>()?)
    }

    /// Looks on while answers for it change over from the tasks of one revision to others.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub async fn watch(&self, node: &Node, revision: u32) -> anyhow::Result<Watch> {
        let name = format!("{}.warren.", self.name);
        Ok(Watch::start(node.dns_address()?, &name, &self.addresses(revision).await?))
    }

    /// Asks DNS so many questions for it, and counts by revision whom the first address of each answer leads to.
    ///
    /// # Errors
    /// Where nobody answers, or with an address that no task has.
    pub async fn split(&self, node: &Node, questions: u32) -> anyhow::Result<BTreeMap<u32, u32>> {
        let tasks = self.tasks().await?;
        let (server, name) = (node.dns_address()?, format!("{}.warren.", self.name));
        let mut split = BTreeMap::new();
        for _ in 0..questions {
            let found = dns::addresses(server, &name).await?;
            let first = found.first().map(ToString::to_string).unwrap_or_default();
            let task = tasks.values().find(|task| task.address == first);
            let task = task.with_context(|| format!("{first} is no task of {tasks:?}"))?;
            *split.entry(task.revision).or_default() += 1;
        }
        Ok(split)
    }

    /// Fails unless all its tasks are of one revision, ready, and as many as wanted.
    ///
    /// # Errors
    /// With the tasks.
    pub async fn runs_only(&self, revision: u32) -> anyhow::Result<()> {
        let (service, tasks) = (self.service().await?, self.tasks().await?);
        let revisions: BTreeSet<u32> = tasks.values().map(|task| task.revision).collect();
        let whole = service.ready == service.desired && tasks.len() == service.desired as usize;
        ensure!(
            whole && revisions == BTreeSet::from([revision]),
            "{}: {} of {} are ready, of revisions {revisions:?}",
            self.name,
            service.ready,
            service.desired,
        );
        ensure!(service.stable_revision == revision, "stable is {}", service.stable_revision);
        Ok(())
    }
}
