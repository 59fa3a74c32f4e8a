//! Commands inside running containers.

use crate::runtime::docker::client::{CHANGE, Client, READ};
use crate::runtime::{
    ContainerRef, ExecControl, ExecSession, ExecSpec, OutputChunk, OutputStream, RuntimeError,
    TtySize,
};
use async_trait::async_trait;
use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use futures::{StreamExt, TryStreamExt, future};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the engine is asked for a command's exit code after its output has ended, at first and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// What a shell says of a command that is there and cannot be run.
const CANNOT_RUN: i32 = 126;
/// What a shell says of a command that is not there.
const NOT_FOUND: i32 = 127;

pub(super) async fn exec(
    client: &Client,
    id: &ContainerRef,
    spec: ExecSpec,
) -> Result<ExecSession, RuntimeError> {
    let what = format!("a command in container {id}");
    let (tty, stdin) = (spec.tty, spec.stdin);
    let call = client.docker.create_exec(&id.0, config(spec));
    let exec = client.call(&what, CHANGE, call).await?.id;
    let options = StartExecOptions { detach: false, tty: tty.is_some(), output_capacity: None };
    let started = client.docker.start_exec(&exec, Some(options));
    let (output, input) = match client.call(&what, CHANGE, started).await? {
        StartExecResults::Attached { output, input } => (output, input),
        StartExecResults::Detached => {
            return Err(client.unavailable(format!("{what} was started without its output")));
        }
    };
    let absent = Arc::new(AtomicBool::new(false));
    let control = Control {
        client: client.clone(),
        exec,
        what: what.clone(),
        tty: tty.is_some(),
        absent: Arc::clone(&absent),
    };
    if let Some(size) = tty {
        // A command that has ended already has no terminal to resize, which engines say in several ways; one that has
        // not ended shows its output in the wrong width at worst.
        if let Err(error) = control.resize(size).await {
            tracing::debug!(%error, "terminal not resized");
        }
    }
    let meaning = client.translator(what);
    let output = output
        .map_err(move |error| meaning(&error))
        .try_filter_map(|piece| future::ready(Ok(chunk(piece))))
        .enumerate()
        .map(move |(i, piece)| {
            if i == 0 && piece.as_ref().is_ok_and(|piece| says_absent(&piece.bytes)) {
                absent.store(true, Ordering::Relaxed);
            }
            piece
        });
    Ok(ExecSession {
        stdin: stdin.then_some(input),
        output: output.boxed(),
        control: Box::new(control),
    })
}

fn config(spec: ExecSpec) -> ExecConfig {
    ExecConfig {
        attach_stdin: Some(spec.stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(spec.tty.is_some()),
        env: Some(spec.env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: Some(spec.command),
        user: spec.user,
        working_dir: spec.working_dir,
        ..Default::default()
    }
}

fn chunk(piece: LogOutput) -> Option<OutputChunk> {
    let (stream, bytes) = match piece {
        LogOutput::StdErr { message } => (OutputStream::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => {
            (OutputStream::Stdout, message)
        }
        LogOutput::StdIn { .. } => return None,
    };
    Some(OutputChunk { stream, bytes })
}

/// Whether this is the engine's own complaint that there is no such command.
fn says_absent(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let why = ["no such file or directory", "executable file not found"];
    text.starts_with("OCI runtime exec failed") && why.iter().any(|why| text.contains(why))
}

#[derive(Debug)]
struct Control {
    client: Client,
    exec: String,
    what: String,
    tty: bool,
    /// Whether the engine said that there is no such command.
    absent: Arc<AtomicBool>,
}

#[async_trait]
impl ExecControl for Control {
    async fn resize(&self, size: TtySize) -> Result<(), RuntimeError> {
        if !self.tty {
            let why = "it has no terminal to resize".to_owned();
            return Err(RuntimeError::Refused { what: self.what.clone(), why });
        }
        let (rows, columns) = (i32::from(size.rows), i32::from(size.columns));
        let query = ResizeExecOptionsBuilder::new().h(rows).w(columns).build();
        let call = self.client.docker.resize_exec(&self.exec, query);
        self.client.call(&self.what, READ, call).await
    }

    async fn wait(&self) -> Result<i32, RuntimeError> {
        let (mut pause, longest) = ASK_AGAIN;
        loop {
            let call = self.client.docker.inspect_exec(&self.exec);
            let state = self.client.call(&self.what, READ, call).await?;
            if let (Some(code), Some(false) | None) = (state.exit_code, state.running) {
                let absent = self.absent.load(Ordering::Relaxed);
                return Ok(match i32::try_from(code).unwrap_or(i32::MAX) {
                    // Engines differ in what they say of it; shells do not.
                    CANNOT_RUN if absent => NOT_FOUND,
                    code => code,
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}
