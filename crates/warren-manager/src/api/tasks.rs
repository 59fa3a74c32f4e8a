//! Tasks: show them and reach into them.

use super::actor::actor;
use super::read::Reading;
use super::{Api, CALL_TIMEOUT, Look, lookup};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use v1::tasks_server::Tasks;
use warren_wire::status::ApiError;
use warren_wire::v1;

#[tonic::async_trait]
impl Tasks for Api {
    type LogsStream = BoxStream<'static, Result<v1::LogsResponse, Status>>;
    type ExecStream = BoxStream<'static, Result<v1::ExecResponse, Status>>;

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        let how = Reading::of(&request);
        let request = request.into_inner();
        self.read("ListTasks", how, |look| listed(look, &request)).await
    }

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        self.call("Logs", CALL_TIMEOUT, Box::pin(self.lines(request))).await
    }

    async fn exec(
        &self,
        request: Request<Streaming<v1::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let by = actor(&request);
        let requests = request.into_inner();
        self.call("Exec", CALL_TIMEOUT, Box::pin(self.executed(requests, by))).await
    }
}

fn listed(look: &Look, request: &v1::ListTasksRequest) -> Result<v1::ListTasksResponse, ApiError> {
    let state = &look.state;
    let node = match request.node_id.as_str() {
        "" => None,
        text => Some(lookup::node(state, text)?.id),
    };
    let mut services = match request.service_id.as_str() {
        "" => state.services().cloned().collect(),
        text => vec![lookup::service(state, text)?],
    };
    services.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
    let sources = look.sources();
    let node = node.map(|id| id.to_string());
    let on_node = |task: &v1::Task| node.as_ref().is_none_or(|node| task.node_id == *node);
    let tasks = services.iter().flat_map(|service| sources.tasks_of(service));
    Ok(v1::ListTasksResponse { tasks: tasks.filter(on_node).collect() })
}
