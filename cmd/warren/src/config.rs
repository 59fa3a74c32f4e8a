//! What a node is told before it starts: defaults, then a file, then the environment, then flags. The last one wins.
//! All of it is read once, before any port is opened.

mod keys;
mod node;

pub use keys::KEYS;
pub use node::{Join, LogFormat, NodeConfig, RuntimeChoice, StoreChoice, Upstreams};

use crate::client::{ClientArgs, suggest};
use crate::failure::{Failure, Outcome};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file that is read where no other is named, if it exists.
pub const CONFIG_FILE: &str = "/etc/warren/warren.toml";

/// The largest configuration file: every key a thousand times.
const CONFIG_BYTES_MAX: u64 = 256 * 1024;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as text, and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The value; lists are separated as [`keys::Key::separator`] says.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// The settings of a node, by key.
pub type Settings = BTreeMap<&'static str, Setting>;

/// The flags of a node. Each sets the key of the same name.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Node")]
pub struct NodeFlags {
    /// Configuration file [default: /etc/warren/warren.toml, if it exists]
    #[arg(long, env = "WARREN_CONFIG", value_name = "FILE", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// What runs the tasks: auto, docker or process
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,
    /// Docker's socket
    #[arg(long, value_name = "PATH")]
    pub docker_socket: Option<String>,
    /// Where metrics and health are served by HTTP; `off` for nowhere
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
    /// Serves the metrics of releases under this prefix too, as in veritas_
    #[arg(long, value_name = "PREFIX")]
    pub metrics_alias_prefix: Option<String>,
    /// Where DNS is served besides the tasks' own gateway
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Option<String>,
    /// Resolvers for other names, separated by commas
    #[arg(long, value_name = "ADDRESSES")]
    pub dns_upstreams: Option<String>,
    /// Where the cluster's state is kept: redb or sled
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// DNS zone of a new cluster
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// Addresses that a new cluster gives to the tasks of its nodes
    #[arg(long, value_name = "CIDR")]
    pub pool: Option<String>,
    /// How containers of other nodes are reached: auto, host-gw, vxlan, wireguard or none
    #[arg(long, value_name = "BACKEND")]
    pub network: Option<String>,
    /// Port of UDP where this node speaks WireGuard
    #[arg(long, value_name = "PORT")]
    pub wireguard_port: Option<String>,
    /// Where programs that speak WireGuard in the kernel's place have their sockets
    #[arg(long, value_name = "PATH")]
    pub wireguard_sockets: Option<String>,
    /// Where other machines reach this node
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Calls of one caller in a second at a manager; 0 for no limit
    #[arg(long, value_name = "COUNT")]
    pub calls_per_second: Option<String>,
    /// How long the certificates live that this manager signs
    #[arg(long, value_name = "TIME")]
    pub certificate_life: Option<String>,
    /// Where other nodes reach this machine
    #[arg(long, value_name = "IP")]
    pub advertise: Option<String>,
    /// A manager of the cluster to join, as in 10.0.0.1:7400
    #[arg(long, value_name = "HOST:PORT")]
    pub join: Option<String>,
    /// What lets this machine in: see `warren cluster token`
    #[arg(long = "token", value_name = "TOKEN")]
    pub join_token: Option<String>,
    /// Name of this node
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Label of this node; may be repeated
    #[arg(long = "node-label", value_name = "KEY=VALUE")]
    pub node_labels: Vec<String>,
    /// Least important messages to log: error, warn, info, debug, trace, or a filter
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// How to log: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// When releases are held: MINUTE HOUR DAY MONTH WEEKDAY DURATION REASON in UTC, separated by semicolons
    #[arg(long, value_name = "WINDOWS")]
    pub freeze_windows: Option<String>,
    /// How long everything together has to stop
    #[arg(long, value_name = "TIME")]
    pub stop_timeout: Option<String>,
}

impl NodeFlags {
    fn given(&self, client: &ClientArgs) -> Vec<(&'static str, String)> {
        let labels = (!self.node_labels.is_empty()).then(|| self.node_labels.join(","));
        let data_dir = client.data_dir.as_ref().map(|path| path.display().to_string());
        [
            ("data_dir", data_dir),
            ("runtime", self.runtime.clone()),
            ("docker_socket", self.docker_socket.clone()),
            ("http", self.http.clone()),
            ("metrics_alias_prefix", self.metrics_alias_prefix.clone()),
            ("dns", self.dns.clone()),
            ("dns_upstreams", self.dns_upstreams.clone()),
            ("store", self.store.clone()),
            ("zone", self.zone.clone()),
            ("pool", self.pool.clone()),
            ("network", self.network.clone()),
            ("wireguard_port", self.wireguard_port.clone()),
            ("wireguard_sockets", self.wireguard_sockets.clone()),
            ("listen", self.listen.clone()),
            ("calls_per_second", self.calls_per_second.clone()),
            ("certificate_life", self.certificate_life.clone()),
            ("advertise", self.advertise.clone()),
            ("join", self.join.clone()),
            ("token", self.join_token.clone()),
            ("hostname", self.hostname.clone()),
            ("node_label", labels),
            ("log", self.log.clone()),
            ("log_format", self.log_format.clone()),
            ("freeze_windows", self.freeze_windows.clone()),
            ("stop_timeout", self.stop_timeout.clone()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}

/// Reads all layers. `env` looks one environment variable up.
///
/// # Errors
/// A file that cannot be read, or a key that there is not.
pub fn settings(
    flags: &NodeFlags,
    client: &ClientArgs,
    env: impl Fn(&str) -> Option<String>,
) -> Outcome<Settings> {
    let mut settings: Settings = KEYS
        .iter()
        .map(|key| {
            let value = key.default.to_owned();
            (key.name, Setting { value, source: Source::Default })
        })
        .collect();
    let default_file = Path::new(CONFIG_FILE);
    let file = flags.config.as_deref().or_else(|| default_file.exists().then_some(default_file));
    if let Some(path) = file {
        settings.extend(read_file(path)?);
    }
    for key in KEYS {
        let name = key.env();
        if let Some(value) = env(&name) {
            settings.insert(key.name, Setting { value, source: Source::Env(name) });
        }
    }
    for (key, value) in flags.given(client) {
        // `--data-dir` is read from the environment by the command line too: say where it really came from.
        let same =
            |setting: &Setting| matches!(setting.source, Source::Env(_)) && setting.value == value;
        if !settings.get(key).is_some_and(same) {
            let source = Source::Flag(format!("--{}", key.replace('_', "-")));
            settings.insert(key, Setting { value, source });
        }
    }
    Ok(settings)
}

fn read_file(path: &Path) -> Outcome<Vec<(&'static str, Setting)>> {
    let refuse = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?.len();
    if size > CONFIG_BYTES_MAX {
        return Err(refuse(format!("{size} bytes are more than {CONFIG_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| refuse(e.to_string()))?;
    let settings = table.into_iter().map(|(name, value)| {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let failure = refuse(format!("{name} is not a key"));
            return Err(match suggest(&name, KEYS.iter().map(|key| key.name)) {
                Some(meant) => failure.hint(format!("did you mean {meant}?")),
                None => failure.hint("`warren config show` lists the keys"),
            });
        };
        let value = text_of(value, key.separator())
            .ok_or_else(|| refuse(format!("{name} is neither a text, a number, nor a list")))?;
        Ok((key.name, Setting { value, source: Source::File(path.to_owned()) }))
    });
    settings.collect()
}

fn text_of(value: toml::Value, separator: &str) -> Option<String> {
    use toml::Value;
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Array(list) => {
            let texts: Option<Vec<String>> =
                list.into_iter().map(|value| text_of(value, separator)).collect();
            texts.map(|texts| texts.join(separator))
        }
        Value::Table(table) => {
            let pairs: Option<Vec<String>> = table
                .into_iter()
                .map(|(key, value)| text_of(value, separator).map(|value| format!("{key}={value}")))
                .collect();
            pairs.map(|pairs| pairs.join(separator))
        }
        Value::Float(_) | Value::Datetime(_) => None,
    }
}

#[cfg(test)]
mod tests;
