//! Why a runtime did not do what was asked.

use std::time::Duration;

/// Why a runtime did not do what was asked, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The runtime (or a registry) does not answer or fails. Nothing is known of its containers.
    #[error("{runtime} is not available: {why}")]
    Unavailable {
        /// Who, with the way to it.
        runtime: String,
        /// What happened when it was called.
        why: String,
    },
    /// There is no such container.
    #[error("there is no {what}")]
    NotFound {
        /// What is missing, as in `container 3f2a…`.
        what: String,
    },
    /// Something else has what was asked for, or is in a state that excludes it.
    #[error("{what}: {why}")]
    Conflict {
        /// What was asked for.
        what: String,
        /// Who has it, and the way out.
        why: String,
    },
    /// The image is not where it was looked for.
    #[error("image {image} is not there: {why}")]
    ImageMissing {
        /// The image as it was asked for.
        image: String,
        /// Where it was looked for, and what to do.
        why: String,
    },
    /// The runtime understood and will not do it; the same request will be refused again.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The reason, and the way out.
        why: String,
    },
    /// No answer in time. The call may still have had its effect.
    #[error("{what} took longer than {after:?}")]
    Timeout {
        /// The call.
        what: String,
        /// How long it had.
        after: Duration,
    },
}

impl RuntimeError {
    /// Whether the same call may succeed later without anybody changing the request.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Timeout { .. } | Self::Conflict { .. } => true,
            Self::NotFound { .. } | Self::ImageMissing { .. } | Self::Refused { .. } => false,
        }
    }

    /// The error's name as a metric label.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::ImageMissing { .. } => "image_missing",
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
        }
    }
}
