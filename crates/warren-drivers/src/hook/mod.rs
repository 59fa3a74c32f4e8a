//! One attempt to call a hook: somebody outside of Warren who is told of a release, or asked about it.

pub mod fake;
mod http;
mod message;

pub use http::HttpHooks;
pub use message::Message;

use async_trait::async_trait;
use std::time::Duration;
use warren_core::notice::Notice;

/// The part of an answer that is read: enough for the reason of a refusal. The rest is not waited for.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// The longest reason of a failure: it is shown in one line and kept in the timeline of the release.
pub const REASON_BYTES_MAX: usize = 256;

/// Calls hooks.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// Makes one attempt to deliver `notice`. It takes no longer than the timeout of its hook, which covers all from
    /// the look-up of the name to the end of the answer. An answer of 2xx is a yes.
    ///
    /// # Errors
    /// Anything else. [`HookError::may_pass`] says whether another attempt may help.
    async fn call(&self, notice: &Notice) -> Result<(), HookError>;
}

/// Why a call of a hook came to nothing. The texts name the host alone: the path of an address may be a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HookError {
    /// It answered, and not with 2xx.
    #[error("{host} answered {status}{}", after(words))]
    Refused {
        /// Who.
        host: String,
        /// The number of the status.
        code: u16,
        /// The status as text, as in `503 Service Unavailable`.
        status: String,
        /// The first words of the answer.
        words: String,
    },
    /// It did not answer in time.
    #[error("{host} did not answer within {}", humantime::format_duration(*.within))]
    Timeout {
        /// Who.
        host: String,
        /// The hook's timeout.
        within: Duration,
    },
    /// It was not reached, or the connection ended before the answer did.
    #[error("{host} was not reached: {why}")]
    Unreachable {
        /// Who.
        host: String,
        /// Why, in words.
        why: String,
    },
    /// The call cannot be made at all.
    #[error("{host} cannot be called: {why}")]
    Unusable {
        /// Who.
        host: String,
        /// Why, in words.
        why: String,
    },
}

impl HookError {
    /// Whether another attempt may go better: after a timeout, a lost connection, an answer of 5xx or of 429.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Refused { code, .. } => *code >= 500 || *code == 429,
            Self::Timeout { .. } | Self::Unreachable { .. } => true,
            Self::Unusable { .. } => false,
        }
    }

    /// One word for metrics.
    const fn word(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::Unusable { .. } => "unusable",
        }
    }

    /// A refusal with this status and answer.
    fn refused(host: &str, status: hyper::StatusCode, body: &[u8]) -> Self {
        let mut words = first_words(body);
        if status.is_redirection() {
            words = "redirects are not followed, give the hook the address that this one leads to"
                .to_owned();
        }
        let status_text = status.canonical_reason().map_or_else(
            || status.as_u16().to_string(),
            |reason| format!("{} {reason}", status.as_u16()),
        );
        Self::Refused { host: host.to_owned(), code: status.as_u16(), status: status_text, words }
    }
}

fn after(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// The beginning of an answer as one line, [`REASON_BYTES_MAX`] at most.
fn first_words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut words = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    words.truncate(words.floor_char_boundary(REASON_BYTES_MAX));
    words
}

#[cfg(test)]
mod tests;
