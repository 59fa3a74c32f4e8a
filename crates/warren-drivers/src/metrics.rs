//! The metrics of this crate, each with its kind and help for the reference page.

/// How long calls of the container runtime take.
pub(crate) const RUNTIME_CALL_SECONDS: &str = "warren_runtime_call_seconds";

/// How long looks at running tasks take.
pub(crate) const PROBE_SECONDS: &str = "warren_probe_seconds";

/// How long attempts to call a hook take.
pub(crate) const HOOK_SECONDS: &str = "warren_hook_attempt_seconds";

/// Every metric: name, kind, help.
pub const ALL: &[(&str, &str, &str)] = &[
    (
        RUNTIME_CALL_SECONDS,
        "histogram",
        "Duration of calls of the container runtime, by runtime, call and result (ok or the kind of error).",
    ),
    (
        PROBE_SECONDS,
        "histogram",
        "Duration of health and readiness probes, by kind (http, tcp, exec, grpc) and result (pass, fail).",
    ),
    (
        HOOK_SECONDS,
        "histogram",
        "Duration of attempts to call a hook, by result (yes, refused, timeout, unreachable, unusable).",
    ),
];
