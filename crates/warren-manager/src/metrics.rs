//! What this crate measures.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;
use warren_core::task::Phase;

/// Seconds that one plan took.
pub const PLAN_SECONDS: &str = "warren_plan_seconds";
/// Rounds of the reconciler, by outcome (`idle`, `proposed`, `rejected`, `failed`).
pub const RECONCILE_ROUNDS: &str = "warren_reconcile_rounds_total";
/// Commands that the reconciler proposed, by outcome (`applied`, `rejected`).
pub const RECONCILE_COMMANDS: &str = "warren_reconcile_commands_total";
/// Cluster time checkpoints that the reconciler proposed.
pub const RECONCILE_CHECKPOINTS: &str = "warren_reconcile_checkpoints_total";
/// 1 while the reconciler or the hub was found standing still, else 0.
pub const WEDGED: &str = "warren_manager_wedged";
/// Open sessions of agents.
pub const SESSIONS: &str = "warren_sessions";
/// Sessions that ended, by reason.
pub const SESSIONS_CLOSED: &str = "warren_sessions_closed_total";
/// Sessions that were refused, by reason.
pub const SESSIONS_REFUSED: &str = "warren_sessions_refused_total";
/// Status updates of tasks, by what became of them (`taken`, `duplicate`, `foreign`).
pub const STATUS_UPDATES: &str = "warren_status_updates_total";
/// Task edges that were proposed to Raft.
pub const STATUS_EDGES: &str = "warren_status_edges_total";
/// Tasks, by phase.
pub const TASKS: &str = "warren_tasks";
/// Tasks that get traffic.
pub const TASKS_READY: &str = "warren_tasks_ready";
/// Services.
pub const SERVICES: &str = "warren_services";
/// Nodes, by standing (`up`, `suspect`, `down`).
pub const NODES: &str = "warren_nodes";
/// 1 while the brake holds rescheduling because too many nodes fell silent at once, else 0.
pub const BRAKE: &str = "warren_nodes_held";
/// Messages to agents, by kind (`full`, `assign`, `traffic`).
pub const DISPATCH_MESSAGES: &str = "warren_dispatch_messages_total";
/// Seconds from hearing of a change to the last message about it being queued.
pub const DISPATCH_SECONDS: &str = "warren_dispatch_seconds";
/// Fulls that were sent because a node had diverged.
pub const DISPATCH_RESYNCS: &str = "warren_dispatch_resyncs_total";
/// Requests into nodes that are open.
pub const RELAYS: &str = "warren_relays";
/// Requests into nodes, by kind (`resolve`, `logs`, `exec`).
pub const RELAYS_OPENED: &str = "warren_relays_total";

/// Every metric of this crate: name, kind and help. The reference page is generated from it.
pub const ALL: &[(&str, &str, &str)] = &[
    (PLAN_SECONDS, "histogram", "Seconds that one plan took."),
    (
        RECONCILE_ROUNDS,
        "counter",
        "Rounds of the reconciler, by outcome (idle, proposed, rejected, failed).",
    ),
    (
        RECONCILE_COMMANDS,
        "counter",
        "Commands that the reconciler proposed, by outcome (applied, rejected).",
    ),
    (
        RECONCILE_CHECKPOINTS,
        "counter",
        "Cluster time checkpoints, written only while something waits on time.",
    ),
    (WEDGED, "gauge", "1 while a loop of the leader was found standing still, else 0."),
    (SESSIONS, "gauge", "Open sessions of agents."),
    (
        SESSIONS_CLOSED,
        "counter",
        "Sessions that ended, by reason (gone, replaced, slow, protocol, stopped).",
    ),
    (
        SESSIONS_REFUSED,
        "counter",
        "Sessions that were refused, by reason (not_leading, invalid, rejected, busy).",
    ),
    (
        STATUS_UPDATES,
        "counter",
        "Status updates of tasks, by what became of them (taken, duplicate, foreign).",
    ),
    (STATUS_EDGES, "counter", "Task edges that were proposed to Raft."),
    (TASKS, "gauge", "Tasks, by phase."),
    (TASKS_READY, "gauge", "Tasks that get traffic."),
    (SERVICES, "gauge", "Services."),
    (NODES, "gauge", "Nodes, by standing (up, suspect, down)."),
    (BRAKE, "gauge", "1 while rescheduling is held because too many nodes fell silent, else 0."),
    (DISPATCH_MESSAGES, "counter", "Messages to agents, by kind (full, assign, traffic)."),
    (DISPATCH_SECONDS, "histogram", "Seconds from hearing of a change to queueing its messages."),
    (DISPATCH_RESYNCS, "counter", "Fulls that were sent because a node had diverged."),
    (RELAYS, "gauge", "Requests into nodes that are open."),
    (RELAYS_OPENED, "counter", "Requests into nodes, by kind (resolve, logs, exec)."),
];

/// Gives the installed recorder the help text of every metric. Called once, after the recorder is installed.
pub fn describe() {
    for (name, kind, help) in ALL.iter().chain(crate::api::metrics::ALL) {
        match *kind {
            "counter" => describe_counter!(*name, *help),
            "gauge" => describe_gauge!(*name, *help),
            _ => describe_histogram!(*name, *help),
        }
    }
}

pub(crate) fn planned(took: Duration) {
    histogram!(PLAN_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn round(outcome: &'static str) {
    counter!(RECONCILE_ROUNDS, "outcome" => outcome).increment(1);
}

pub(crate) fn commands(applied: usize, rejected: usize) {
    counter!(RECONCILE_COMMANDS, "outcome" => "applied").increment(applied as u64);
    counter!(RECONCILE_COMMANDS, "outcome" => "rejected").increment(rejected as u64);
}

pub(crate) fn checkpoint() {
    counter!(RECONCILE_CHECKPOINTS).increment(1);
}

pub(crate) fn wedged(is: bool) {
    gauge!(WEDGED).set(if is { 1.0 } else { 0.0 });
}

pub(crate) fn sessions(open: usize) {
    gauge!(SESSIONS).set(float(open));
}

pub(crate) fn session_closed(reason: &'static str) {
    counter!(SESSIONS_CLOSED, "reason" => reason).increment(1);
}

pub(crate) fn session_refused(reason: &'static str) {
    counter!(SESSIONS_REFUSED, "reason" => reason).increment(1);
}

pub(crate) fn status(what: &'static str, count: usize) {
    counter!(STATUS_UPDATES, "what" => what).increment(count as u64);
}

pub(crate) fn edges(count: usize) {
    counter!(STATUS_EDGES).increment(count as u64);
}

pub(crate) fn tasks(phase: Phase, count: usize) {
    gauge!(TASKS, "phase" => phase.to_string()).set(float(count));
}

pub(crate) fn ready(count: usize) {
    gauge!(TASKS_READY).set(float(count));
}

pub(crate) fn services(count: usize) {
    gauge!(SERVICES).set(float(count));
}

pub(crate) fn nodes(up: usize, suspect: usize, down: usize, held: bool) {
    gauge!(NODES, "standing" => "up").set(float(up));
    gauge!(NODES, "standing" => "suspect").set(float(suspect));
    gauge!(NODES, "standing" => "down").set(float(down));
    gauge!(BRAKE).set(if held { 1.0 } else { 0.0 });
}

pub(crate) fn sent(kind: &'static str) {
    counter!(DISPATCH_MESSAGES, "kind" => kind).increment(1);
}

pub(crate) fn dispatched(took: Duration) {
    histogram!(DISPATCH_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn resync() {
    counter!(DISPATCH_RESYNCS).increment(1);
}

pub(crate) fn relays(open: usize) {
    gauge!(RELAYS).set(float(open));
}

pub(crate) fn relay_opened(kind: &'static str) {
    counter!(RELAYS_OPENED, "kind" => kind).increment(1);
}

/// Exact up to 2^53, far past any of these.
#[allow(clippy::cast_precision_loss, reason = "metrics are floats; the loss begins at 2^53")]
fn float(count: usize) -> f64 {
    count as f64
}
