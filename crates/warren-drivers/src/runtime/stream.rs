//! What flows out of and into containers: logs, commands, events.

use crate::runtime::{ContainerRef, RuntimeError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::time::SystemTime;
use tokio::io::AsyncWrite;
use warren_core::id::TaskId;

/// A stream of a runtime. It ends after the first error.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, RuntimeError>> + Send>>;

/// The longest line of a log in one piece: what Docker's own log drivers keep in one record. A longer line
/// comes in several pieces.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;

/// Where output came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutputStream {
    /// Standard output, and all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which part of a log is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogOptions {
    /// Stay and wait for more until the container ends.
    pub follow: bool,
    /// Begin so many lines before the end; all of them when absent.
    pub tail: Option<u32>,
    /// Only lines not older than this.
    pub since: Option<SystemTime>,
}

/// One line of output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// When it was written, by the machine's wall clock.
    pub at: SystemTime,
    /// Where it came from.
    pub stream: OutputStream,
    /// The line without its end, at most [`LOG_LINE_BYTES_MAX`]. Not necessarily UTF-8.
    pub bytes: Bytes,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// A command to run inside a container.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExecSpec {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// Environment beside that of the container.
    pub env: BTreeMap<String, String>,
    /// The user; that of the container when absent.
    pub user: Option<String>,
    /// The working directory; that of the container when absent.
    pub working_dir: Option<String>,
    /// Give it a terminal of this size.
    pub tty: Option<TtySize>,
    /// Whether it gets input. Without, it reads an end at once.
    pub stdin: bool,
}

/// A piece of a command's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutputChunk {
    /// Where it came from.
    pub stream: OutputStream,
    /// The bytes, as they came.
    pub bytes: Bytes,
}

/// A command that runs inside a container. Dropping the session ends its input and lets go of its terminal; where the
/// runtime can (Docker cannot), it ends the command too.
pub struct ExecSession {
    /// Its input, where it was asked for. Shutting it down ends the input.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its output; ends when the command closes it.
    pub output: BoxStream<OutputChunk>,
    /// Everything else.
    pub control: Box<dyn ExecControl>,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").field("stdin", &self.stdin.is_some()).finish_non_exhaustive()
    }
}

/// The handle on a command that runs inside a container.
#[async_trait]
pub trait ExecControl: Send + Sync {
    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// [`RuntimeError::Refused`] where it has none.
    async fn resize(&self, size: TtySize) -> Result<(), RuntimeError>;

    /// Waits for its end and tells its exit code, 128 and the number for a death by signal. Read the output
    /// to its end first: a command may wait for its reader.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] where the runtime went away meanwhile.
    async fn wait(&self) -> Result<i32, RuntimeError>;
}

/// What happened to a container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// It runs.
    Started,
    /// It ended.
    Died,
    /// A process of it was killed for lack of memory.
    OutOfMemory,
}

/// A hint that a container changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuntimeEvent {
    /// Which container.
    pub container: ContainerRef,
    /// Its task, where the runtime tells.
    pub task: Option<TaskId>,
    /// What happened.
    pub kind: EventKind,
}
