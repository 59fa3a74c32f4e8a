//! What runs the tasks of this node: chosen once, kept from then on.

use super::data_dir::{DataDir, Kept};
use super::subnet;
use crate::commands::supervise;
use crate::config::{NodeConfig, RuntimeChoice};
use crate::failure::{Exit, Failure, Outcome};
use ipnet::Ipv4Net;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;
use warren_agent::OpenRuntime;
use warren_core::id::NodeId;
use warren_core::units::Bytes;
use warren_drivers::runtime::docker::DockerOptions;
use warren_drivers::runtime::process::ProcessOptions;
use warren_drivers::runtime::{self, Options, RuntimeInfo, RuntimeKind, Scope};

/// How long a runtime has to say what it is: an engine under load takes seconds.
const INFO_TIMEOUT: Duration = Duration::from_secs(10);

/// The log of one task: enough to see what happened, small enough for hundreds of tasks.
const LOG_BYTES_MAX: Bytes = Bytes::from_mib(30);

/// The runtime of this node.
pub struct NodeRuntime {
    /// What it is.
    pub info: RuntimeInfo,
    /// The addresses that its tasks must have, where the cluster does not choose.
    pub subnet: Option<Ipv4Net>,
    recipe: Recipe,
}

/// How to open it for a cluster and a node.
#[derive(Clone)]
enum Recipe {
    Docker { endpoint: String },
    Process { folder: PathBuf },
}

impl Recipe {
    fn options(&self, scope: Scope) -> Options {
        match self {
            Self::Docker { endpoint } => Options::Docker(DockerOptions {
                endpoint: endpoint.clone(),
                log_bytes_max: LOG_BYTES_MAX,
                registry_config: registry_config(),
                ..DockerOptions::new(scope)
            }),
            Self::Process { folder } => Options::Process(ProcessOptions {
                scope,
                folder: folder.clone(),
                // The running program, even after its file was replaced by an upgrade.
                supervisor: vec!["/proc/self/exe".into(), supervise::NAME.into()],
                log_bytes_max: LOG_BYTES_MAX,
            }),
        }
    }

    async fn info(&self) -> Outcome<RuntimeInfo> {
        // Nothing is listed or made before the node knows its cluster.
        let scope = Scope { cluster: String::new(), node: NodeId(0) };
        let asked = async { runtime::open(self.options(scope)).await?.info().await };
        match timeout(INFO_TIMEOUT, asked).await {
            Ok(Ok(info)) => Ok(info),
            Ok(Err(error)) => Err(Failure::new(Exit::Failed, error)),
            Err(_) => {
                let why = format!("the runtime did not answer within {INFO_TIMEOUT:?}");
                Err(Failure::new(Exit::Failed, why))
            }
        }
    }
}

/// Where `docker login` leaves credentials for registries.
fn registry_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    folder.or_else(home).map(|folder| folder.join("config.json")).filter(|file| file.exists())
}

impl NodeRuntime {
    /// Chooses the runtime: the one the node had before, or the one that is wanted.
    ///
    /// # Errors
    /// It does not answer, or the node has run tasks with another.
    pub async fn choose(config: &NodeConfig, dir: &DataDir) -> Outcome<Self> {
        let kept = dir.kept()?;
        let recipe = Self::recipe(config, dir, kept.as_ref()).await?;
        let info = recipe.info().await.map_err(|failure| match &recipe {
            Recipe::Docker { .. } => failure.hint(
                "start Docker, name its socket with --docker-socket, or run tasks as processes with \
                 --runtime process",
            ),
            Recipe::Process { .. } => failure,
        })?;
        let subnet = match info.kind {
            RuntimeKind::Docker => None,
            RuntimeKind::Process => Some(subnet::loopback(kept.as_ref())?),
        };
        let keep = Kept { runtime: info.kind.to_string(), subnet };
        if kept.as_ref() != Some(&keep) {
            dir.keep(&keep)?;
        }
        Ok(Self { info, subnet, recipe })
    }

    async fn recipe(config: &NodeConfig, dir: &DataDir, kept: Option<&Kept>) -> Outcome<Recipe> {
        let docker =
            Recipe::Docker { endpoint: format!("unix://{}", config.docker_socket.display()) };
        let process = Recipe::Process { folder: dir.path().join("process") };
        let before = kept.map(|kept| kept.runtime.as_str());
        match (config.runtime, before) {
            (RuntimeChoice::Docker, Some("process")) | (RuntimeChoice::Process, Some("docker")) => {
                let before = before.unwrap_or_default();
                let why = format!("--runtime: this node has run its tasks with {before} before");
                Err(Failure::new(Exit::Usage, why)
                    .hint("leave --runtime out, or start a new node with another --data-dir"))
            }
            (RuntimeChoice::Docker, _) | (RuntimeChoice::Auto, Some("docker")) => Ok(docker),
            (RuntimeChoice::Process, _) | (RuntimeChoice::Auto, Some(_)) => Ok(process),
            (RuntimeChoice::Auto, None) => match docker.info().await {
                Ok(_) => Ok(docker),
                Err(failure) => {
                    tracing::info!(why = %failure, "no docker here, tasks run as processes");
                    Ok(process)
                }
            },
        }
    }

    /// Whether tasks are containers with a network and a resolver of their own.
    pub fn has_containers(&self) -> bool {
        self.info.kind == RuntimeKind::Docker
    }

    /// How the agent opens it, again and again where it does not answer.
    pub fn opener(&self) -> OpenRuntime {
        let recipe = self.recipe.clone();
        Box::new(move |scope| Box::pin(runtime::open(recipe.options(scope))))
    }
}
