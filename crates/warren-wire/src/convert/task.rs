//! What becomes of tasks.

use super::{text, word};
use crate::v1;
use warren_core::converge::Status;
use warren_core::id::TaskId;
use warren_core::spec::FieldError;
use warren_core::task::{END_MESSAGE_BYTES_MAX, End, Phase};

/// The longest detail of a task: the leader keeps one for each.
pub const DETAIL_BYTES_MAX: usize = 512;

const PHASES: [(&str, Phase); 9] = [
    ("assigned", Phase::Assigned),
    ("preparing", Phase::Preparing),
    ("starting", Phase::Starting),
    ("running", Phase::Running),
    ("completed", Phase::Completed),
    ("failed", Phase::Failed),
    ("rejected", Phase::Rejected),
    ("stopped", Phase::Stopped),
    ("lost", Phase::Lost),
];

/// Reads a phase by its word.
///
/// # Errors
/// Another word.
pub fn phase(field: &str, text: &str) -> Result<Phase, FieldError> {
    word(field, text, &PHASES)
}

/// Reads what a node says of a task. Texts that are too long are cut.
///
/// # Errors
/// An unknown word, or an end in a phase that is not final.
pub fn parse(status: v1::TaskStatus) -> Result<(TaskId, Status), FieldError> {
    let phase = phase("phase", &status.phase)?;
    let end = status.end.map(|end| End {
        code: end.code,
        out_of_memory: end.out_of_memory,
        message: cut(end.message, END_MESSAGE_BYTES_MAX),
    });
    if end.is_some() && !phase.is_final() {
        return Err(FieldError::new("end", format!("a task that is {phase} has not ended")));
    }
    let task = text("task_id", &status.task_id)?;
    let status = Status {
        phase,
        ready: status.ready,
        healthy: health("health", &status.health)?,
        restarts: status.restarts,
        waiting: status.waiting,
        unseen: status.unseen,
        detail: cut(status.detail, DETAIL_BYTES_MAX),
        end: end.or_else(|| phase.is_final().then(End::default)),
    };
    Ok((task, status))
}

/// The message that parses to `task` and `status`.
#[must_use]
pub fn render(task: TaskId, status: &Status) -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: task.to_string(),
        phase: status.phase.to_string(),
        ready: status.ready,
        health: health_word(status.healthy).to_owned(),
        restarts: status.restarts,
        waiting: status.waiting,
        unseen: status.unseen,
        detail: status.detail.clone(),
        end: status.end.as_ref().map(|end| v1::TaskEnd {
            code: end.code,
            out_of_memory: end.out_of_memory,
            message: end.message.clone(),
        }),
    }
}

/// The word for a verdict.
#[must_use]
pub const fn health_word(healthy: Option<bool>) -> &'static str {
    match healthy {
        Some(true) => "healthy",
        Some(false) => "unhealthy",
        None => "",
    }
}

fn health(field: &str, text: &str) -> Result<Option<bool>, FieldError> {
    word(field, text, &[("healthy", Some(true)), ("unhealthy", Some(false)), ("", None)])
}

/// The longest start of `text` that has `most` bytes or fewer.
#[must_use]
pub fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}
