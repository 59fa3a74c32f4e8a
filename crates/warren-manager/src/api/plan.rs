//! What is shown before an update: the named settings, and what the update would do.

use super::services::{Known, given};
use super::{Api, lookup};
use warren_core::command::Rejection;
use warren_core::id::Generation;
use warren_core::rollout::{Forecast, forecast};
use warren_core::service::Service;
use warren_core::spec::{ProfileName, profile};
use warren_core::time::millis;
use warren_wire::convert::{spec, update};
use warren_wire::status::ApiError;
use warren_wire::v1;

impl Api {
    /// What an update would do. The image is resolved as for the update, and nothing is proposed.
    pub(super) async fn plan(
        &self,
        request: v1::PlanUpdateRequest,
    ) -> Result<v1::PlanUpdateResponse, ApiError> {
        let request = request.update.unwrap_or_default();
        let state = self.look().await?.state;
        let service = lookup::service(&state, &request.service_id)?;
        check_generation(&service, request.expect_generation)?;
        let spec = self.intent(&state, &service, &request, &mut Known::default()).await?;
        let overrides = given(&request.override_freeze).is_some();
        Ok(render(&forecast(&state, &service, &spec, overrides)?))
    }

    /// The named settings.
    pub(super) fn profiles() -> v1::ListProfilesResponse {
        let profiles = ProfileName::ALL.into_iter().map(|name| {
            let settings = profile(name);
            v1::Profile {
                name: name.to_string(),
                about: name.about().to_owned(),
                strategy: Some(spec::render_strategy(settings.strategy).into()),
                update_config: Some(update::render(&settings)),
            }
        });
        v1::ListProfilesResponse { profiles: profiles.collect() }
    }
}

fn check_generation(service: &Service, expected: u64) -> Result<(), ApiError> {
    if expected == 0 || expected == service.generation.0 {
        return Ok(());
    }
    let conflict = Rejection::Conflict {
        name: service.spec.name.clone(),
        expected: Generation(expected),
        found: service.generation,
        by: service.changed_by.clone(),
    };
    Err(conflict.into())
}

fn render(forecast: &Forecast) -> v1::PlanUpdateResponse {
    let steps = forecast.steps.iter().map(|step| v1::PlannedStep {
        text: step.text.clone(),
        at_least_ms: millis(step.at_least),
    });
    v1::PlanUpdateResponse {
        changes: forecast.changes,
        steps: steps.collect(),
        tasks_max: forecast.tasks_max,
        replicas: forecast.replicas,
        at_least_ms: millis(forecast.at_least()),
        triggers: forecast.triggers.clone(),
        notes: forecast.notes.clone(),
        strategy: forecast.strategy.to_string(),
        from_revision: forecast.from.map_or(0, |number| number.0),
        to_revision: forecast.to.map_or(0, |number| number.0),
    }
}
