//! One call to the engine: its time limit, and what its answer means.

use crate::runtime::{Enforcement, RuntimeError, RuntimeInfo, RuntimeKind, Scope, label};
use bollard::ClientVersion;
use bollard::errors::Error;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use warren_core::units::{Bytes, MilliCpu};

/// For calls that read: an engine answers in milliseconds, a machine that swaps in seconds.
pub(super) const READ: Duration = Duration::from_secs(15);

/// For calls that change something: setting up a container's network on a busy machine takes seconds.
pub(super) const CHANGE: Duration = Duration::from_secs(60);

/// For questions that the engine passes on to a registry.
pub(super) const REGISTRY: Duration = Duration::from_secs(60);

/// bollard's own limit, out of the way: each call here has its own.
const TRANSPORT_SECS: u64 = 24 * 3600;

/// The API of Docker 20.10, the oldest that knows what Warren asks.
const OLDEST_API: (usize, usize) = (1, 41);

/// A connection to one engine. Every request opens its own, so a restarted engine is simply found again.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) docker: bollard::Docker,
    name: String,
}

impl Client {
    pub(super) async fn connect(endpoint: &str) -> Result<Self, RuntimeError> {
        let name = format!("docker at {endpoint}");
        let unavailable = |error: Error| RuntimeError::Unavailable {
            runtime: name.clone(),
            why: format!("{}; check that the engine runs and may be reached", chain(&error)),
        };
        let version = bollard::API_DEFAULT_VERSION;
        let docker = if endpoint.starts_with("unix://") {
            bollard::Docker::connect_with_unix(endpoint, TRANSPORT_SECS, version)
        } else {
            bollard::Docker::connect_with_http(endpoint, TRANSPORT_SECS, version)
        };
        let negotiation = docker.map_err(unavailable)?.negotiate_version();
        let docker = tokio::time::timeout(READ, negotiation)
            .await
            .map_err(|_| timeout("asking the engine for its version", READ))?
            .map_err(unavailable)?;
        let ClientVersion { major_version, minor_version } = docker.client_version();
        if (major_version, minor_version) < OLDEST_API {
            return Err(RuntimeError::Refused {
                what: name,
                why: format!(
                    "it speaks API {major_version}.{minor_version}; Warren needs 1.41 or newer: \
                     upgrade to Docker 20.10 or newer"
                ),
            });
        }
        Ok(Self { docker, name })
    }

    /// Awaits one call for at most `limit`. `what` names it in errors.
    pub(super) async fn call<T>(
        &self,
        what: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, RuntimeError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.meaning(what, &error)),
            Err(_) => Err(timeout(what, limit)),
        }
    }

    /// What an engine's error means for `what`.
    pub(super) fn meaning(&self, what: &str, error: &Error) -> RuntimeError {
        let Error::DockerResponseServerError { status_code, message } = error else {
            return self.unavailable(chain(error));
        };
        let what = what.to_owned();
        let why = message.trim().to_owned();
        match status_code {
            404 => RuntimeError::NotFound { what },
            409 => RuntimeError::Conflict { what, why },
            _ if is_taken(&why) => RuntimeError::Conflict { what, why },
            400..=499 => RuntimeError::Refused { what, why },
            _ => self.unavailable(why),
        }
    }

    /// [`meaning`](Self::meaning) for the errors of a stream that outlives this borrow.
    pub(super) fn translator(
        &self,
        what: String,
    ) -> impl Fn(&Error) -> RuntimeError + Send + 'static {
        let client = self.clone();
        move |error| client.meaning(&what, error)
    }

    /// The engine does not answer, or says that it failed.
    pub(super) fn unavailable(&self, why: String) -> RuntimeError {
        RuntimeError::Unavailable { runtime: self.name.clone(), why }
    }

    pub(super) async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let info = self.call("asking the engine what it is", READ, self.docker.info()).await?;
        let ClientVersion { major_version, minor_version } = self.docker.client_version();
        let cpus = info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or_default();
        let architecture = info.architecture.unwrap_or_default();
        Ok(RuntimeInfo {
            kind: RuntimeKind::Docker,
            version: format!(
                "{} (API {major_version}.{minor_version})",
                info.server_version.unwrap_or_default()
            ),
            cpus: MilliCpu(cpus.saturating_mul(1000)),
            memory: Bytes(info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or_default()),
            platform: format!(
                "{}/{}",
                info.os_type.as_deref().unwrap_or("linux"),
                crate::runtime::info::platform_arch(&architecture)
            ),
            hostname: info.name.unwrap_or_default(),
            kernel: info.kernel_version.unwrap_or_default(),
            enforces: Enforcement {
                memory: info.memory_limit.unwrap_or_default(),
                cpu: info.cpu_cfs_quota.unwrap_or_default(),
                pids: info.pids_limit.unwrap_or_default(),
            },
        })
    }
}

/// Filters that only things of this scope pass.
pub(super) fn ours(scope: &Scope) -> HashMap<String, Vec<String>> {
    let labels = vec![
        format!("{}={}", label::CLUSTER, scope.cluster),
        format!("{}={}", label::NODE, scope.node),
    ];
    HashMap::from([("label".to_owned(), labels)])
}

pub(super) fn timeout(what: &str, after: Duration) -> RuntimeError {
    RuntimeError::Timeout { what: what.to_owned(), after }
}

/// What somebody else has is reported with any code: a taken address as 403, a taken host port as 500, a name that two
/// networks have as 400.
fn is_taken(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["address already in use", "port is already allocated", "is ambiguous"]
        .iter()
        .any(|words| message.contains(words))
}

/// The error with its causes, which bollard's own text leaves out.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
