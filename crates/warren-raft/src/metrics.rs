//! What this crate measures.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;

/// Seconds one durable commit of the log engine took, fsync and all.
pub const COMMIT_SECONDS: &str = "warren_raft_commit_seconds";
/// Durable commits of the log engine, by outcome (`ok`, `error`).
pub const COMMITS: &str = "warren_raft_commits_total";
/// Commands that shared one log entry, and so one fsync.
pub const BATCH_COMMANDS: &str = "warren_raft_batch_commands";
/// Proposals, by outcome (`ok`, `not_leader`, `overloaded`, `too_large`, `storage`, `timeout`, `stopped`).
pub const PROPOSALS: &str = "warren_raft_proposals_total";
/// Seconds from a proposal to its answer.
pub const PROPOSE_SECONDS: &str = "warren_raft_propose_seconds";
/// The current Raft term.
pub const TERM: &str = "warren_raft_term";
/// 1 while this manager leads, else 0.
pub const LEADING: &str = "warren_raft_leading";
/// Index of the last log entry here.
pub const LAST_INDEX: &str = "warren_raft_last_index";
/// Index of the last entry applied here.
pub const APPLIED_INDEX: &str = "warren_raft_applied_index";
/// Index up to which the newest snapshot here reaches.
pub const SNAPSHOT_INDEX: &str = "warren_raft_snapshot_index";
/// Snapshots, by origin (`built`, `installed`).
pub const SNAPSHOTS: &str = "warren_raft_snapshots_total";
/// Seconds it took to build and store a snapshot.
pub const SNAPSHOT_SECONDS: &str = "warren_raft_snapshot_seconds";
/// Size of the last snapshot built.
pub const SNAPSHOT_BYTES: &str = "warren_raft_snapshot_bytes";
/// Free space where the log lies.
pub const DISK_FREE_BYTES: &str = "warren_raft_disk_free_bytes";

/// Every metric of this crate: name, kind and help. The reference page is generated from it.
pub const ALL: &[(&str, &str, &str)] = &[
    (
        COMMIT_SECONDS,
        "histogram",
        "Seconds one durable commit of the log engine took, fsync included.",
    ),
    (COMMITS, "counter", "Durable commits of the log engine, by outcome (ok, error)."),
    (BATCH_COMMANDS, "histogram", "Commands that shared one log entry, and so one fsync."),
    (
        PROPOSALS,
        "counter",
        "Proposals, by outcome (ok, not_leader, overloaded, too_large, storage, timeout, stopped).",
    ),
    (PROPOSE_SECONDS, "histogram", "Seconds from a proposal to its answer."),
    (TERM, "gauge", "The current Raft term."),
    (LEADING, "gauge", "1 while this manager leads, else 0."),
    (LAST_INDEX, "gauge", "Index of the last log entry here."),
    (APPLIED_INDEX, "gauge", "Index of the last entry applied here."),
    (SNAPSHOT_INDEX, "gauge", "Index up to which the newest snapshot here reaches."),
    (SNAPSHOTS, "counter", "Snapshots, by origin (built, installed)."),
    (SNAPSHOT_SECONDS, "histogram", "Seconds it took to build and store a snapshot."),
    (SNAPSHOT_BYTES, "gauge", "Size of the last snapshot built, in bytes."),
    (DISK_FREE_BYTES, "gauge", "Free space where the log lies, in bytes."),
];

/// Gives the installed recorder the help text of every metric. Called once, after the recorder is installed.
pub fn describe() {
    for (name, kind, help) in ALL {
        match *kind {
            "counter" => describe_counter!(*name, *help),
            "gauge" => describe_gauge!(*name, *help),
            _ => describe_histogram!(*name, *help),
        }
    }
}

pub(crate) fn commit(took: Duration, ok: bool) {
    histogram!(COMMIT_SECONDS).record(took.as_secs_f64());
    counter!(COMMITS, "outcome" => if ok { "ok" } else { "error" }).increment(1);
}

pub(crate) fn batch(commands: usize) {
    histogram!(BATCH_COMMANDS).record(float(commands as u64));
}

pub(crate) fn proposed(outcome: &'static str, took: Duration) {
    counter!(PROPOSALS, "outcome" => outcome).increment(1);
    histogram!(PROPOSE_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn snapshot_built(took: Duration, bytes: usize) {
    counter!(SNAPSHOTS, "origin" => "built").increment(1);
    histogram!(SNAPSHOT_SECONDS).record(took.as_secs_f64());
    gauge!(SNAPSHOT_BYTES).set(float(bytes as u64));
}

pub(crate) fn snapshot_installed() {
    counter!(SNAPSHOTS, "origin" => "installed").increment(1);
}

pub(crate) fn position(term: u64, last: u64, applied: u64, snapshot: u64, leading: bool) {
    gauge!(TERM).set(float(term));
    gauge!(LAST_INDEX).set(float(last));
    gauge!(APPLIED_INDEX).set(float(applied));
    gauge!(SNAPSHOT_INDEX).set(float(snapshot));
    gauge!(LEADING).set(if leading { 1.0 } else { 0.0 });
}

pub(crate) fn disk_free(bytes: u64) {
    gauge!(DISK_FREE_BYTES).set(float(bytes));
}

/// Exact up to 2^53, far past any of these.
#[allow(clippy::cast_precision_loss, reason = "metrics are floats; the loss begins at 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
