//! Why a command did not do what was asked: what the user reads, and the exit code that a script reads.

use std::fmt;
use tonic::Code;
use warren_wire::status::ApiError;

/// The exit codes, as `warren --help` documents them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The cluster refused, or something broke.
    Failed = 1,
    /// The command line, the manifest or the configuration is wrong. Nothing was sent.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// The work goes on, but the command stopped waiting for it.
    Unfinished = 4,
    /// No Warren answers.
    Unreachable = 5,
    /// The release that was waited for went back to the version before.
    RolledBack = 6,
    /// Another release took its place, or it was called off.
    Superseded = 7,
}

/// What `warren --help` says of exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused by the cluster, or failed
  2  wrong command line, manifest or configuration; nothing was sent
  3  no such service, task, node or version
  4  stopped waiting (--wait-timeout or Ctrl-C) while the work goes on
  5  no Warren answers
  6  the release was rolled back
  7  the release was superseded by another, or cancelled

`warren service exec` ends with the exit code of the command it ran.";

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// What a script reads.
    pub exit: u8,
    /// What happened and why; empty where everything has been said already.
    pub message: String,
    /// What to do next; empty where the message says it.
    pub hint: String,
}

/// What a command ends with.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with its message.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit: exit as u8, message: message.to_string(), hint: String::new() }
    }

    /// A wrong command line, manifest or configuration.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A command that passes on the exit code of another program.
    pub fn code(exit: u8) -> Self {
        Self { exit, message: String::new(), hint: String::new() }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = hint.to_string();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.hint) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A reader that went away (`warren service ls | head -1`) has what it wanted.
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::code(0);
        }
        Self::new(Exit::Failed, error)
    }
}

impl From<tonic::Status> for Failure {
    /// The field that is wrong is named by the flag that sets it.
    fn from(status: tonic::Status) -> Self {
        Self::refused(status, |field| crate::flags::flag_or(field).to_owned())
    }
}

impl Failure {
    /// What the API says, where the field that is wrong stands in a manifest.
    pub fn in_manifest(status: tonic::Status) -> Self {
        Self::refused(status, crate::manifest::field_of)
    }

    fn refused(status: tonic::Status, named: impl Fn(&str) -> String) -> Self {
        let error = ApiError::from(status);
        let exit = match error.code {
            Code::NotFound => Exit::NotFound,
            Code::DeadlineExceeded => Exit::Unfinished,
            _ => Exit::Failed,
        };
        let message = match error.field.as_deref().map(named) {
            Some(name) => format!("{name}: {}", error.message),
            None => error.message,
        };
        let aborted = "somebody else changed it in the meantime: look at it and repeat the command";
        let hint = match (error.hint, error.code) {
            (Some(hint), _) => hint,
            (None, Code::Aborted) => aborted.to_owned(),
            (None, _) => String::new(),
        };
        Self { hint, ..Self::new(exit, message) }
    }
}
