//! Services: make, change, show.

use super::actor::actor;
use super::read::Reading;
use super::rollouts::bounded;
use super::{Api, CALL_TIMEOUT, Look, RESOLVE_CALL_TIMEOUT, files, lookup, update, versions};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use v1::services_server::Services;
use warren_core::State;
use warren_core::command::{Applied, Command, Rejection};
use warren_core::id::{Generation, ServiceId};
use warren_core::scheduler;
use warren_core::service::{Actor, Service};
use warren_core::spec::{Image, Mode, PinnedImage, PullPolicy, REPLICAS_MAX, ServiceSpec};
use warren_wire::status::{ApiError, Code};
use warren_wire::v1;

/// How often a change is laid over the service anew when somebody else wrote in between. Each try loses against one
/// other writer only.
const CONFLICTS_MAX: u32 = 8;

/// The image that was resolved for an update already, so that a second try does not ask for it again.
#[derive(Default)]
pub(super) struct Known(Option<((Image, PullPolicy), PinnedImage)>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Services for Api {
    type WatchServiceStream = BoxStream<'static, Result<v1::WatchServiceResponse, Status>>;

    async fn create_service(
        &self,
        request: Request<v1::CreateServiceRequest>,
    ) -> Answer<v1::CreateServiceResponse> {
        let by = actor(&request);
        let work = Box::pin(self.create(request.into_inner(), by));
        self.call("CreateService", RESOLVE_CALL_TIMEOUT, work).await
    }

    async fn update_service(
        &self,
        request: Request<v1::UpdateServiceRequest>,
    ) -> Answer<v1::UpdateServiceResponse> {
        let by = actor(&request);
        let work = Box::pin(self.update(request.into_inner(), by));
        self.call("UpdateService", RESOLVE_CALL_TIMEOUT, work).await
    }

    async fn scale_service(
        &self,
        request: Request<v1::ScaleServiceRequest>,
    ) -> Answer<v1::ScaleServiceResponse> {
        let by = actor(&request);
        let work = Box::pin(self.scale(request.into_inner(), by));
        self.call("ScaleService", CALL_TIMEOUT, work).await
    }

    async fn restart_service(
        &self,
        request: Request<v1::RestartServiceRequest>,
    ) -> Answer<v1::RestartServiceResponse> {
        let by = actor(&request);
        let text = request.into_inner().service_id;
        let work = Box::pin(async move {
            let service = lookup::service(&self.look().await?.state, &text)?.id;
            self.propose(Command::RestartService { service, by }).await?;
            Ok(v1::RestartServiceResponse { service: Some(self.shown(service)?) })
        });
        self.call("RestartService", CALL_TIMEOUT, work).await
    }

    async fn delete_service(
        &self,
        request: Request<v1::DeleteServiceRequest>,
    ) -> Answer<v1::DeleteServiceResponse> {
        let by = actor(&request);
        let text = request.into_inner().service_id;
        let work = Box::pin(async move {
            let service = lookup::service(&self.look().await?.state, &text)?.id;
            self.propose(Command::DeleteService { service, by }).await?;
            Ok(v1::DeleteServiceResponse {})
        });
        self.call("DeleteService", CALL_TIMEOUT, work).await
    }

    async fn get_service(
        &self,
        request: Request<v1::GetServiceRequest>,
    ) -> Answer<v1::GetServiceResponse> {
        let how = Reading::of(&request);
        let text = request.into_inner().service_id;
        let show = |look: &Look| {
            let service = lookup::service(&look.state, &text)?;
            let sources = look.sources();
            Ok(v1::GetServiceResponse {
                service: Some(sources.service(&service)),
                tasks: sources.tasks_of(&service),
                waits: sources.waits(&service),
            })
        };
        self.read("GetService", how, show).await
    }

    async fn list_services(
        &self,
        request: Request<v1::ListServicesRequest>,
    ) -> Answer<v1::ListServicesResponse> {
        let show = |look: &Look| {
            let sources = look.sources();
            let mut services: Vec<_> = look.state.services().collect();
            services.sort_by_key(|service| &service.spec.name);
            let services = services.into_iter().map(|service| sources.service(service)).collect();
            Ok(v1::ListServicesResponse { services })
        };
        self.read("ListServices", Reading::of(&request), show).await
    }

    async fn watch_service(
        &self,
        request: Request<v1::WatchServiceRequest>,
    ) -> Answer<Self::WatchServiceStream> {
        let text = request.into_inner().service_id;
        let work = Box::pin(async move {
            let service = lookup::service(&self.look().await?.state, &text)?;
            Ok(self.watched::<v1::WatchServiceResponse>(service.id))
        });
        self.call("WatchService", CALL_TIMEOUT, work).await
    }

    async fn plan_rebalance(
        &self,
        request: Request<v1::PlanRebalanceRequest>,
    ) -> Answer<v1::RebalancePlan> {
        let service = request.into_inner().service_id;
        let work = Box::pin(async move { self.planned_rebalance(&service).await });
        self.call("PlanRebalance", CALL_TIMEOUT, work).await
    }

    async fn rebalance(&self, request: Request<v1::RebalanceRequest>) -> Answer<v1::RebalancePlan> {
        let by = actor(&request);
        let service = request.into_inner().service_id;
        let work = Box::pin(async move { self.rebalanced(&service, &by).await });
        self.call("Rebalance", CALL_TIMEOUT, work).await
    }

    async fn get_service_version(
        &self,
        request: Request<v1::GetServiceVersionRequest>,
    ) -> Answer<v1::GetServiceVersionResponse> {
        let how = Reading::of(&request);
        let request = request.into_inner();
        self.read("GetServiceVersion", how, |look| versions::one(look, &request)).await
    }

    async fn list_versions(
        &self,
        request: Request<v1::ListVersionsRequest>,
    ) -> Answer<v1::ListVersionsResponse> {
        let how = Reading::of(&request);
        let request = request.into_inner();
        self.read("ListVersions", how, |look| versions::all(look, &request)).await
    }

    async fn plan_update(
        &self,
        request: Request<v1::PlanUpdateRequest>,
    ) -> Answer<v1::PlanUpdateResponse> {
        let work = Box::pin(self.plan(request.into_inner()));
        self.call("PlanUpdate", RESOLVE_CALL_TIMEOUT, work).await
    }

    async fn list_profiles(
        &self,
        _request: Request<v1::ListProfilesRequest>,
    ) -> Answer<v1::ListProfilesResponse> {
        let work = std::future::ready(Ok(Self::profiles()));
        self.call("ListProfiles", CALL_TIMEOUT, work).await
    }

    async fn explain_service(
        &self,
        request: Request<v1::ExplainServiceRequest>,
    ) -> Answer<v1::ExplainServiceResponse> {
        let how = Reading::of(&request);
        let text = request.into_inner().service_id;
        let show = |look: &Look| {
            let sources = look.sources();
            let (mut waits, of) = if text.is_empty() {
                (look.state.services().flat_map(|one| sources.waits(one)).collect(), None)
            } else {
                let service = lookup::service(&look.state, &text)?;
                (sources.waits(&service), Some(service.id))
            };
            waits.extend(look.silences(of));
            Ok(v1::ExplainServiceResponse { waits })
        };
        self.read("ExplainService", how, show).await
    }
}

impl Api {
    async fn create(
        &self,
        request: v1::CreateServiceRequest,
        by: Actor,
    ) -> Result<v1::CreateServiceResponse, ApiError> {
        let mut spec = update::parse(request.spec.unwrap_or_default(), &[])?;
        // Refused here already, before a node is asked for an image that will not be used.
        let state = self.look().await?.state;
        if let Some(service) = state.service_named(&spec.name) {
            return Err(taken(service));
        }
        check_needs(&state, &spec)?;
        files::pin(&state, &mut spec.template)?;
        if !request.skip_resolve {
            let (image, pull) = (spec.template.image.clone(), spec.template.pull);
            let field = "spec.template.image";
            spec.template.pinned = Some(self.resolve(field, &image, pull).await?);
        }
        let applied = self.propose(Command::CreateService { spec: Box::new(spec), by }).await?;
        let (id, _) = service_of(&applied)?;
        Ok(v1::CreateServiceResponse { service: Some(self.shown(id)?) })
    }

    async fn update(
        &self,
        request: v1::UpdateServiceRequest,
        by: Actor,
    ) -> Result<v1::UpdateServiceResponse, ApiError> {
        bounded("reason", &request.reason)?;
        bounded("override_freeze", &request.override_freeze)?;
        let id = lookup::service(&self.look().await?.state, &request.service_id)?.id;
        let mut known = Known::default();
        for attempt in 1.. {
            let state = self.state();
            let service = state.service(id).ok_or(Rejection::NoService(id))?;
            let spec = self.intent(&state, service, &request, &mut known).await?;
            let any = request.expect_generation == 0;
            let expect =
                if any { service.generation } else { Generation(request.expect_generation) };
            let command = Command::UpdateService {
                service: id,
                expect,
                spec: Box::new(spec),
                by: by.clone(),
                cause: request.reason.clone(),
                freeze_override: given(&request.override_freeze),
            };
            match self.propose(command).await {
                Err(error) if error.code == Code::Aborted && any && attempt < CONFLICTS_MAX => {}
                outcome => {
                    let applied = outcome?;
                    let release_id = match &applied {
                        Applied::Queued { release, .. } => release.to_string(),
                        Applied::Done
                        | Applied::Service { .. }
                        | Applied::Node { .. }
                        | Applied::Tasks(_)
                        | Applied::Rollout { .. } => String::new(),
                    };
                    let queued = !release_id.is_empty();
                    let (id, changed) = service_of(&applied)?;
                    let service = Some(self.shown(id)?);
                    return Ok(v1::UpdateServiceResponse { service, changed, queued, release_id });
                }
            }
        }
        Err(ApiError::new(Code::Aborted, "others write to this service without a pause"))
    }

    /// The intent that an update asks for, with its image resolved.
    pub(super) async fn intent(
        &self,
        state: &State,
        service: &Service,
        request: &v1::UpdateServiceRequest,
        known: &mut Known,
    ) -> Result<ServiceSpec, ApiError> {
        let named = !request.image.is_empty();
        let field = if named { "image" } else { "spec.template.image" };
        let mut spec = update::overlay(&service.spec, request)?;
        check_needs(state, &spec)?;
        files::pin(state, &mut spec.template)?;
        if let Some(wanted) = update::resolution(&service.spec, &spec, named) {
            if request.skip_resolve {
                spec.template.pinned = None;
            } else if let Some((_, pinned)) = known.0.as_ref().filter(|(key, _)| *key == wanted) {
                spec.template.pinned = Some(pinned.clone());
            } else {
                let pinned = self.resolve(field, &wanted.0, wanted.1).await?;
                spec.template.pinned = Some(pinned.clone());
                known.0 = Some((wanted, pinned));
            }
        }
        Ok(spec)
    }

    async fn scale(
        &self,
        request: v1::ScaleServiceRequest,
        by: Actor,
    ) -> Result<v1::ScaleServiceResponse, ApiError> {
        let replicas = request.replicas;
        if replicas > REPLICAS_MAX {
            let problem =
                format!("{replicas} is more than {REPLICAS_MAX}, the most one service may have");
            return Err(ApiError::field("replicas", problem));
        }
        let service = lookup::service(&self.look().await?.state, &request.service_id)?;
        if service.spec.mode == Mode::Global {
            return Err(Rejection::NotScalable(service.spec.name.clone()).into());
        }
        let expect = (request.expect_generation != 0).then_some(request.expect_generation);
        let expect = expect.map(Generation);
        let command = Command::ScaleService { service: service.id, expect, replicas, by };
        let (id, _) = service_of(&self.propose(command).await?)?;
        Ok(v1::ScaleServiceResponse { service: Some(self.shown(id)?) })
    }

    async fn resolve(
        &self,
        field: &str,
        image: &Image,
        pull: PullPolicy,
    ) -> Result<PinnedImage, ApiError> {
        self.backend.reach.resolve(image, pull).await.map_err(|error| match error.code {
            // A node has looked, and there is no such image: that is about the request, not about the cluster.
            Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition => {
                ApiError::field(field, error.message)
            }
            _ => error,
        })
    }

    /// A service after a change to it.
    fn shown(&self, id: ServiceId) -> Result<v1::Service, ApiError> {
        let look = self.glance();
        let service = look.state.service(id).ok_or(Rejection::NoService(id))?;
        Ok(look.sources().service(service))
    }
}

/// Refuses what no node's runtime can ever run, rather than let each node refuse it again and again.
fn check_needs(state: &State, spec: &ServiceSpec) -> Result<(), ApiError> {
    let checked = scheduler::check_needs(spec, state.nodes().map(AsRef::as_ref));
    checked.map_err(|error| error.within("spec").into())
}

pub(super) fn given(words: &str) -> Option<String> {
    (!words.trim().is_empty()).then(|| words.to_owned())
}

fn taken(service: &Service) -> ApiError {
    let name = service.spec.name.clone();
    if service.deleting {
        Rejection::Deleting(name).into()
    } else {
        Rejection::NameTaken { name, id: service.id }.into()
    }
}

fn service_of(applied: &Applied) -> Result<(ServiceId, bool), ApiError> {
    match applied {
        Applied::Service { id, changed, .. } => Ok((*id, *changed)),
        Applied::Queued { id, .. } | Applied::Rollout { service: id, .. } => Ok((*id, true)),
        Applied::Done | Applied::Node { .. } | Applied::Tasks(_) => {
            Err(ApiError::new(Code::Internal, "the change was applied to something else"))
        }
    }
}
