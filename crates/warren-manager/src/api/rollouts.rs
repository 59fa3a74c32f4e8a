//! Rollouts as such: not built yet. Updates roll batch by batch, and the service itself shows how far they are; each
//! call says what to use instead.

use super::{Api, CALL_TIMEOUT};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use v1::rollouts_server::Rollouts;
use warren_wire::status::ApiError;
use warren_wire::v1;

type Answer<T> = Result<Response<T>, Status>;

impl Api {
    async fn unbuilt<T>(&self, method: &'static str, what: &str, instead: &str) -> Answer<T> {
        let refused = std::future::ready(Err(ApiError::unbuilt(what, instead)));
        self.call(method, CALL_TIMEOUT, refused).await
    }
}

const WATCH: &str = "use `warren service ps NAME` and `warren why NAME` for how far an update is";
const UPDATE: &str = "use `warren service update NAME` to change what is rolled out";
const RECORD: &str =
    "rollouts are not recorded: `warren service versions NAME` shows the revisions";

#[tonic::async_trait]
impl Rollouts for Api {
    type WatchRolloutStream = BoxStream<'static, Result<v1::WatchRolloutResponse, Status>>;

    async fn get_rollout(
        &self,
        _: Request<v1::GetRolloutRequest>,
    ) -> Answer<v1::GetRolloutResponse> {
        self.unbuilt("GetRollout", "showing a rollout is", WATCH).await
    }

    async fn watch_rollout(
        &self,
        _: Request<v1::WatchRolloutRequest>,
    ) -> Answer<Self::WatchRolloutStream> {
        self.unbuilt("WatchRollout", "watching a rollout is", WATCH).await
    }

    async fn list_rollouts(
        &self,
        _: Request<v1::ListRolloutsRequest>,
    ) -> Answer<v1::ListRolloutsResponse> {
        self.unbuilt("ListRollouts", "the history of rollouts is", RECORD).await
    }

    async fn pause_rollout(
        &self,
        _: Request<v1::PauseRolloutRequest>,
    ) -> Answer<v1::PauseRolloutResponse> {
        self.unbuilt("PauseRollout", "pausing a rollout is", UPDATE).await
    }

    async fn resume_rollout(
        &self,
        _: Request<v1::ResumeRolloutRequest>,
    ) -> Answer<v1::ResumeRolloutResponse> {
        self.unbuilt("ResumeRollout", "resuming a rollout is", UPDATE).await
    }

    async fn promote_rollout(
        &self,
        _: Request<v1::PromoteRolloutRequest>,
    ) -> Answer<v1::PromoteRolloutResponse> {
        self.unbuilt("PromoteRollout", "promoting a rollout is", UPDATE).await
    }

    async fn rollback_service(
        &self,
        _: Request<v1::RollbackServiceRequest>,
    ) -> Answer<v1::RollbackServiceResponse> {
        let instead =
            "use `warren service update NAME --image OLD`: a revision that is kept is used again";
        self.unbuilt("RollbackService", "rolling back is", instead).await
    }

    async fn retry_rollout(
        &self,
        _: Request<v1::RetryRolloutRequest>,
    ) -> Answer<v1::RetryRolloutResponse> {
        let instead = "use `warren service restart NAME`";
        self.unbuilt("RetryRollout", "retrying a rollout is", instead).await
    }

    async fn approve_rollout(
        &self,
        _: Request<v1::ApproveRolloutRequest>,
    ) -> Answer<v1::ApproveRolloutResponse> {
        self.unbuilt("ApproveRollout", "approving a step is", UPDATE).await
    }

    async fn set_freeze(&self, _: Request<v1::SetFreezeRequest>) -> Answer<v1::SetFreezeResponse> {
        self.unbuilt("SetFreeze", "freezing is", UPDATE).await
    }

    async fn list_freezes(
        &self,
        _: Request<v1::ListFreezesRequest>,
    ) -> Answer<v1::ListFreezesResponse> {
        self.unbuilt("ListFreezes", "freezing is", UPDATE).await
    }
}
