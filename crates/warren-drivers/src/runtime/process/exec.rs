//! Commands beside running tasks: with a task's environment, user and working directory, but of the machine.

use crate::runtime::process::files::{Root, TaskRecord, blocking, not_found, unavailable};
use crate::runtime::process::{ProcessOptions, lifecycle, tty};
use crate::runtime::{
    BoxStream, ContainerRef, ExecControl, ExecSession, ExecSpec, OutputChunk, OutputStream,
    RuntimeError, TtySize,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::ready;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio_util::io::ReaderStream;

/// How much output comes in one piece at most.
const CHUNK_BYTES: usize = 8192;

/// What a shell says of a command that is not there.
const NOT_FOUND: i32 = 127;

/// The end of input, as typed on a terminal.
const END_OF_INPUT: u8 = 4;

pub(super) async fn exec(
    root: &Root,
    options: &ProcessOptions,
    id: &ContainerRef,
    spec: ExecSpec,
) -> Result<ExecSession, RuntimeError> {
    let folder = root.task(id)?;
    let look = move || Ok(folder.record()?.map(|record| (record, folder.live())));
    let Some((record, live)) = blocking(root, look).await? else { return Err(not_found(id)) };
    if live.map_err(|error| unavailable(root, &error))?.is_none() {
        let why = "it does not run, so nothing can be run in it".to_owned();
        return Err(RuntimeError::Conflict { what: format!("container {id}"), why });
    }
    let Some(program) = spec.command.first() else {
        let why = "no command was given".to_owned();
        return Err(RuntimeError::Refused { what: format!("container {id}"), why });
    };
    let spawned = match spec.tty {
        Some(size) => on_terminal(options, id, &spec, &record, size),
        None => piped(id, &spec, &record),
    };
    match spawned {
        Ok(session) => Ok(session),
        Err(Failure::Refused(error)) => Err(error),
        // As a shell does it, and as containers do.
        Err(Failure::Spawn(error)) => Ok(failed(format!("{program}: {error}\n"))),
    }
}

enum Failure {
    Refused(RuntimeError),
    Spawn(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Spawn(error)
    }
}

fn environment(spec: &ExecSpec, record: &TaskRecord) -> BTreeMap<String, String> {
    let mut env = record.env.clone();
    env.extend(spec.env.clone());
    env
}

fn user(
    id: &ContainerRef,
    spec: &ExecSpec,
    record: &TaskRecord,
) -> Result<Option<super::files::UserIds>, Failure> {
    let asked = spec.user.as_deref().map(|user| lifecycle::user_ids(id, user)).transpose();
    Ok(asked.map_err(Failure::Refused)?.or(record.user))
}

fn prepare(command: &mut Command, spec: &ExecSpec, record: &TaskRecord) {
    let folder = spec.working_dir.as_ref().map_or(record.working_dir.as_path(), |dir| dir.as_ref());
    // Whoever asked for the command is gone when its session is: so shall it be.
    command.env_clear().envs(environment(spec, record)).current_dir(folder).kill_on_drop(true);
}

fn piped(id: &ContainerRef, spec: &ExecSpec, record: &TaskRecord) -> Result<ExecSession, Failure> {
    let (program, args) =
        spec.command.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let mut command = Command::new(program);
    command.args(args).process_group(0);
    prepare(&mut command, spec, record);
    if let Some(user) = user(id, spec, record)? {
        command.uid(user.uid).gid(user.gid);
    }
    let stdin = if spec.stdin { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take().map(|stdin| Box::pin(stdin) as Pin<Box<dyn AsyncWrite + Send>>);
    let out = child.stdout.take().map(|out| chunks(out, OutputStream::Stdout));
    let err = child.stderr.take().map(|err| chunks(err, OutputStream::Stderr));
    let output = stream::select_all(out.into_iter().chain(err)).boxed();
    let control = Control { child: Mutex::new(child), terminal: None };
    Ok(ExecSession { stdin, output, control: Box::new(control) })
}

fn on_terminal(
    options: &ProcessOptions,
    id: &ContainerRef,
    spec: &ExecSpec,
    record: &TaskRecord,
    size: TtySize,
) -> Result<ExecSession, Failure> {
    let (outer, path) = tty::open(size)?;
    let user = user(id, spec, record)?;
    let mut command = lifecycle::command(options)?;
    command.args(tty::arguments(path, user, &spec.command));
    prepare(&mut command, spec, record);
    // The helper gives the terminal to the command; what it has itself nobody sees.
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // To the event loop a terminal is like the two ends of a pipe.
    let typing = Typing(pipe::Sender::from_owned_fd_unchecked(outer.try_clone()?)?);
    let stdin = spec.stdin.then(|| Box::pin(typing) as Pin<Box<dyn AsyncWrite + Send>>);
    let reading = pipe::Receiver::from_owned_fd_unchecked(outer.try_clone()?)?;
    let output = chunks(reading, OutputStream::Stdout);
    let control = Control { child: Mutex::new(child), terminal: Some(outer) };
    Ok(ExecSession { stdin, output, control: Box::new(control) })
}

fn chunks(from: impl AsyncRead + Send + 'static, stream: OutputStream) -> BoxStream<OutputChunk> {
    ReaderStream::with_capacity(from, CHUNK_BYTES)
        // Nobody has the inner end of a terminal open any more: that is how its output ends.
        .take_while(|read| ready(!read.as_ref().is_err_and(is_hung_up)))
        .map_ok(move |bytes| OutputChunk { stream, bytes })
        .map_err(|error| RuntimeError::Unavailable {
            runtime: "the command's output".to_owned(),
            why: error.to_string(),
        })
        .boxed()
}

fn is_hung_up(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// A session of a command that could not be run.
fn failed(said: String) -> ExecSession {
    let chunk = OutputChunk { stream: OutputStream::Stderr, bytes: Bytes::from(said) };
    let output = stream::iter([Ok(chunk)]).boxed();
    ExecSession { stdin: None, output, control: Box::new(Failed) }
}

struct Failed;

#[async_trait]
impl ExecControl for Failed {
    async fn resize(&self, _size: TtySize) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn wait(&self) -> Result<i32, RuntimeError> {
        Ok(NOT_FOUND)
    }
}

struct Control {
    child: Mutex<Child>,
    terminal: Option<OwnedFd>,
}

#[async_trait]
impl ExecControl for Control {
    async fn resize(&self, size: TtySize) -> Result<(), RuntimeError> {
        let refuse = |why: String| RuntimeError::Refused { what: "resizing".to_owned(), why };
        let terminal = self.terminal.as_ref();
        let terminal = terminal.ok_or_else(|| refuse("the command has no terminal".to_owned()))?;
        tty::resize(terminal, size).map_err(|error| refuse(error.to_string()))
    }

    async fn wait(&self) -> Result<i32, RuntimeError> {
        let status = self.child.lock().await.wait().await.map_err(|error| {
            RuntimeError::Unavailable { runtime: "the command".to_owned(), why: error.to_string() }
        })?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(code.unwrap_or(NOT_FOUND))
    }
}

/// The input of a terminal.
struct Typing(pipe::Sender);

impl AsyncWrite for Typing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// There is no half-closed terminal: the end of input is typed.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write(context, &[END_OF_INPUT]).map_ok(drop)
    }
}
