//! Health checks.

use super::{NOT_ZERO, no_nul, port, span};
use crate::v1;
use std::time::Duration;
use v1::health_check::Probe as Wanted;
use warren_core::spec::{
    COMMAND_BYTES_MAX, FieldError, HealthCheck, INTERVAL_MIN, PATH_BYTES_MAX, Probe,
};
use warren_core::time::millis;

/// Reads a check.
///
/// # Errors
/// No probe, a port out of range, a path that is none, an empty command, or a time too short.
pub fn parse(check: v1::HealthCheck) -> Result<HealthCheck, FieldError> {
    let probe = check.probe.ok_or_else(|| {
        FieldError::new("probe", "says nothing: write http, tcp, exec or grpc with its port")
    })?;
    let default = HealthCheck::new(parse_probe(probe)?);
    Ok(HealthCheck {
        interval: span("interval_ms", check.interval_ms, INTERVAL_MIN, default.interval)?,
        timeout: span("timeout_ms", check.timeout_ms, NOT_ZERO, default.timeout)?,
        start_period: span(
            "start_period_ms",
            check.start_period_ms,
            Duration::ZERO,
            default.start_period,
        )?,
        retries: at_least_one("retries", check.retries.unwrap_or(default.retries))?,
        successes: at_least_one("successes", check.successes.unwrap_or(default.successes))?,
        probe: default.probe,
    })
}

/// The message that parses to `check`.
#[must_use]
pub fn render(check: &HealthCheck) -> v1::HealthCheck {
    let probe = match check.probe.clone() {
        Probe::Http { port, path } => Wanted::Http(v1::HttpProbe { port: port.into(), path }),
        Probe::Tcp { port } => Wanted::Tcp(v1::TcpProbe { port: port.into() }),
        Probe::Exec { command } => Wanted::Exec(v1::ExecProbe { command }),
        Probe::Grpc { port, service } => Wanted::Grpc(v1::GrpcProbe { port: port.into(), service }),
    };
    v1::HealthCheck {
        probe: Some(probe),
        interval_ms: Some(millis(check.interval)),
        timeout_ms: Some(millis(check.timeout)),
        start_period_ms: Some(millis(check.start_period)),
        retries: Some(check.retries),
        successes: Some(check.successes),
    }
}

fn parse_probe(probe: Wanted) -> Result<Probe, FieldError> {
    Ok(match probe {
        Wanted::Http(http) => {
            Probe::Http { port: port("http.port", http.port)?, path: url_path(http.path)? }
        }
        Wanted::Tcp(tcp) => Probe::Tcp { port: port("tcp.port", tcp.port)? },
        Wanted::Exec(exec) => Probe::Exec { command: command("exec.command", exec.command)? },
        Wanted::Grpc(grpc) => Probe::Grpc {
            port: port("grpc.port", grpc.port)?,
            service: printable("grpc.service", grpc.service)?,
        },
    })
}

fn url_path(path: String) -> Result<String, FieldError> {
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if !path.starts_with('/') {
        let problem = format!("{path:?} does not begin with '/': write as in /health");
        return Err(FieldError::new("http.path", problem));
    }
    printable("http.path", path)
}

/// What may stand in a request line.
fn printable(field: &str, text: String) -> Result<String, FieldError> {
    if text.len() > PATH_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = format!("write {PATH_BYTES_MAX} printable characters at most, no blanks");
        return Err(FieldError::new(field, problem));
    }
    Ok(text)
}

fn command(field: &str, words: Vec<String>) -> Result<Vec<String>, FieldError> {
    if words.first().is_none_or(String::is_empty) {
        return Err(FieldError::new(field, "is empty: write a program and its arguments"));
    }
    let size: usize = words.iter().map(|word| word.len() + 1).sum();
    if size > COMMAND_BYTES_MAX {
        let problem = format!("{size} bytes in all, {COMMAND_BYTES_MAX} at most");
        return Err(FieldError::new(field, problem));
    }
    words.into_iter().map(|word| no_nul(field, word)).collect()
}

fn at_least_one(field: &str, count: u32) -> Result<u32, FieldError> {
    if count == 0 {
        return Err(FieldError::new(field, "0 would never be reached: write 1 or more"));
    }
    Ok(count)
}
