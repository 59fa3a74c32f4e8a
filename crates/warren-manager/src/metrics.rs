//! What this crate measures.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;
use warren_core::rollout::{Outcome, Trigger};
use warren_core::spec::{HookPoint, Strategy};
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
/// Questions to nodes about silent ones, by outcome (`asked`, `reached`, `missed`).
pub const PROBES: &str = "warren_probes_total";
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

/// Calls that were refused because of who asked, by what they need.
pub const CALLS_REFUSED: &str = "warren_calls_refused_total";
/// Connections to the port, by who has them (`node`, `guest`).
pub const CONNECTIONS: &str = "warren_connections";
/// Connections that were not taken or were cut, by reason (`all`, `guests`, `address`, `displaced`, `idle`).
pub const CONNECTIONS_CUT: &str = "warren_connections_cut_total";
/// Machines that asked to join, by outcome (`let_in`, `refused`).
pub const JOINS: &str = "warren_joins_total";
/// Contents that nodes asked for.
pub const FILES_FETCHED: &str = "warren_files_fetched_total";
/// Changes of who votes in Raft, by outcome (`made`, `failed`).
pub const MEMBER_CHANGES: &str = "warren_member_changes_total";
/// Calls of hooks, by point and outcome (`delivered`, `failed`).
pub const HOOKS: &str = "warren_hooks_total";
/// Calls of hooks that are to be made.
pub const HOOKS_WAITING: &str = "warren_hooks_waiting";
/// Releases that ended, by strategy and status.
pub const DEPLOYMENTS: &str = "warren_deployments_total";
/// Seconds from the start of a release until it was accepted or ended.
pub const DEPLOYMENT_SECONDS: &str = "warren_deployment_duration_seconds";
/// Steps that canaries began.
pub const CANARY_STEPS: &str = "warren_canary_promotion_steps_total";
/// Ways back, by reason.
pub const ROLLBACKS: &str = "warren_rollbacks_total";
/// Ways back.
pub const ROLLED_BACK: &str = "warren_deployments_rolled_back_total";
/// The share of each version in percent.
pub const CANARY_WEIGHT: &str = "warren_canary_traffic_weight";
/// How far a canary is.
pub const CANARY_PROGRESS: &str = "warren_canary_progress";
/// Analyses.
pub const CANARY_ANALYSES: &str = "warren_canary_analysis_total";
/// Analyses that failed.
pub const CANARY_ANALYSES_FAILED: &str = "warren_canary_analysis_failed";
/// The errors of each version.
pub const CANARY_ERROR_RATE: &str = "warren_canary_error_rate";
/// Ways back of canaries.
pub const CANARY_ROLLBACKS: &str = "warren_canary_rollback_total";
/// Switches of blue-green releases.
pub const SWITCHES: &str = "warren_bluegreen_switch_total";
/// Seconds from a switch until every resolver answers from it.
pub const SWITCH_SECONDS: &str = "warren_bluegreen_switch_duration_seconds";
/// Ways back of blue-green releases.
pub const BLUEGREEN_ROLLBACKS: &str = "warren_bluegreen_rollback_total";
/// The version that comes in with each release under way.
pub const ROLLOUT_INCOMING: &str = "warren_rollout_incoming";
/// The phase of each release under way.
pub const ROLLOUT_PHASE: &str = "warren_rollout_phase";

/// Every metric of releases: name, kind and help. They can be served under another prefix besides.
pub const RELEASES: &[(&str, &str, &str)] = &[
    (
        DEPLOYMENTS,
        "counter",
        "Releases that ended, by strategy and status (success, failed, superseded, cancelled); what went back has failed.",
    ),
    (
        DEPLOYMENT_SECONDS,
        "histogram",
        "Seconds from the start of a release until it was accepted, or ended without that, by strategy.",
    ),
    (
        ROLLBACKS,
        "counter",
        "Ways back, by reason (health_check, deadline, hook, error_rate, latency, analysis, manual, reverted).",
    ),
    (ROLLED_BACK, "counter", "Ways back, whatever the reason."),
    (ROLLOUT_PHASE, "gauge", "1 for the phase of each release under way, by service and phase."),
    (
        ROLLOUT_INCOMING,
        "gauge",
        "1 for the version that a release brings in, by service and version.",
    ),
    (CANARY_STEPS, "counter", "Steps that canaries began, the last one included."),
    (
        CANARY_WEIGHT,
        "gauge",
        "The share of traffic of each version in percent, by service and version; 100 for the stable one at rest.",
    ),
    (CANARY_PROGRESS, "gauge", "How far each canary under way is, 0 to 100, by service."),
    (
        CANARY_ANALYSES,
        "counter",
        "Analyses that were made. 0 for now: this version has no analysis of metrics.",
    ),
    (
        CANARY_ANALYSES_FAILED,
        "counter",
        "Analyses that failed. 0 for now: this version has no analysis of metrics.",
    ),
    (
        CANARY_ERROR_RATE,
        "gauge",
        "The share of failed requests of each version, by service and version. No series for now: this version has no \
         analysis of metrics.",
    ),
    (CANARY_ROLLBACKS, "counter", "Ways back of canaries."),
    (SWITCHES, "counter", "Switches of all traffic to the new version by blue-green releases."),
    (
        SWITCH_SECONDS,
        "histogram",
        "Seconds from such a switch until every resolver answers from it.",
    ),
    (BLUEGREEN_ROLLBACKS, "counter", "Ways back of blue-green releases."),
];

/// Every other metric of this crate: name, kind and help. The reference page is generated from it.
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
        "Sessions that were refused, by reason (not_leading, invalid, copied, rejected, busy).",
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
    (
        PROBES,
        "counter",
        "Questions to nodes whether they reach a silent one, by outcome (asked; reached, missed: as they answered).",
    ),
    (DISPATCH_MESSAGES, "counter", "Messages to agents, by kind (full, assign, traffic)."),
    (DISPATCH_SECONDS, "histogram", "Seconds from hearing of a change to queueing its messages."),
    (DISPATCH_RESYNCS, "counter", "Fulls that were sent because a node had diverged."),
    (HOOKS, "counter", "Calls of hooks, by point and outcome (delivered, failed)."),
    (HOOKS_WAITING, "gauge", "Calls of hooks that are to be made."),
    (RELAYS, "gauge", "Requests into nodes that are open."),
    (RELAYS_OPENED, "counter", "Requests into nodes, by kind (resolve, logs, exec)."),
    (
        CALLS_REFUSED,
        "counter",
        "Calls that were refused because of who asked, by what they need, or because of how often (rate, tries).",
    ),
    (CONNECTIONS, "gauge", "Connections to the port of a manager, by who has them (node, guest)."),
    (
        CONNECTIONS_CUT,
        "counter",
        "Connections that were not taken (all, guests, address: there were too many) or were cut (displaced by a newer \
         one of the same address, idle), by reason.",
    ),
    (MEMBER_CHANGES, "counter", "Changes of who votes in Raft, by outcome (made, failed)."),
    (JOINS, "counter", "Machines that asked to join, by outcome (let_in, refused)."),
    (
        FILES_FETCHED,
        "counter",
        "Secrets and configs that nodes asked for, by outcome (given, refused).",
    ),
];

/// Gives the installed recorder the help text of every metric. Called once, after the recorder is installed.
pub fn describe() {
    for (name, kind, help) in ALL.iter().chain(RELEASES).chain(crate::api::metrics::ALL) {
        match *kind {
            "counter" => describe_counter!(*name, *help),
            "gauge" => describe_gauge!(*name, *help),
            _ => describe_histogram!(*name, *help),
        }
    }
}

/// The help of one of the metrics of releases; empty for any other name.
pub(crate) fn help(name: &str) -> &'static str {
    RELEASES.iter().find(|(is, _, _)| *is == name).map_or("", |(_, _, help)| help)
}

/// Makes the counters of releases known before there is anything to count, so that an increase from 0 is seen.
pub(crate) fn releases_begin() {
    for strategy in [Strategy::Rolling, Strategy::BlueGreen, Strategy::Canary, Strategy::Recreate] {
        for outcome in [Outcome::Completed, Outcome::Failed] {
            deployments(strategy, outcome, 0);
        }
    }
    for trigger in Trigger::ALL {
        counter!(ROLLBACKS, "reason" => trigger.to_string()).increment(0);
    }
    counter!(ROLLED_BACK).increment(0);
    counter!(CANARY_STEPS).increment(0);
    counter!(CANARY_ANALYSES).increment(0);
    counter!(CANARY_ANALYSES_FAILED).increment(0);
    counter!(CANARY_ROLLBACKS).increment(0);
    counter!(SWITCHES).increment(0);
    counter!(BLUEGREEN_ROLLBACKS).increment(0);
}

fn deployments(strategy: Strategy, outcome: Outcome, count: u64) {
    let status = match outcome {
        Outcome::Completed => "success",
        Outcome::RolledBack | Outcome::Failed => "failed",
        Outcome::Superseded => "superseded",
        Outcome::Cancelled => "cancelled",
    };
    let strategy = strategy.to_string();
    counter!(DEPLOYMENTS, "strategy" => strategy, "status" => status).increment(count);
}

pub(crate) fn deployed(strategy: Strategy, outcome: Outcome, took: Option<Duration>) {
    deployments(strategy, outcome, 1);
    if let Some(took) = took {
        let strategy = strategy.to_string();
        histogram!(DEPLOYMENT_SECONDS, "strategy" => strategy).record(took.as_secs_f64());
    }
}

pub(crate) fn promoted() {
    counter!(CANARY_STEPS).increment(1);
}

pub(crate) fn rolled_back(strategy: Strategy, trigger: Trigger) {
    counter!(ROLLBACKS, "reason" => trigger.to_string()).increment(1);
    counter!(ROLLED_BACK).increment(1);
    match strategy {
        Strategy::Canary => counter!(CANARY_ROLLBACKS).increment(1),
        Strategy::BlueGreen => counter!(BLUEGREEN_ROLLBACKS).increment(1),
        Strategy::Rolling | Strategy::Recreate => {}
    }
}

pub(crate) fn switched() {
    counter!(SWITCHES).increment(1);
}

pub(crate) fn switch_seen(took: Duration) {
    histogram!(SWITCH_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn hook_done(on: HookPoint, delivered: bool) {
    let outcome = if delivered { "delivered" } else { "failed" };
    counter!(HOOKS, "point" => on.to_string(), "outcome" => outcome).increment(1);
}

pub(crate) fn hooks_waiting(count: usize) {
    gauge!(HOOKS_WAITING).set(float(count));
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

pub(crate) fn probes(outcome: &'static str, count: usize) {
    counter!(PROBES, "outcome" => outcome).increment(count as u64);
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

pub(crate) fn refused(need: &'static str) {
    counter!(CALLS_REFUSED, "need" => need).increment(1);
}

/// How many connections of nodes and of guests stand.
pub fn connections(nodes: usize, guests: usize) {
    gauge!(CONNECTIONS, "who" => "node").set(float(nodes));
    gauge!(CONNECTIONS, "who" => "guest").set(float(guests));
}

/// Connections were not taken, or cut.
pub fn connections_cut(reason: &'static str, count: usize) {
    counter!(CONNECTIONS_CUT, "reason" => reason).increment(count as u64);
}

pub(crate) fn joined(let_in: bool) {
    let outcome = if let_in { "let_in" } else { "refused" };
    counter!(JOINS, "outcome" => outcome).increment(1);
}

pub(crate) fn file_fetched(given: bool) {
    let outcome = if given { "given" } else { "refused" };
    counter!(FILES_FETCHED, "outcome" => outcome).increment(1);
}

pub(crate) fn members_changed(made: bool) {
    let outcome = if made { "made" } else { "failed" };
    counter!(MEMBER_CHANGES, "outcome" => outcome).increment(1);
}

pub(crate) fn relay_opened(kind: &'static str) {
    counter!(RELAYS_OPENED, "kind" => kind).increment(1);
}

/// Exact up to 2^53, far past any of these.
#[allow(clippy::cast_precision_loss, reason = "metrics are floats; the loss begins at 2^53")]
fn float(count: usize) -> f64 {
    count as f64
}
