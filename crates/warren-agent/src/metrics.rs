//! The metrics of this crate, each with its kind and help for the reference page.

use warren_core::converge::{Status, Step};
use warren_core::task::Phase;

pub(crate) const TASKS: &str = "warren_agent_tasks";
pub(crate) const STEPS: &str = "warren_agent_steps_total";
pub(crate) const STEP_SECONDS: &str = "warren_agent_step_seconds";
pub(crate) const RESTARTS: &str = "warren_agent_restarts_total";
pub(crate) const UNHEALTHY: &str = "warren_agent_unhealthy_total";
pub(crate) const CONNECTED: &str = "warren_agent_session_connected";
pub(crate) const SESSIONS: &str = "warren_agent_sessions_total";
pub(crate) const STATUS_QUEUE: &str = "warren_agent_status_queue";
pub(crate) const RUNTIME_UP: &str = "warren_agent_runtime_up";
pub(crate) const HELD: &str = "warren_agent_held";
pub(crate) const TRAFFIC_EPOCH: &str = "warren_agent_traffic_epoch";
pub(crate) const RELAYS: &str = "warren_agent_relays";
pub(crate) const CACHE_REBUILDS: &str = "warren_agent_cache_rebuilds_total";

/// Every metric: name, kind, help.
pub const ALL: &[(&str, &str, &str)] = &[
    (TASKS, "gauge", "Tasks assigned to this node, by state (running, ready)."),
    (
        STEPS,
        "counter",
        "Steps done for tasks, by step (fetch, create, start, stop, kill, remove) and result (ok, failed).",
    ),
    (STEP_SECONDS, "histogram", "Duration of steps done for tasks, by step."),
    (RESTARTS, "counter", "Tasks started again in place."),
    (UNHEALTHY, "counter", "Tasks found unhealthy by their check."),
    (CONNECTED, "gauge", "Whether the agent has a session with the leader (1) or not (0)."),
    (SESSIONS, "counter", "Attempts to open a session, by result (ok, failed)."),
    (STATUS_QUEUE, "gauge", "Tasks whose last status the leader has not acknowledged."),
    (RUNTIME_UP, "gauge", "Whether the container runtime answers (1) or not (0)."),
    (
        HELD,
        "gauge",
        "Whether the agent holds a stop back until a manager allows it (1) or not (0).",
    ),
    (
        TRAFFIC_EPOCH,
        "gauge",
        "The traffic epoch that the agent has published to the node's resolver.",
    ),
    (RELAYS, "gauge", "Log, exec and image requests under way on this node."),
    (CACHE_REBUILDS, "counter", "Damaged local caches that were moved aside and begun anew."),
];

/// Tells the recorder every metric's help.
pub fn describe() {
    for (name, kind, help) in ALL {
        match *kind {
            "counter" => metrics::describe_counter!(*name, *help),
            "gauge" => metrics::describe_gauge!(*name, *help),
            _ => metrics::describe_histogram!(*name, *help),
        }
    }
}

pub(crate) fn step(step: &Step, took: std::time::Duration, ok: bool) {
    let result = if ok { "ok" } else { "failed" };
    metrics::counter!(STEPS, "step" => step.name(), "result" => result).increment(1);
    metrics::histogram!(STEP_SECONDS, "step" => step.name()).record(took);
}

pub(crate) fn tasks<'a>(statuses: impl Iterator<Item = &'a Status>) {
    let (mut running, mut ready) = (0_u32, 0_u32);
    for status in statuses {
        running += u32::from(status.phase == Phase::Running);
        ready += u32::from(status.ready);
    }
    metrics::gauge!(TASKS, "state" => "running").set(running);
    metrics::gauge!(TASKS, "state" => "ready").set(ready);
}

pub(crate) fn flag(name: &'static str, on: bool) {
    metrics::gauge!(name).set(if on { 1.0 } else { 0.0 });
}

pub(crate) fn relays(open: usize) {
    metrics::gauge!(RELAYS).set(u32::try_from(open).unwrap_or(u32::MAX));
}
