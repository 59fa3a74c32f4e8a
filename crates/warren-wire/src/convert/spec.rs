//! Whole service specs.

use super::{labels, labels_text, span, template, text, update, word};
use crate::v1;
use v1::service_spec::Mode as Wanted;
use warren_core::spec::{
    CONSTRAINTS_MAX, FieldError, Hook, LABELS_MAX, Mode, OnDisconnect, Placement,
    RESTART_DELAY_MIN, RestartCondition, RestartPolicy, STOP_AFTER_MIN, ServiceSpec, Strategy,
    UpdateSettings,
};
use warren_core::time::millis;

/// Replicas where a spec says nothing.
const REPLICAS_DEFAULT: u32 = 1;

/// Reads what a user wants to run.
///
/// # Errors
/// The first field that cannot be what it is, by its path in the API.
pub fn parse(spec: v1::ServiceSpec) -> Result<ServiceSpec, FieldError> {
    parse_over(spec, &[])
}

/// Reads what a user wants to run in place of a service that has the hooks `present`, whose keys can be kept.
///
/// # Errors
/// As [`parse`].
pub fn parse_over(spec: v1::ServiceSpec, present: &[Hook]) -> Result<ServiceSpec, FieldError> {
    let mode = match spec.mode {
        None => Mode::Replicated { replicas: REPLICAS_DEFAULT },
        Some(Wanted::Replicated(wanted)) => {
            Mode::Replicated { replicas: wanted.replicas.unwrap_or(REPLICAS_DEFAULT) }
        }
        Some(Wanted::Global(v1::Global {})) => Mode::Global,
    };
    let name = text("name", &spec.name)?;
    let template = spec.template.unwrap_or_default();
    let mut config = spec.update_config.unwrap_or_default();
    config.hooks.get_or_insert_default();
    let defaults = UpdateSettings { hooks: present.to_vec(), ..UpdateSettings::default() };
    let mut update = update::merge(defaults, &config).map_err(|e| e.within("update_config"))?;
    if let Some(named) = spec.strategy {
        update.strategy = strategy("strategy", named)?;
    }
    update::check_sugar(&config, update.strategy).map_err(|e| e.within("update_config"))?;
    ServiceSpec {
        name,
        mode,
        template: template::parse(template).map_err(|e| e.within("template"))?,
        placement: placement(spec.placement.unwrap_or_default())
            .map_err(|e| e.within("placement"))?,
        restart: restart(spec.restart.unwrap_or_default()).map_err(|e| e.within("restart"))?,
        update,
        labels: labels("labels", spec.labels)?,
    }
    .checked()
}

/// The message that parses to `spec`.
#[must_use]
pub fn render(spec: &ServiceSpec) -> v1::ServiceSpec {
    let mode = match spec.mode {
        Mode::Replicated { replicas } => {
            Wanted::Replicated(v1::Replicated { replicas: Some(replicas) })
        }
        Mode::Global => Wanted::Global(v1::Global {}),
    };
    v1::ServiceSpec {
        name: spec.name.to_string(),
        mode: Some(mode),
        template: Some(template::render(&spec.template)),
        placement: Some(v1::Placement {
            constraints: spec.placement.constraints.iter().map(ToString::to_string).collect(),
            spread: spec.placement.spread.iter().map(ToString::to_string).collect(),
            max_per_node: spec.placement.max_per_node.unwrap_or(0),
        }),
        restart: Some(render_restart(&spec.restart)),
        strategy: Some(render_strategy(spec.update.strategy).into()),
        update_config: Some(update::render(&spec.update)),
        labels: labels_text(&spec.labels),
    }
}

/// The shape of a rollout.
///
/// # Errors
/// A number that this version does not know.
pub fn strategy(field: &str, number: i32) -> Result<Strategy, FieldError> {
    Ok(match super::variant(field, number)? {
        v1::DeploymentStrategy::Rolling => Strategy::Rolling,
        v1::DeploymentStrategy::BlueGreen => Strategy::BlueGreen,
        v1::DeploymentStrategy::Canary => Strategy::Canary,
        v1::DeploymentStrategy::Recreate => Strategy::Recreate,
    })
}

/// The enum value of a rollout's shape.
#[must_use]
pub const fn render_strategy(strategy: Strategy) -> v1::DeploymentStrategy {
    match strategy {
        Strategy::Rolling => v1::DeploymentStrategy::Rolling,
        Strategy::BlueGreen => v1::DeploymentStrategy::BlueGreen,
        Strategy::Canary => v1::DeploymentStrategy::Canary,
        Strategy::Recreate => v1::DeploymentStrategy::Recreate,
    }
}

fn placement(placement: v1::Placement) -> Result<Placement, FieldError> {
    let most = |field: &str, count: usize, most: usize| {
        let problem = format!("{count} is more than {most}, the most there may be");
        if count > most { Err(FieldError::new(field, problem)) } else { Ok(()) }
    };
    most("constraints", placement.constraints.len(), CONSTRAINTS_MAX)?;
    most("spread", placement.spread.len(), LABELS_MAX)?;
    let constraints = placement.constraints.iter().enumerate();
    let spread = placement.spread.iter().enumerate();
    Ok(Placement {
        constraints: constraints
            .map(|(i, constraint)| text(&format!("constraints[{i}]"), constraint))
            .collect::<Result<_, _>>()?,
        spread: spread
            .map(|(i, key)| text(&format!("spread[{i}]"), key))
            .collect::<Result<_, _>>()?,
        max_per_node: (placement.max_per_node > 0).then_some(placement.max_per_node),
    })
}

const CONDITIONS: [(&str, RestartCondition); 3] = [
    ("any", RestartCondition::Any),
    ("on-failure", RestartCondition::OnFailure),
    ("never", RestartCondition::Never),
];

/// Reads when and how often a task is started again.
///
/// # Errors
/// An unknown condition, or a wait too short or too long.
pub fn restart(policy: v1::RestartPolicy) -> Result<RestartPolicy, FieldError> {
    let default = RestartPolicy::default();
    let condition = match policy.condition.as_str() {
        "" => default.condition,
        condition => word("condition", condition, &CONDITIONS)?,
    };
    let delay = span("delay_ms", policy.delay_ms, RESTART_DELAY_MIN, default.delay)?;
    let longest = default.delay_max.max(delay);
    Ok(RestartPolicy {
        condition,
        delay,
        delay_max: span("delay_max_ms", policy.delay_max_ms, delay, longest)?,
        attempts: policy.attempts.unwrap_or(default.attempts),
        window: span("window_ms", policy.window_ms, super::NOT_ZERO, default.window)?,
        on_disconnect: on_disconnect(policy.stop_after_ms)?,
    })
}

fn on_disconnect(stop_after_ms: Option<u64>) -> Result<OnDisconnect, FieldError> {
    let Some(ms) = stop_after_ms.filter(|ms| *ms > 0) else { return Ok(OnDisconnect::Keep) };
    span("stop_after_ms", Some(ms), STOP_AFTER_MIN, STOP_AFTER_MIN).map(OnDisconnect::StopAfter)
}

/// The message that parses to `policy`.
#[must_use]
pub fn render_restart(policy: &RestartPolicy) -> v1::RestartPolicy {
    let condition = match policy.condition {
        RestartCondition::Any => "any",
        RestartCondition::OnFailure => "on-failure",
        RestartCondition::Never => "never",
    };
    v1::RestartPolicy {
        condition: condition.to_owned(),
        delay_ms: Some(millis(policy.delay)),
        delay_max_ms: Some(millis(policy.delay_max)),
        attempts: Some(policy.attempts),
        window_ms: Some(millis(policy.window)),
        stop_after_ms: policy.on_disconnect.stop_after().map(millis),
    }
}
