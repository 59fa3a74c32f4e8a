//! What an operator reads.

use crate::id::RevisionNumber;
use crate::rollout::Rollout;
use crate::service::Service;
use crate::simulate::cluster::Cluster;
use crate::task::{Desired, Task};
use crate::time::ClusterTime;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A point of time as minutes and seconds.
pub(super) fn clock(at: ClusterTime) -> String {
    let seconds = at.as_ms() / 1_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Whether a service's release is as `until` says: a phase, an outcome, `step N`, or `settled`.
pub(super) fn is_so(cluster: &Cluster, service: &Service, until: &str) -> bool {
    if until == "settled" {
        let waits =
            cluster.report().services.get(&service.id).map_or(0, |report| report.waits.len());
        return service.rollout.is_none() && service.queued.is_none() && waits == 0;
    }
    if let Some(live) = &service.rollout {
        let step = !live.steps.is_empty() && until == format!("step {}", live.step + 1);
        let paused = until == "paused" && !live.pauses.is_empty();
        return step || paused || live.phase.to_string() == until;
    }
    let last = service.past.last().and_then(|last| last.end.as_ref());
    last.is_some_and(|end| end.outcome.to_string() == until)
}

/// A service, its release and what is waited for.
pub(super) fn service(cluster: &Cluster, service: &Service) -> String {
    let mut out = String::new();
    let stable = service.stable.map_or_else(|| "nothing".to_owned(), |stable| stable.to_string());
    let report = cluster.report_now().services.get(&service.id).cloned().unwrap_or_default();
    let name = &service.spec.name;
    let _written = writeln!(
        out,
        "{name}: {}, {} of {} ready, stable {stable}",
        report.status, report.ready, report.desired
    );
    if let Some(live) = &service.rollout {
        let _written = writeln!(out, "  {}", headline(live));
    } else if let Some(last) = service.past.last() {
        let end = last.end.as_ref();
        let outcome = end.map(|end| end.outcome.to_string()).unwrap_or_default();
        let _written = writeln!(out, "  last release: {} is {outcome}", words(last));
    }
    for (revision, line) in tracks(cluster, service) {
        let _written = writeln!(out, "  {revision}: {line}");
    }
    for wait in &report.waits {
        let slot = wait.slot.map(|slot| format!("slot {slot}: ")).unwrap_or_default();
        let _written = writeln!(out, "  waits: {slot}{}", wait.reason);
    }
    out
}

fn words(rollout: &Rollout) -> String {
    let from = rollout.from.map_or_else(|| "nothing".to_owned(), |from| from.to_string());
    format!("{} from {from} to {} ({})", rollout.kind, rollout.to, rollout.strategy)
}

fn headline(live: &Rollout) -> String {
    let step = if live.steps.is_empty() {
        String::new()
    } else {
        format!(", step {} of {}", live.step + 1, live.steps.len())
    };
    let attempt =
        if live.attempt > 1 { format!(", attempt {}", live.attempt) } else { String::new() };
    format!("{}: {}{step}{attempt}", words(live), live.phase)
}

/// One line for each revision that has tasks or a share.
fn tracks(cluster: &Cluster, service: &Service) -> BTreeMap<RevisionNumber, String> {
    let tasks: Vec<_> =
        cluster.state().tasks_of(service.id).filter(|task| task.is_live()).collect();
    let shares = &service.split.weights;
    let revisions: BTreeSet<_> =
        tasks.iter().map(|task| task.revision).chain(shares.iter().map(|(r, _)| *r)).collect();
    let line = |revision| {
        let of: Vec<_> = tasks.iter().filter(|task| task.revision == revision).collect();
        let ready = of.iter().filter(|task| task.serves() && cluster.observed().is_ready(task.id));
        let leaving = of.iter().filter(|task| task.desired != Desired::Run).count();
        let share = service.split.weight_of(revision);
        let share = share.map_or_else(String::new, |share| format!("{} of the traffic, ", share));
        let leaving = if leaving > 0 { format!(", {leaving} leaving") } else { String::new() };
        let tasks = if of.len() == 1 { "1 task".to_owned() } else { format!("{} tasks", of.len()) };
        (revision, format!("{share}{tasks}, {} ready{leaving}", ready.count()))
    };
    revisions.into_iter().map(line).collect()
}

/// The tasks that run, one a line.
pub(super) fn tasks(cluster: &Cluster, service: &Service) -> String {
    let mut out = String::new();
    let mut tasks: Vec<&Task> = cluster
        .state()
        .tasks_of(service.id)
        .map(AsRef::as_ref)
        .filter(|task| task.is_live())
        .collect();
    tasks.sort_by_key(|task| (task.slot, task.id));
    for task in tasks {
        let node = cluster.state().node(task.node).map(|node| node.facts.hostname.to_string());
        let ready = if cluster.observed().is_ready(task.id) { ", ready" } else { "" };
        let desired = match task.desired {
            Desired::Run => String::new(),
            Desired::Drain { reason, .. } => format!(", out of traffic ({reason})"),
            Desired::Stop { reason } => format!(", stopping ({reason})"),
        };
        let (slot, revision, phase) = (task.slot, task.revision, task.phase);
        let node = node.unwrap_or_default();
        let _written = writeln!(out, "  {slot}  {revision}  {node}  {phase}{ready}{desired}");
    }
    out
}

/// What happened to the release under way, or the last one.
pub(super) fn timeline(service: &Service) -> String {
    let Some(rollout) = service.rollout.as_ref().or_else(|| service.past.last()) else {
        return "no release\n".to_owned();
    };
    let mut out = format!("{}\n", words(rollout));
    for moment in &rollout.timeline {
        let by = if moment.by.is_person() { format!(" (by {})", moment.by) } else { String::new() };
        let _written = writeln!(out, "  {:>7}  {}{by}", clock(moment.at), moment.what);
    }
    out
}

/// The releases that ended, and the revisions that are kept.
pub(super) fn history(service: &Service) -> String {
    let mut out = String::new();
    for past in &service.past {
        let end = past.end.as_ref();
        let outcome = end.map(|end| end.outcome.to_string()).unwrap_or_default();
        let reason = end.map(|end| end.reason.clone()).filter(|reason| !reason.is_empty());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let _written = writeln!(out, "  {}, by {}: {outcome}{reason}", words(past), past.by);
    }
    let accepted: Vec<_> = service.accepted.iter().map(ToString::to_string).collect();
    let _written = writeln!(out, "  accepted, in this order: {}", accepted.join(", "));
    out
}

/// Which revisions answered how often.
pub(super) fn answers(counts: &BTreeMap<RevisionNumber, u32>, none: u32) -> String {
    let mut parts: Vec<_> =
        counts.iter().map(|(revision, count)| format!("{revision} {count}")).collect();
    if none > 0 || parts.is_empty() {
        parts.push(format!("no answer {none}"));
    }
    format!("  {}\n", parts.join(", "))
}
