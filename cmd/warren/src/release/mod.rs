//! Releases as people see them: the lines that say how far one is, and the wait for its end.

mod follow;
mod page;
mod view;

pub use follow::{Aim, Show, follow, number, number_of, one};
pub use page::page;
pub use view::queued;

use crate::output;
use std::time::Duration;
use warren_wire::v1;

/// A share in thousandths as `25%` or `2.5%`.
pub fn share(per_mille: u32) -> String {
    match per_mille % 10 {
        0 => format!("{}%", per_mille / 10),
        tenth => format!("{}.{tenth}%", per_mille / 10),
    }
}

/// Milliseconds as people say them.
pub fn span(ms: u64) -> String {
    output::duration(Duration::from_millis(ms))
}

/// `v1 -> v2`, or `v1` alone in a first deployment.
pub fn way(rollout: &v1::Rollout) -> String {
    match rollout.from_revision {
        0 => format!("v{}", rollout.to_revision),
        from => format!("v{from} -> v{}", rollout.to_revision),
    }
}

/// How a release brings its version in, in a word. A rollback that goes straight is a switch, whatever the strategy of
/// its service is.
pub fn shape(rollout: &v1::Rollout) -> &str {
    let tried = |step: &v1::Step| step.weight_per_mille == Some(0) && step.hold_ms == 0;
    let straight = rollout.kind == "rollback"
        && rollout.strategy == "blue-green"
        && rollout.plan.first().is_some_and(tried);
    if straight { "one switch" } else { &rollout.strategy }
}

/// How far a release under way is, in a few words: `canary v1 -> v2: holding, step 2 of 4, 25%`.
pub fn brief(rollout: &v1::Rollout) -> String {
    let mut text = format!("{} {}: {}", shape(rollout), way(rollout), standing(rollout));
    for pause in &rollout.pauses {
        text.push_str(&format!(", paused {pause}"));
    }
    let asks = matches!(rollout.phase.as_str(), "preparing" | "gating");
    if asks && !rollout.approval_wanted.is_empty() {
        text.push_str(", waits for approval");
    }
    text
}

/// The phase, the step and the share: `holding, step 2 of 4, 25%`.
pub fn standing(rollout: &v1::Rollout) -> String {
    let mut text =
        if rollout.outcome.is_empty() { &rollout.phase } else { &rollout.outcome }.clone();
    if rollout.steps > 0 && rollout.step > 0 {
        text.push_str(&format!(", step {} of {}", rollout.step, rollout.steps));
    }
    text.push_str(&format!(", {}", share(rollout.weight_per_mille)));
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A canary in the hold of its second step.
    pub fn canary() -> v1::Rollout {
        let weight = |per_mille, hold_ms| v1::Step {
            weight_per_mille: Some(per_mille),
            hold_ms,
            ..Default::default()
        };
        let rule = v1::ApprovalRule { roles: vec!["approver".into()], min: 1 };
        let tasks = |revision, live, ready, per_mille| v1::RevisionTasks {
            revision,
            live,
            ready,
            per_mille: Some(per_mille),
        };
        let moment = |after_ms, action: &str, text: &str| v1::Moment {
            at_unix_ms: 1_000_000 + after_ms,
            after_ms,
            by: if action == "started" { "ann" } else { "warren" }.into(),
            text: text.into(),
            action: action.into(),
        };
        v1::Rollout {
            id: "r7".into(),
            service_id: "s1".into(),
            service: "web".into(),
            from_revision: 1,
            to_revision: 2,
            strategy: "canary".into(),
            phase: "holding".into(),
            attempt: 1,
            step: 2,
            steps: 4,
            progress_percent: 25,
            started_by: "ann".into(),
            started_unix_ms: 1_000_000,
            waits: vec!["holding for another 228 s".into()],
            kind: "update".into(),
            weight_per_mille: 250,
            phase_for_ms: 72_000,
            held_ms: 72_000,
            hold_ms: 300_000,
            plan: vec![
                weight(100, 300_000),
                weight(250, 300_000),
                v1::Step { approve: Some(rule), ..weight(500, 300_000) },
                weight(1000, 0),
            ],
            tasks: vec![tasks(1, 4, 4, 750), tasks(2, 2, 1, 250)],
            timeline: vec![
                moment(0, "started", "started"),
                moment(9_000, "entered", "step 1: holding"),
                moment(309_000, "shifted", "25% of the traffic to the new revision"),
                moment(310_000, "entered", "step 2: holding"),
            ],
            cause: "a faster answer".into(),
            duration_ms: 382_000,
            from_image: "web:v1".into(),
            to_image: "web:v2".into(),
            to_digest: "sha256:5f70".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_release_is_told_in_a_few_words() {
        assert_eq!(brief(&canary()), "canary v1 -> v2: holding, step 2 of 4, 25%");
        let first = v1::Rollout {
            strategy: "rolling".into(),
            phase: "updating".into(),
            to_revision: 1,
            pauses: vec!["by ann: lunch".into()],
            weight_per_mille: 333,
            ..Default::default()
        };
        assert_eq!(brief(&first), "rolling v1: updating, 33.3%, paused by ann: lunch");
        let asks = v1::Rollout {
            phase: "gating".into(),
            approval_wanted: "step 2 needs 1 approval".into(),
            ..canary()
        };
        assert!(brief(&asks).ends_with(", waits for approval"), "{}", brief(&asks));
        let step = v1::Step { weight_per_mille: Some(0), ..Default::default() };
        let back = v1::Rollout {
            kind: "rollback".into(),
            strategy: "blue-green".into(),
            plan: vec![step],
            ..canary()
        };
        assert!(brief(&back).starts_with("one switch v1 -> v2"), "{}", brief(&back));
    }
}
