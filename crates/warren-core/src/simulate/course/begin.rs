//! The model before the update: the stable revision at rest, under its own number.

use super::{NODES_MAX, Simulation, TASKS_MAX};
use crate::command::{Applied, Command};
use crate::id::{RevisionNumber, ServiceId};
use crate::rollout::Rollout;
use crate::service::{Actor, Service};
use crate::simulate::cluster::Cluster;
use crate::spec::{Mode, PinnedImage, ServiceSpec, UpdateSettings};
use std::sync::Arc;
use std::time::Duration;

/// Revisions that are counted up to in a model: above that it begins with v1.
const NUMBERS_MAX: u32 = 300;
/// How long the stable revision may take to come up: tasks of a model do in seconds.
const COME_UP: Duration = Duration::from_secs(3_600);
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(500);

impl Simulation {
    /// A cluster in which the stable revision is at rest.
    pub(super) fn begin(&self) -> Result<(Cluster, ServiceId), String> {
        if self.nodes == 0 || self.nodes > NODES_MAX {
            return Err(format!("a model has 1 to {NODES_MAX} machines, not {}", self.nodes));
        }
        if let Mode::Replicated { replicas } = self.stable.mode
            && replicas > TASKS_MAX
        {
            return Err(format!(
                "a model has {TASKS_MAX} tasks at the most, not {replicas}: simulate it with fewer"
            ));
        }
        let (stable, last) = self.numbers;
        if last.0 <= NUMBERS_MAX {
            let (cluster, service) = self.begin_at(stable, last)?;
            let is_so = find(&cluster, service).is_some_and(|s| s.stable == Some(stable));
            if is_so {
                return Ok((cluster, service));
            }
        }
        self.begin_at(RevisionNumber(1), RevisionNumber(1))
    }

    /// Counts up to the number of the last revision with services of no tasks, then brings the stable one up.
    fn begin_at(
        &self,
        stable: RevisionNumber,
        last: RevisionNumber,
    ) -> Result<(Cluster, ServiceId), String> {
        let mut cluster = Cluster::new(self.nodes, self.seed);
        let mut made = None;
        for number in (1..=last.0).chain([stable.0]) {
            let mut spec = if number == stable.0 {
                self.stable.clone()
            } else {
                another(&self.stable, &format!("revision-{number}"))
            };
            spec.mode = Mode::Replicated { replicas: 0 };
            spec.update = UpdateSettings::default();
            let service = match made {
                None => {
                    let spec = Box::new(without_files(spec));
                    let create = Command::CreateService { spec, by: by() };
                    let answer = cluster.request(create).map_err(|refusal| refusal.to_string())?;
                    let Applied::Service { id, .. } = answer else {
                        return Err("the model does not answer with a service".to_owned());
                    };
                    id
                }
                Some(service) => {
                    write(&mut cluster, service, spec)?;
                    service
                }
            };
            made = Some(service);
            settle(&mut cluster, service)?;
        }
        let service = made.ok_or("a service has one revision at least")?;
        write(&mut cluster, service, self.stable.clone())?;
        settle(&mut cluster, service)?;
        Ok((cluster, service))
    }

    /// Asks for the update. Returns the release that it begins.
    pub(super) fn update(
        &self,
        cluster: &mut Cluster,
        service: ServiceId,
    ) -> Result<Arc<Rollout>, String> {
        let mut next = self.next.clone();
        if next.template == self.stable.template {
            next = another(&next, "another version");
        }
        write(cluster, service, next)?;
        let found = find(cluster, service)
            .and_then(|service| service.rollout.clone().or_else(|| service.past.last().cloned()));
        found.ok_or_else(|| "the update begins no release".to_owned())
    }
}

fn by() -> Actor {
    Actor::named("simulation".to_owned())
}

/// The same with an image of other content.
fn another(spec: &ServiceSpec, content: &str) -> ServiceSpec {
    let mut spec = spec.clone();
    spec.template.pinned = Some(PinnedImage(content.to_owned()));
    spec
}

/// The same without secrets and configs, which a model does not have. Other ones are still another revision.
fn without_files(mut spec: ServiceSpec) -> ServiceSpec {
    let files = std::mem::take(&mut spec.template.files);
    if !files.is_empty() {
        spec.template.env.insert("files".to_owned(), format!("{files:?}"));
    }
    spec
}

fn find(cluster: &Cluster, service: ServiceId) -> Option<Arc<Service>> {
    cluster.state().service(service).cloned()
}

fn write(cluster: &mut Cluster, service: ServiceId, spec: ServiceSpec) -> Result<(), String> {
    let generation = find(cluster, service).map(|service| service.generation);
    let command = Command::UpdateService {
        service,
        expect: generation.ok_or("the service is gone")?,
        spec: Box::new(without_files(spec)),
        by: by(),
        cause: String::new(),
        freeze_override: None,
    };
    cluster.request(command).map(|_| ()).map_err(|refusal| refusal.to_string())
}

/// Lets time pass until nothing is left to do.
fn settle(cluster: &mut Cluster, id: ServiceId) -> Result<(), String> {
    let begun = cluster.elapsed();
    loop {
        if let Some(broken) = cluster.broken() {
            return Err(format!("the model broke a promise before the update: {broken}"));
        }
        let report = cluster.report_now().services.get(&id).cloned().unwrap_or_default();
        let is_at_rest = find(cluster, id).is_some_and(|service| service.rollout.is_none());
        if is_at_rest && report.waits.is_empty() {
            return Ok(());
        }
        if cluster.elapsed() - begun >= COME_UP {
            let waits: Vec<_> = report.waits.iter().map(|wait| wait.reason.to_string()).collect();
            return Err(format!("what runs does not come up in the model: {}", waits.join("; ")));
        }
        cluster.advance(GLANCE);
    }
}
