//! `warren rollout simulate`

mod show;

use crate::client::{Client, ClientArgs, of_service, request};
use crate::failure::{Exit, Failure, Outcome};
use crate::flags::ChangeFlags;
use crate::manifest;
use crate::output::{self, OutputArgs};
use clap::Args;
use show::Played;
use std::path::PathBuf;
use std::time::Duration;
use warren_core::id::RevisionNumber;
use warren_core::rollout::Outcome as End;
use warren_core::simulate::{Course, Fault, Finish, NODES_MAX, Simulation, TASKS_MAX};
use warren_core::spec::ServiceSpec;
use warren_wire::convert::hook::HIDDEN_KEY;
use warren_wire::v1;

/// Play a release in a model of the cluster, with what may go wrong, and change nothing
///
/// What decides is what decides in a cluster, and its time passes in an instant; machines, images and people are
/// modelled. It starts from a service of the cluster at rest, or with --file from one of a manifest: then no cluster is
/// needed. The flags of `warren service update` say what is released; where they change nothing that tasks run, it is
/// another version of the same image. Placement, other services and freezes are no part of the model, hooks answer yes,
/// and people agree at once (see --nobody-approves).
///
/// --fault is one of: crash:v2 (after its start), crash:v2@50% (half of its tasks), crash:v2@90s (after so long),
/// never-ready:v2, slow:v2@40s, flap:v2, no-image:v2 (v2 is any version), node-loss@3m (for ever),
/// node-loss:node-2@3m+1m (for a minute), partition:node-2@1m+30s, leader-change@2m, quorum-loss@2m+5m,
/// clock-jump@1m+10m, hook-fails:URL (part of the address). Times count from the update.
///
/// It ends as the release does: with 0 where it completes, 6 where it is rolled back, 1 where it fails, 4 where it
/// waits for a person or is not over after --for.
///
/// Example: `warren rollout simulate web --image web:v2 --fault crash:v2@50% --fault node-loss@3m`
#[derive(Args, Debug)]
pub struct Simulate {
    /// Name or id of the service; with --file the one of its services, where there are several
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// Manifest of the service as it runs, in place of a cluster; `-` for standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Something that goes wrong; may be repeated
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    fault: Vec<(String, Fault)>,
    /// How many machines the model has [default: those of the cluster; with --file 3]
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// What latencies are drawn from: another number, other luck
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Nobody agrees to what waits for people
    #[arg(long)]
    nobody_approves: bool,
    /// How long the release may take in its own time
    #[arg(long = "for", value_name = "TIME", default_value = "24h",
        value_parser = crate::flags::words::duration)]
    longest: Duration,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    change: ChangeFlags,
}

/// What is simulated, and what it does not show.
struct Case {
    service: v1::Service,
    /// The highest number of a version.
    last: u32,
    nodes: u32,
    notes: Vec<String>,
}

fn fault(text: &str) -> Result<(String, Fault), String> {
    text.parse().map(|fault| (text.to_owned(), fault))
}

impl Simulate {
    /// Runs it.
    ///
    /// # Errors
    /// A flag is wrong, there is no such service, the update would be refused, or the release does not complete.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let case = match &self.file {
            Some(file) => self.of_file(file)?,
            None => self.of_cluster(&client.connect().await?).await?,
        };
        let asked = self.change.request(&case.service)?.spec.unwrap_or_default();
        let running = case.service.spec.clone().unwrap_or_default();
        let name = running.name.clone();
        let mut notes = case.notes;
        let stable = case.service.stable_revision.max(1);
        let simulation = Simulation {
            stable: model(running, &mut notes)?,
            next: model(asked, &mut notes)?,
            numbers: (RevisionNumber(stable), RevisionNumber(case.last.max(stable))),
            nodes: self.nodes.unwrap_or(case.nodes),
            seed: self.seed,
            faults: self.fault,
            approve: !self.nobody_approves,
            longest: self.longest,
        };
        let course = simulation.play().map_err(|why| {
            Failure::new(Exit::Failed, format!("{name}: nothing to simulate: {why}"))
        })?;
        notes.dedup();
        check_versions(&simulation.faults, &course)?;
        notes.extend(unused(&simulation.faults, &course));
        let played = Played::new(&name, simulation.nodes, &course, notes);
        output::print(self.output.output, &played, show::page)?;
        verdict(&name, &course)
    }

    fn of_file(&self, file: &std::path::Path) -> Outcome<Case> {
        let (source, specs) = manifest::load(file)?;
        let names: Vec<_> = specs.iter().map(|spec| spec.name.clone()).collect();
        let spec = match (&self.name, specs.len()) {
            (None, 1) => specs.into_iter().next(),
            (None, _) => None,
            (Some(name), _) => specs.into_iter().find(|spec| spec.name == *name),
        };
        let spec = spec.ok_or_else(|| {
            Failure::usage(format!("NAME: which service of {source} is meant?"))
                .hint(format!("name one of {}", names.join(", ")))
        })?;
        let service = v1::Service { spec: Some(spec), stable_revision: 1, ..Default::default() };
        Ok(Case { service, last: 1, nodes: 3, notes: Vec::new() })
    }

    async fn of_cluster(&self, client: &Client) -> Outcome<Case> {
        let name = self.name.clone().unwrap_or_default();
        let service = client.service(&name).await?.service.unwrap_or_default();
        let asked = v1::ListVersionsRequest { service_id: name };
        let answer = client.services().list_versions(request(asked)).await.map_err(of_service)?;
        let revisions = answer.into_inner().revisions;
        let last = revisions.iter().map(|revision| revision.number).max().unwrap_or(1);
        let asked = v1::ListNodesRequest {};
        let nodes = client.nodes().list_nodes(request(asked)).await?.into_inner().nodes;
        let nodes = nodes.iter().filter(|node| node.status == "up").count();
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).clamp(1, NODES_MAX);
        let mut notes = Vec::new();
        if service.rollout.is_some() {
            notes.push("a release is under way: it is taken as completed".to_owned());
        }
        if service.freeze.is_some() {
            notes.push("releases are frozen: this one would wait, or need a reason".to_owned());
        }
        Ok(Case { service, last, nodes, notes })
    }
}

/// A spec as the model can hold it.
fn model(mut spec: v1::ServiceSpec, notes: &mut Vec<String>) -> Outcome<ServiceSpec> {
    let hooks = spec.update_config.iter_mut().filter_map(|config| config.hooks.as_mut());
    let hooks = hooks.flat_map(|hooks| hooks.hooks.iter_mut());
    hooks.filter(|hook| hook.key == HIDDEN_KEY).for_each(|hook| hook.key.clear());
    let placement = spec.placement.get_or_insert_default();
    if !placement.constraints.is_empty() {
        placement.constraints.clear();
        notes.push("placement is not simulated: every machine takes every task".to_owned());
    }
    if let Some(v1::service_spec::Mode::Replicated(mode)) = &mut spec.mode
        && let Some(replicas) = mode.replicas.filter(|replicas| *replicas > TASKS_MAX)
    {
        mode.replicas = Some(TASKS_MAX);
        notes.push(format!("simulated with {TASKS_MAX} tasks in place of {replicas}"));
    }
    warren_wire::convert::spec::parse(spec).map_err(|error| {
        Failure::usage(format!("{}: {}", crate::flags::flag_or(&error.field), error.problem))
    })
}

/// Refuses faults of versions that the release has nothing to do with.
fn check_versions(faults: &[(String, Fault)], course: &Course) -> Outcome {
    let (from, to) = (course.from, course.to);
    for (text, fault) in faults {
        if let Fault::Behave { revision, .. } = fault
            && ![from, to].contains(revision)
        {
            return Err(Failure::usage(format!("--fault {text}: {revision} is no part of it"))
                .hint(format!("the release goes from {from} to {to}: name one of them")));
        }
    }
    Ok(())
}

/// Faults that came too late to show.
fn unused(faults: &[(String, Fault)], course: &Course) -> Vec<String> {
    let late = faults.iter().filter(|(_, fault)| fault.at() > course.lasted);
    late.map(|(text, _)| format!("--fault {text}: the release was over before")).collect()
}

/// The exit code that the release itself would end with.
fn verdict(name: &str, course: &Course) -> Outcome {
    let after = output::duration(course.lasted);
    let told = |exit, what: String| Err(Failure::new(exit, format!("{name}: simulated: {what}")));
    let by_reason = |what: &str, reason: &str| match reason {
        "" => format!("{what} after {after}"),
        reason => format!("{what} after {after}: {reason}"),
    };
    match &course.finish {
        Finish::Ended { outcome: End::Completed, .. } => Ok(()),
        Finish::Ended { outcome: End::RolledBack, reason } => {
            told(Exit::RolledBack, by_reason("rolled back", reason))
        }
        Finish::Ended { outcome: End::Superseded | End::Cancelled, reason } => {
            told(Exit::Superseded, by_reason("called off", reason))
        }
        Finish::Ended { outcome: End::Failed, reason } => {
            told(Exit::Failed, by_reason("failed", reason))
        }
        Finish::Waits(waits) => {
            told(Exit::Unfinished, format!("it waits for a person: {}", waits.join("; ")))
        }
        Finish::TimeUp(waits) => {
            let why = format!("not over after {after}: {}", waits.join("; "));
            told(Exit::Unfinished, why).map_err(|failure| failure.hint("--for gives it more time"))
        }
        Finish::TooMuch => told(Exit::Unfinished, format!("too much happened in {after}"))
            .map_err(|failure| failure.hint("simulate it with fewer tasks")),
        Finish::Broken(promise) => told(Exit::Failed, format!("a promise was broken: {promise}"))
            .map_err(|failure| {
                failure.hint("this is a bug of Warren: report it, with the command")
            }),
    }
}

#[cfg(test)]
mod tests;
