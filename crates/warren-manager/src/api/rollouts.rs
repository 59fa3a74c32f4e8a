//! Releases: show them and steer them.

use super::actor::{actor, caller};
use super::read::Reading;
use super::{Api, CALL_TIMEOUT, Look, lookup};
use crate::freeze::is_window;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use v1::rollouts_server::Rollouts;
use warren_core::command::{Applied, Command, Rejection, Steer};
use warren_core::id::RevisionNumber;
use warren_core::rollout::{Back, Promotion, REASON_BYTES_MAX};
use warren_core::service::{Actor, Service};
use warren_core::units::Weight;
use warren_wire::status::ApiError;
use warren_wire::{v1, view};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Rollouts for Api {
    type WatchRolloutStream = BoxStream<'static, Result<v1::WatchRolloutResponse, Status>>;

    async fn get_rollout(
        &self,
        request: Request<v1::GetRolloutRequest>,
    ) -> Answer<v1::GetRolloutResponse> {
        let how = Reading::of(&request);
        let text = request.into_inner().service_id;
        let show = |look: &Look| {
            let service = lookup::service(&look.state, &text)?;
            Ok(v1::GetRolloutResponse { rollout: Some(live_or_last(look, &service)?) })
        };
        self.read("GetRollout", how, show).await
    }

    async fn watch_rollout(
        &self,
        request: Request<v1::WatchRolloutRequest>,
    ) -> Answer<Self::WatchRolloutStream> {
        let text = request.into_inner().service_id;
        let work = Box::pin(async move {
            let service = lookup::service(&self.look().await?.state, &text)?;
            Ok(self.watched::<v1::WatchRolloutResponse>(service.id))
        });
        self.call("WatchRollout", CALL_TIMEOUT, work).await
    }

    async fn list_rollouts(
        &self,
        request: Request<v1::ListRolloutsRequest>,
    ) -> Answer<v1::ListRolloutsResponse> {
        let how = Reading::of(&request);
        let text = request.into_inner().service_id;
        let show = |look: &Look| {
            let service = lookup::service(&look.state, &text)?;
            Ok(v1::ListRolloutsResponse { rollouts: look.sources().rollouts(&service) })
        };
        self.read("ListRollouts", how, show).await
    }

    async fn pause_rollout(
        &self,
        request: Request<v1::PauseRolloutRequest>,
    ) -> Answer<v1::PauseRolloutResponse> {
        let by = actor(&request);
        let request = request.into_inner();
        let work = Box::pin(async move {
            bounded("reason", &request.reason)?;
            let steer = Steer::Pause { reason: request.reason };
            let rollout = Some(self.steer(&request.service_id, steer, by).await?);
            Ok(v1::PauseRolloutResponse { rollout })
        });
        self.call("PauseRollout", CALL_TIMEOUT, work).await
    }

    async fn resume_rollout(
        &self,
        request: Request<v1::ResumeRolloutRequest>,
    ) -> Answer<v1::ResumeRolloutResponse> {
        let by = actor(&request);
        let text = request.into_inner().service_id;
        let work = Box::pin(async move {
            let rollout = Some(self.steer(&text, Steer::Resume, by).await?);
            Ok(v1::ResumeRolloutResponse { rollout })
        });
        self.call("ResumeRollout", CALL_TIMEOUT, work).await
    }

    async fn promote_rollout(
        &self,
        request: Request<v1::PromoteRolloutRequest>,
    ) -> Answer<v1::PromoteRolloutResponse> {
        let by = actor(&request);
        let request = request.into_inner();
        let work = Box::pin(async move {
            let steer = Steer::Promote(promotion(&request)?);
            let rollout = Some(self.steer(&request.service_id, steer, by).await?);
            Ok(v1::PromoteRolloutResponse { rollout })
        });
        self.call("PromoteRollout", CALL_TIMEOUT, work).await
    }

    async fn rollback_service(
        &self,
        request: Request<v1::RollbackServiceRequest>,
    ) -> Answer<v1::RollbackServiceResponse> {
        let by = actor(&request);
        let work = Box::pin(self.rollback(request.into_inner(), by));
        self.call("RollbackService", CALL_TIMEOUT, work).await
    }

    async fn retry_rollout(
        &self,
        request: Request<v1::RetryRolloutRequest>,
    ) -> Answer<v1::RetryRolloutResponse> {
        let by = actor(&request);
        let text = request.into_inner().service_id;
        let work = Box::pin(async move {
            let rollout = Some(self.steer(&text, Steer::Retry, by).await?);
            Ok(v1::RetryRolloutResponse { rollout })
        });
        self.call("RetryRollout", CALL_TIMEOUT, work).await
    }

    async fn approve_rollout(
        &self,
        request: Request<v1::ApproveRolloutRequest>,
    ) -> Answer<v1::ApproveRolloutResponse> {
        let caller = caller(&request);
        let by = caller.actor();
        let request = request.into_inner();
        let work = Box::pin(async move {
            bounded("comment", &request.comment)?;
            let state = self.look().await?.state;
            let service = lookup::service(&state, &request.service_id)?;
            let wanted = service.rollout.as_ref().and_then(|live| live.approval_wanted());
            let roles = wanted.map_or_else(Vec::new, |(_, rule)| caller.roles(&rule.roles));
            let steer = Steer::Approve { roles, comment: request.comment, step: request.step };
            let rollout = Some(self.steer(&request.service_id, steer, by).await?);
            Ok(v1::ApproveRolloutResponse { rollout })
        });
        self.call("ApproveRollout", CALL_TIMEOUT, work).await
    }

    async fn set_freeze(
        &self,
        request: Request<v1::SetFreezeRequest>,
    ) -> Answer<v1::SetFreezeResponse> {
        let by = actor(&request);
        let work = Box::pin(self.freeze(request.into_inner(), by));
        self.call("SetFreeze", CALL_TIMEOUT, work).await
    }

    async fn list_freezes(
        &self,
        request: Request<v1::ListFreezesRequest>,
    ) -> Answer<v1::ListFreezesResponse> {
        let show = |look: &Look| {
            let state = &look.state;
            let mut services: Vec<_> = state.services().collect();
            services.sort_by_key(|service| &service.spec.name);
            let all = state.freeze().map(|freeze| view::freeze(freeze, ""));
            let own = services.into_iter().filter_map(|service| {
                Some(view::freeze(service.frozen.as_ref()?, service.spec.name.as_str()))
            });
            Ok(v1::ListFreezesResponse { freezes: all.into_iter().chain(own).collect() })
        };
        self.read("ListFreezes", Reading::of(&request), show).await
    }
}

impl Api {
    /// Asks something of a service's release, and shows the release after that.
    async fn steer(&self, text: &str, steer: Steer, by: Actor) -> Result<v1::Rollout, ApiError> {
        let service = lookup::service(&self.look().await?.state, text)?.id;
        self.propose(Command::SteerRollout { service, steer, by }).await?;
        let look = self.glance();
        let shown = look.state.service(service);
        live_or_last(&look, shown.ok_or(Rejection::NoService(service))?)
    }

    async fn rollback(
        &self,
        request: v1::RollbackServiceRequest,
        by: Actor,
    ) -> Result<v1::RollbackServiceResponse, ApiError> {
        bounded("reason", &request.reason)?;
        if request.now && request.gradual {
            let problem = "says the opposite of now: give one of them";
            return Err(ApiError::field("gradual", problem));
        }
        let service = lookup::service(&self.look().await?.state, &request.service_id)?.id;
        let command = Command::RollbackService {
            service,
            to: (request.to_revision != 0).then_some(RevisionNumber(request.to_revision)),
            careful: request.careful,
            back: if request.gradual { Back::Gradual } else { Back::Immediate },
            by,
            reason: request.reason,
        };
        let applied = self.propose(command).await?;
        let look = self.glance();
        let shown = look.state.service(service).ok_or(Rejection::NoService(service))?;
        let rollout = Some(live_or_last(&look, shown)?);
        let dropped = match applied {
            Applied::Rollout { dropped, .. } => dropped.map(|of| of.to_string()),
            Applied::Done
            | Applied::Service { .. }
            | Applied::Node { .. }
            | Applied::Tasks(_)
            | Applied::Queued { .. } => None,
        };
        Ok(v1::RollbackServiceResponse { rollout, dropped: dropped.unwrap_or_default() })
    }

    async fn freeze(
        &self,
        request: v1::SetFreezeRequest,
        by: Actor,
    ) -> Result<v1::SetFreezeResponse, ApiError> {
        bounded("reason", &request.reason)?;
        if request.frozen && request.reason.trim().is_empty() {
            let problem = "is empty: say why, so that those who are held know whom to ask";
            return Err(ApiError::field("reason", problem));
        }
        let state = self.look().await?.state;
        let (service, holds) = match request.service_id.as_str() {
            "" => (None, state.freeze().cloned()),
            text => {
                let service = lookup::service(&state, text)?;
                (Some(service.id), service.frozen.clone())
            }
        };
        let reason = request.frozen.then_some(request.reason);
        // A person's freeze takes the place of a window's, and of no other person's.
        let seen = holds.filter(|holds| !request.frozen || is_window(holds));
        let name = state.services().find(|one| Some(one.id) == service);
        let name = name.map_or("", |service| service.spec.name.as_str());
        let replaced = seen.as_ref().map(|freeze| view::freeze(freeze, name));
        self.propose(Command::SetFreeze { service, reason, by, seen }).await?;
        Ok(v1::SetFreezeResponse { replaced })
    }
}

fn live_or_last(look: &Look, service: &Service) -> Result<v1::Rollout, ApiError> {
    let missing = || Rejection::NoRollout {
        name: service.spec.name.clone(),
        last: String::new(),
        instead: "begin one with `warren service update`".to_owned(),
    };
    look.sources().live_or_last(service).ok_or_else(|| missing().into())
}

fn promotion(request: &v1::PromoteRolloutRequest) -> Result<Promotion, ApiError> {
    match (request.to_percent, request.full) {
        (Some(_), true) => {
            Err(ApiError::field("full", "says another share than to_percent: give one of them"))
        }
        (None, true) => Ok(Promotion::Full),
        (None, false) => Ok(Promotion::Next),
        (Some(percent), false) => {
            let weight = u16::try_from(percent).ok().and_then(|percent| percent.checked_mul(10));
            let weight = weight.and_then(Weight::from_per_mille);
            let problem = || format!("{percent} is not a percentage: write 1 to 100");
            let weight = weight.ok_or_else(|| ApiError::field("to_percent", problem()))?;
            Ok(Promotion::To(weight))
        }
    }
}

/// Words of a person that are kept with a release.
pub(super) fn bounded(field: &str, words: &str) -> Result<(), ApiError> {
    if words.len() > REASON_BYTES_MAX {
        let problem = format!("is longer than {REASON_BYTES_MAX} bytes");
        return Err(ApiError::field(field, problem));
    }
    Ok(())
}
