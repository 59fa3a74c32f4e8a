//! One look at a running task. What several looks mean is decided by `warren_core::health`.

mod exec;
mod grpc;
mod http;
mod tcp;

use crate::metrics::PROBE_SECONDS;
use crate::runtime::{ContainerRef, ContainerRuntime};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use warren_core::spec::Probe;

/// The longest reason of a failure: it is shown in one line and kept in events.
pub const REASON_BYTES_MAX: usize = 256;

/// What one look saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProbeOutcome {
    /// The task answered as it should.
    Pass,
    /// It did not, with the reason in a few words, [`REASON_BYTES_MAX`] at most.
    Fail(String),
}

impl ProbeOutcome {
    /// Whether the task answered as it should.
    #[must_use]
    pub const fn passed(&self) -> bool {
        match self {
            Self::Pass => true,
            Self::Fail(_) => false,
        }
    }
}

/// Whom to look at.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The task's address.
    pub address: Ipv4Addr,
    /// Its container, for commands.
    pub container: &'a ContainerRef,
    /// The runtime of that container.
    pub runtime: &'a dyn ContainerRuntime,
}

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address)
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

impl Target<'_> {
    fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }
}

/// Looks once. It takes no longer than `timeout`; a look that does has failed.
pub async fn probe(probe: &Probe, timeout: Duration, target: Target<'_>) -> ProbeOutcome {
    let begin = Instant::now();
    let look = async {
        match probe {
            Probe::Http { port, path } => http::look(target.port(*port), path).await,
            Probe::Tcp { port } => tcp::look(target.port(*port)).await,
            Probe::Exec { command } => exec::look(target, command).await,
            Probe::Grpc { port, service } => grpc::look(target.port(*port), service).await,
        }
    };
    let outcome = match tokio::time::timeout(timeout, look).await {
        Ok(Ok(())) => ProbeOutcome::Pass,
        Ok(Err(reason)) => ProbeOutcome::Fail(cut(reason)),
        Err(_) => {
            ProbeOutcome::Fail(format!("no answer within {}", humantime::format_duration(timeout)))
        }
    };
    let labels =
        [("kind", kind(probe)), ("result", if outcome.passed() { "pass" } else { "fail" })];
    metrics::histogram!(PROBE_SECONDS, &labels).record(begin.elapsed());
    outcome
}

const fn kind(probe: &Probe) -> &'static str {
    match probe {
        Probe::Http { .. } => "http",
        Probe::Tcp { .. } => "tcp",
        Probe::Exec { .. } => "exec",
        Probe::Grpc { .. } => "grpc",
    }
}

fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

/// The words of an error and of what caused it.
pub(crate) fn because(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
