//! What went wrong, in one shape on both sides of the wire: the one place where errors become gRPC codes.

use std::fmt::{self, Display};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
pub use tonic::{Code, Status};
use warren_core::command::Rejection;
use warren_core::id::InvalidId;
use warren_core::spec::FieldError;

/// The metadata key that names the refused field.
pub const FIELD: &str = "warren-field";
/// The metadata key that says what to do next.
pub const HINT: &str = "warren-hint";
/// The metadata key that names the leader's address, where another manager leads.
pub const LEADER: &str = "warren-leader";
/// The metadata key that names the cluster's epoch, where a manager of an earlier one is refused.
pub const EPOCH: &str = "warren-epoch";
/// The metadata key that says after how many milliseconds a call that was one too many may be made again.
pub const RETRY_AFTER: &str = "warren-retry-after-ms";

/// The metadata key of a request that takes an answer from what the manager that is asked knows, though it may be old.
/// Any value. Calls that do not only look do not know it.
pub const STALE: &str = "warren-stale";
/// The metadata key of such an answer: the last entry that is in it.
pub const APPLIED: &str = "warren-applied";
/// The metadata key of such an answer: for so many milliseconds its manager has heard no leader; absent where it has
/// not since it started.
pub const SILENCE: &str = "warren-silence-ms";

/// The longest message: gRPC carries it in a header, percent-encoded, and headers end at 16 KiB.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// How tonic begins the message about a message above the decoder's limit.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// A refused or failed call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    /// The gRPC code.
    pub code: Code,
    /// What went wrong and why, in a sentence.
    pub message: String,
    /// The path of the field that is wrong, in the API's words, as in `spec.template.image`.
    pub field: Option<String>,
    /// What to do next, where the message does not say it.
    pub hint: Option<String>,
}

impl Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ApiError {}

impl ApiError {
    /// An error with a code and a sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, hint: None }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// INVALID_ARGUMENT about a field.
    pub fn field(field: impl Into<String>, problem: impl Display) -> Self {
        FieldError::new(field, problem).into()
    }

    /// UNIMPLEMENTED: what is missing, and what to use instead.
    pub fn unbuilt(what: impl Display, instead: impl Display) -> Self {
        Self::new(Code::Unimplemented, format!("{what} not built yet: {instead}"))
    }

    /// UNAVAILABLE: nothing was changed, and a later try may succeed.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self {
            code: Code::InvalidArgument,
            message: error.problem,
            field: Some(error.field),
            hint: None,
        }
    }
}

impl From<InvalidId> for ApiError {
    fn from(error: InvalidId) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        Self::new(code_of(&rejection), rejection.to_string())
    }
}

fn code_of(rejection: &Rejection) -> Code {
    match rejection {
        Rejection::AlreadyInitialised
        | Rejection::NameTaken { .. }
        | Rejection::AccessNameTaken(_)
        | Rejection::FileTaken { .. } => Code::AlreadyExists,
        Rejection::NoService(_)
        | Rejection::NoNode(_)
        | Rejection::NoAccessToken(_)
        | Rejection::NoFile { .. }
        | Rejection::NoFileVersion { .. }
        | Rejection::NotFrozen { .. } => Code::NotFound,
        Rejection::NameFixed(_) => Code::InvalidArgument,
        Rejection::Conflict { .. } | Rejection::Deleting(_) | Rejection::Stale(_) => Code::Aborted,
        Rejection::NotScalable(_)
        | Rejection::Busy { .. }
        | Rejection::NoRollout { .. }
        | Rejection::NothingBefore(_)
        | Rejection::NotNow(_)
        | Rejection::FileInUse { .. }
        | Rejection::Frozen { .. }
        | Rejection::FrozenAlready { .. } => Code::FailedPrecondition,
        Rejection::Unfit(_) => Code::InvalidArgument,
        Rejection::NotYours { .. } | Rejection::NotAdmitted(_) => Code::PermissionDenied,
        Rejection::TooMany { .. } | Rejection::NoSubnet(_) => Code::ResourceExhausted,
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let message = match &error.field {
            Some(field) => format!("{field}: {}", error.message),
            None => error.message,
        };
        let message = crate::convert::task::cut(message, MESSAGE_BYTES_MAX);
        let mut metadata = MetadataMap::new();
        for (key, text) in [(FIELD, error.field), (HINT, error.hint)] {
            // A text that is no header value is left out: the message says it too, or it is advice only.
            if let Some(text) = text.filter(|text| text.is_ascii())
                && let Ok(text) = MetadataValue::<Ascii>::try_from(text)
            {
                metadata.insert(key, text);
            }
        }
        Self::with_metadata(error.code, message, metadata)
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let text = |key| status.metadata().get(key)?.to_str().ok().map(str::to_owned);
        let field: Option<String> = text(FIELD);
        let mut message = status.message().to_owned();
        if let Some(rest) = field.as_deref().and_then(|field| message.strip_prefix(field)) {
            message = rest.trim_start_matches([':', ' ']).to_owned();
        }
        let hint = text(HINT).or_else(|| advice(&status).map(str::to_owned));
        if message.is_empty() {
            message = status.code().description().to_owned();
        }
        if message.starts_with(TOO_LARGE) {
            let sizes = message.trim_start_matches(TOO_LARGE).trim_start_matches([':', ' ']);
            let message = format!("the message is too large: {sizes}");
            return Self { code: Code::ResourceExhausted, message, field, hint };
        }
        Self { code: status.code(), message, field, hint }
    }
}

/// How a refusal speaks of the roles of who was refused.
const ROLE: [&str; 2] = ["it needs the role", "it asks for"];

/// What a caller can do about a code by itself.
fn advice(status: &Status) -> Option<&'static str> {
    match status.code() {
        Code::Unavailable => Some("nothing was changed: try again in a moment"),
        Code::DeadlineExceeded => {
            Some("it may or may not have been done: look at the result, then try again")
        }
        // A machine that is not let in is told otherwise: no role would help it.
        Code::PermissionDenied if ROLE.iter().any(|words| status.message().contains(words)) => {
            Some(
                "have somebody do it who may, or give you the role: `warren token ls` shows who has which",
            )
        }
        Code::PermissionDenied
        | Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_back_as_they_went() {
        let plain = ApiError::new(Code::NotFound, "there is no service wbe");
        let field = ApiError::field("spec.template.image", "is empty: say what to run");
        let hinted = ApiError::new(Code::Aborted, "lagged").hint("watch again");
        for error in [plain, field, hinted] {
            assert_eq!(ApiError::from(Status::from(error.clone())), error);
        }
    }

    #[test]
    fn a_field_is_in_the_message_too_for_clients_that_do_not_know_ours() {
        let status = Status::from(ApiError::field("name", "is empty"));
        assert_eq!(status.message(), "name: is empty");
        assert_eq!(status.code(), Code::InvalidArgument);
    }

    #[test]
    fn what_no_header_can_carry_is_left_out() {
        let error = ApiError::field("env.é", "bad".repeat(9000));
        let status = Status::from(error);
        assert!(status.metadata().get(FIELD).is_none());
        assert!(status.message().len() <= MESSAGE_BYTES_MAX);
        assert!(status.message().starts_with("env.é: bad"));
    }

    #[test]
    fn only_who_lacks_a_role_is_told_of_roles() {
        let advice = |message: &str| ApiError::from(Status::permission_denied(message)).hint;
        let lacks = advice("bob may not do this: it needs the role deployer");
        assert!(lacks.is_some_and(|advice| advice.contains("give you the role")));
        assert!(advice("ann cannot approve this step: it asks for captain").is_some());
        assert_eq!(advice("n1 is called w1 already: choose another name with --hostname"), None);
    }

    #[test]
    fn a_message_above_the_limit_says_so() {
        let text = format!("{TOO_LARGE}: found 10485760 bytes, the limit is: 4194304 bytes");
        let error = ApiError::from(Status::out_of_range(text));
        assert_eq!(error.code, Code::ResourceExhausted);
        assert!(error.message.contains("the limit is: 4194304 bytes"), "{error}");
    }
}
