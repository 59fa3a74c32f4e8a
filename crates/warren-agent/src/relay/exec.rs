//! A command in a task: input one way, output the other, its exit code last.

use super::{Failed, Gone, Places, Replies, failed};
use futures::StreamExt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Code;
use warren_core::id::TaskId;
use warren_drivers::runtime::{
    ContainerRuntime, ExecControl, ExecSession, ExecSpec, OutputStream, TtySize,
};
use warren_wire::v1;
use warren_wire::v1::exec_request::Message;
use warren_wire::v1::exec_response;
use warren_wire::v1::relay_reply::Reply;

/// How long the runtime may take to begin a command.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to tell the exit code once the output has ended.
const CODE_TIMEOUT: Duration = Duration::from_secs(10);
/// The terminal of a caller that did not tell its size.
const DEFAULT_SIZE: TtySize = TtySize { rows: 24, columns: 80 };

/// Runs the command to its end.
pub(super) async fn run(
    start: v1::ExecRequest,
    input: mpsc::Receiver<v1::ExecRequest>,
    runtime: Arc<dyn ContainerRuntime>,
    places: Places,
    replies: Replies,
) -> Result<Result<(), Failed>, Gone> {
    let session = match begin(start, &*runtime, &places).await {
        Ok(session) => session,
        Err(failed) => return Ok(Err(failed)),
    };
    let ExecSession { stdin, mut output, control } = session;
    let copy_output = async {
        while let Some(chunk) = output.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Ok(Err(failed(&error))),
            };
            let bytes = chunk.bytes.to_vec();
            let message = match chunk.stream {
                OutputStream::Stdout => exec_response::Message::Stdout(bytes),
                OutputStream::Stderr => exec_response::Message::Stderr(bytes),
            };
            send(&replies, message).await?;
        }
        Ok(Ok(()))
    };
    // Input that the command does not read must not hold its output up, and the other way round.
    let copied = tokio::select! {
        copied = copy_output => copied?,
        never = copy_input(input, stdin, &*control) => match never {},
    };
    if let Err(failed) = copied {
        return Ok(Err(failed));
    }
    match timeout(CODE_TIMEOUT, control.wait()).await {
        Ok(Ok(code)) => {
            send(&replies, exec_response::Message::ExitCode(code)).await?;
            Ok(Ok(()))
        }
        Ok(Err(error)) => Ok(Err(failed(&error))),
        Err(_) => {
            let message = format!("the runtime did not tell the exit code within {CODE_TIMEOUT:?}");
            Ok(Err(Failed { code: Code::DeadlineExceeded, message }))
        }
    }
}

async fn begin(
    start: v1::ExecRequest,
    runtime: &dyn ContainerRuntime,
    places: &Places,
) -> Result<ExecSession, Failed> {
    let invalid = |message: String| Failed { code: Code::InvalidArgument, message };
    let Some(Message::Start(start)) = start.message else {
        return Err(invalid("the first message of a command must start it".to_owned()));
    };
    let task: TaskId = start.task_id.parse().map_err(|e| invalid(format!("{e}")))?;
    if start.command.is_empty() {
        return Err(invalid("there is no command to run: name a program".to_owned()));
    }
    let placed = places.borrow().get(&task).cloned();
    let placed = placed.filter(|placed| placed.run.is_some()).ok_or_else(|| Failed {
        code: Code::FailedPrecondition,
        message: format!("{task} does not run on this node now"),
    })?;
    let spec = ExecSpec {
        command: start.command,
        env: start.env,
        user: Some(start.user).filter(|user| !user.is_empty()),
        working_dir: None,
        tty: start.tty.then(|| start.size.as_ref().map_or(DEFAULT_SIZE, size)),
        stdin: start.interactive,
    };
    let begun = timeout(BEGIN_TIMEOUT, runtime.exec(&placed.container, spec)).await;
    let late = |_| Failed {
        code: Code::DeadlineExceeded,
        message: format!("the runtime did not begin the command within {BEGIN_TIMEOUT:?}"),
    };
    begun.map_err(late)?.map_err(|error| failed(&error))
}

/// Hands input on until the request ends, which is not this side's to decide.
async fn copy_input(
    mut input: mpsc::Receiver<v1::ExecRequest>,
    mut stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    control: &dyn ExecControl,
) -> std::convert::Infallible {
    while let Some(request) = input.recv().await {
        match request.message {
            Some(Message::Stdin(bytes)) => {
                if let Some(open) = &mut stdin {
                    let written = async {
                        open.write_all(&bytes).await?;
                        open.flush().await
                    };
                    // A command that closed its input does not want more.
                    if written.await.is_err() {
                        stdin = None;
                    }
                }
            }
            Some(Message::StdinEnd(_)) => {
                if let Some(mut open) = stdin.take()
                    && let Err(error) = open.shutdown().await
                {
                    tracing::debug!(%error, "input of a command could not be ended");
                }
            }
            Some(Message::Resize(wanted)) => {
                if let Err(error) = control.resize(size(&wanted)).await {
                    tracing::debug!(%error, "terminal was not resized");
                }
            }
            Some(Message::Start(_)) | None => {}
        }
    }
    std::future::pending().await
}

fn size(size: &v1::WindowSize) -> TtySize {
    let fit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    TtySize { rows: fit(size.rows), columns: fit(size.columns) }
}

async fn send(replies: &Replies, message: exec_response::Message) -> Result<(), Gone> {
    replies.send(Reply::Exec(v1::ExecResponse { message: Some(message) })).await
}
