//! What the API measures.

use metrics::{counter, gauge, histogram};
use std::time::Duration;
use warren_wire::status::Code;

/// Calls, by method and code.
pub const REQUESTS: &str = "warren_api_requests_total";
/// Seconds that a call took, by method; for a stream until it began.
pub const SECONDS: &str = "warren_api_seconds";
/// Streams that are open, by method.
pub const STREAMS: &str = "warren_api_streams";

/// Every metric of the API: name, kind and help. The reference page is generated from it.
pub const ALL: &[(&str, &str, &str)] = &[
    (REQUESTS, "counter", "Calls, by method and gRPC code."),
    (SECONDS, "histogram", "Seconds that a call took, by method; for a stream until it began."),
    (STREAMS, "gauge", "Streams that are open, by method."),
];

pub(super) fn called(method: &'static str, code: Code, took: Duration) {
    counter!(REQUESTS, "method" => method, "code" => word(code)).increment(1);
    histogram!(SECONDS, "method" => method).record(took.as_secs_f64());
}

/// Counts a stream for as long as it lives.
pub(super) struct OpenStream(&'static str);

impl OpenStream {
    pub(super) fn new(method: &'static str) -> Self {
        gauge!(STREAMS, "method" => method).increment(1.0);
        Self(method)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        gauge!(STREAMS, "method" => self.0).decrement(1.0);
    }
}

const fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
