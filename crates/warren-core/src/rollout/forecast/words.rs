//! The sentences of a forecast.

use crate::service::Service;
use crate::spec::{ApprovalRule, FailureAction, Step, UpdateSettings};
use crate::units::{Weight, counted, span};

/// What a step does with traffic, how long, and who is asked at its end.
pub(super) fn step_words(step: &Step, weight: Weight) -> String {
    let mut text = if weight == Weight::ZERO {
        "without traffic".to_owned()
    } else {
        format!("{weight} of the traffic")
    };
    if !step.hold.is_zero() {
        text = format!("{text}, kept for {}", span(step.hold));
    }
    if step.analyze {
        text = format!("{text}, then the analysis must pass");
    }
    if let Some(rule) = &step.approve {
        text = format!("{text}, then {}", approvals(rule));
    }
    if let Some(url) = &step.run {
        text = format!("{text}, then {url} must answer 2xx");
    }
    text
}

/// Who must agree.
pub(super) fn approvals(rule: &ApprovalRule) -> String {
    let roles: Vec<_> = rule.roles.iter().map(ToString::to_string).collect();
    let need = counted(rule.min, "approval");
    if roles.is_empty() { need } else { format!("{need} by {}", roles.join(" or ")) }
}

/// What would set a rollback off.
pub(super) fn triggers(
    settings: &UpdateSettings,
    replicas: u32,
    new: &str,
    service: &Service,
) -> Vec<String> {
    let name = &service.spec.name;
    let mut triggers = Vec::new();
    match (settings.failure_action, service.stable) {
        (FailureAction::Rollback, Some(_)) => triggers.extend(failures(settings, replicas, new)),
        (FailureAction::Pause | FailureAction::Continue, _) | (_, None) => {}
    }
    if service.stable.is_some() {
        triggers.push(format!("a person: warren service rollback {name}"));
    }
    triggers
}

/// What follows a failure, where it is no rollback.
pub(super) const fn after_failure(action: FailureAction) -> Option<&'static str> {
    match action {
        FailureAction::Rollback => None,
        FailureAction::Pause => {
            Some("a failure pauses the release: a person resumes it or takes it back")
        }
        FailureAction::Continue => Some("failures do not stop the release: it goes on regardless"),
    }
}

/// What a release fails by.
fn failures(settings: &UpdateSettings, replicas: u32, new: &str) -> Vec<String> {
    if replicas == 0 {
        return Vec::new();
    }
    let allowed = u64::from(replicas) * u64::from(settings.max_failure_percent) / 100;
    let (deadline, progress) = (span(settings.healthy_deadline), span(settings.progress_deadline));
    let tasks = if allowed == 0 {
        format!("a task of {new} ends, or is not ready within {deadline}")
    } else {
        format!(
            "more than {allowed} of {replicas} tasks of {new} end, or are not ready within {deadline}"
        )
    };
    let mut failures =
        vec![tasks, format!("nothing moves for {progress} while tasks are waited for")];
    let mut gates: Vec<_> =
        settings.hooks.iter().map(|hook| hook.on).filter(|on| on.is_gate()).collect();
    gates.dedup();
    let own = settings.steps.iter().any(|step| step.run.is_some());
    for on in gates {
        failures.push(format!("a hook at {on} answers other than 2xx, or not at all"));
    }
    if own {
        failures.push("the hook of a step answers other than 2xx, or not at all".to_owned());
    }
    if settings.steps.iter().any(|step| step.analyze) {
        failures.push("the analysis of a step fails".to_owned());
    }
    failures
}
