//! A command in a running task: what the caller types goes down, what the command writes comes up, and neither waits
//! for the other.

use super::metrics::OpenStream;
use super::reach::{Input, Replies};
use super::{Api, errors, lookup};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::{Status, Streaming};
use v1::exec_request::Message;
use v1::exec_response;
use warren_core::command::{Command, Witnessed};
use warren_core::service::Actor;
use warren_core::spec::COMMAND_BYTES_MAX;
use warren_wire::status::{ApiError, Code};
use warren_wire::v1::relay_reply::Reply;
use warren_wire::v1::{self, ExecRequest, ExecResponse};

/// The largest piece of input, as the proto file promises the agent.
const STDIN_BYTES_MAX: usize = 64 * 1024;

/// What one half of a session comes to.
enum Step {
    Output(ExecResponse),
    Failed(ApiError),
    Ended,
}

impl Api {
    pub(super) async fn executed(
        &self,
        mut requests: Streaming<ExecRequest>,
        by: Actor,
    ) -> Result<BoxStream<'static, Result<ExecResponse, Status>>, ApiError> {
        let first = requests.message().await?.and_then(|request| request.message);
        let Some(Message::Start(mut start)) = first else {
            return Err(ApiError::field("start", "comes first, and did not"));
        };
        check(&start)?;
        let look = self.look().await?;
        let named = lookup::tasks(&look.state, &start.task_id)?;
        let observed = look.sources().observed;
        let task = named.running(&start.task_id, |task| observed.is_ready(task))?;
        start.task_id = task.id.to_string();
        // The program alone: what is typed after it may be secret.
        let program = start.command.first().cloned().unwrap_or_default();
        let service = look.state.service(task.service);
        let service = service.map(|service| service.spec.name.to_string()).unwrap_or_default();
        let target = format!("{service}.{}", task.slot);
        self.propose(Command::Witness { by, action: Witnessed::Exec, target, detail: program })
            .await?;
        let (input, replies) = self.backend.reach.exec(task.node, start).await?;
        let open = OpenStream::new("Exec");
        let steps = stream::select(typed(requests, input), written(replies));
        let shutdown = self.backend.shutdown.clone();
        let stopped = stream::once(async move {
            shutdown.cancelled().await;
            Step::Failed(errors::stopping())
        });
        // The server ends a stream after its first error by itself.
        let answers = stream::select(steps, stopped)
            .take_while(move |step| {
                let _counted_until_dropped = &open;
                std::future::ready(!matches!(step, Step::Ended))
            })
            .filter_map(|step| {
                std::future::ready(match step {
                    Step::Output(output) => Some(Ok(output)),
                    Step::Failed(error) => Some(Err(Status::from(error))),
                    Step::Ended => None,
                })
            });
        Ok(answers.boxed())
    }
}

fn check(start: &v1::ExecStart) -> Result<(), ApiError> {
    if start.command.first().is_none_or(String::is_empty) {
        return Err(ApiError::field(
            "start.command",
            "is empty: write a program and its arguments",
        ));
    }
    let env = start.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
    let bytes = start.command.iter().map(|word| word.len() + 1).sum::<usize>() + env;
    if bytes > COMMAND_BYTES_MAX {
        let problem = format!("{bytes} bytes with the environment, {COMMAND_BYTES_MAX} at most");
        return Err(ApiError::field("start.command", problem));
    }
    Ok(())
}

/// Sends down what the caller types. Gives an error or nothing: the end of input is not the end of the session.
fn typed(
    requests: Streaming<ExecRequest>,
    input: Box<dyn Input>,
) -> impl futures::Stream<Item = Step> + Send + 'static {
    stream::unfold(Some((requests, input)), |half| async move {
        let (mut requests, input) = half?;
        loop {
            let sent = match requests.message().await {
                Ok(None) => return None,
                Ok(Some(request)) => send(&*input, request).await,
                Err(status) => Err(status.into()),
            };
            if let Err(error) = sent {
                return Some((Step::Failed(error), None));
            }
        }
    })
}

async fn send(input: &dyn Input, request: ExecRequest) -> Result<(), ApiError> {
    match &request.message {
        Some(Message::Stdin(piece)) if piece.len() > STDIN_BYTES_MAX => {
            let problem = format!("{} bytes, {STDIN_BYTES_MAX} at most", piece.len());
            Err(ApiError::field("stdin", problem))
        }
        Some(Message::Start(_)) => Err(ApiError::field("start", "came twice")),
        Some(Message::Stdin(_) | Message::StdinEnd(_) | Message::Resize(_)) => {
            input.send(request).await
        }
        None => Err(ApiError::field("message", "is empty")),
    }
}

/// What the command writes, up to its exit code.
fn written(replies: Box<dyn Replies>) -> impl futures::Stream<Item = Step> + Send + 'static {
    stream::unfold(Some(replies), |half| async move {
        let mut replies = half?;
        match replies.next().await {
            Some(Ok(Reply::Exec(output))) => {
                let last = matches!(output.message, Some(exec_response::Message::ExitCode(_)));
                let step = Step::Output(output);
                Some((step, Some(replies).filter(|_| !last)))
            }
            Some(Ok(Reply::Pinned(_) | Reply::Log(_) | Reply::Error(_) | Reply::End(_))) => {
                let error = ApiError::new(Code::Internal, "the node answered something else");
                Some((Step::Failed(error), None))
            }
            Some(Err(error)) => Some((Step::Failed(error), None)),
            None => None,
        }
    })
    .chain(stream::once(std::future::ready(Step::Ended)))
}
