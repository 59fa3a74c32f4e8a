//! The configuration of a node, typed.

use super::keys::FREEZE_WINDOWS;
use super::{Settings, Source};
use crate::failure::{Failure, Outcome};
use crate::flags::words;
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use warren_core::spec::{HostName, LABEL_VALUE_BYTES_MAX, LabelKey};
use warren_drivers::network::{Backend, TUNNEL_PORT};
use warren_manager::FreezeWindow;
use warren_wire::channel::Target;
use warren_wire::trust::JoinToken;

/// What is to run the tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuntimeChoice {
    /// Docker where it answers, processes where not.
    Auto,
    /// Docker.
    Docker,
    /// Processes.
    Process,
}

/// What keeps the cluster's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreChoice {
    /// redb
    Redb,
    /// sled
    Sled,
}

/// How messages are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Who is asked for names outside the zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstreams {
    /// The resolvers of this machine.
    Host,
    /// These. None at all refuses other names.
    These(Vec<SocketAddr>),
}

/// The cluster that a new node joins.
#[derive(Clone, Debug)]
pub struct Join {
    /// Where one of its managers is.
    pub manager: String,
    /// What lets the node in; a node of the cluster needs none to look for its managers there.
    pub token: Option<JoinToken>,
}

/// The configuration of a node. The keys' descriptions say what each means.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub data_dir: PathBuf,
    pub runtime: RuntimeChoice,
    pub docker_socket: PathBuf,
    /// Absent: off.
    pub http: Option<SocketAddr>,
    /// Empty: none.
    pub metrics_alias_prefix: String,
    pub dns: SocketAddr,
    pub dns_upstreams: Upstreams,
    pub store: StoreChoice,
    pub zone: String,
    pub pool: Ipv4Net,
    pub network: Backend,
    pub wireguard_port: u16,
    pub wireguard_sockets: PathBuf,
    pub listen: SocketAddr,
    /// Of one caller; 0 for no limit.
    pub calls_per_second: u32,
    pub certificate_life: Duration,
    /// Absent: the address that the machine sends from.
    pub advertise: Option<IpAddr>,
    /// Absent: the node resumes its cluster, or makes one.
    pub join: Option<Join>,
    /// Absent: the machine's.
    pub hostname: Option<HostName>,
    pub node_labels: BTreeMap<LabelKey, String>,
    pub log: String,
    pub log_format: LogFormat,
    pub freeze_windows: Vec<FreezeWindow>,
    pub stop_timeout: Duration,
}

/// The most freeze windows: one a week of a year, and some. The leader looks at each every two seconds.
const FREEZE_WINDOWS_MAX: usize = 64;

/// The longest other prefix of metrics: longer than any name of a product.
const METRICS_PREFIX_BYTES_MAX: usize = 40;

/// How long certificates may live: long enough to be renewed in, and not for good.
const CERTIFICATE_LIFE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(366 * 24 * 3_600);

/// The sizes of a pool: two nodes at least, and no more than a private network has.
const POOL_PREFIXES: std::ops::RangeInclusive<u8> = 8..=23;

impl NodeConfig {
    /// Where the node's own agent attaches.
    pub fn agent_target(&self) -> Target {
        Target::Unix(self.data_dir.join(crate::node::AGENT_SOCKET))
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// The first value that cannot be, with its key and where it came from.
    pub fn from_settings(settings: &Settings) -> Outcome<Self> {
        let read = Reader(settings);
        let path = |key| read.with(key, |text| Ok::<_, String>(PathBuf::from(text)));
        Ok(Self {
            data_dir: read.with("data_dir", |text| {
                std::path::absolute(text).map_err(|e| format!("not a path: {e}"))
            })?,
            runtime: read.one_of(
                "runtime",
                &[
                    ("auto", RuntimeChoice::Auto),
                    ("docker", RuntimeChoice::Docker),
                    ("process", RuntimeChoice::Process),
                ],
            )?,
            docker_socket: path("docker_socket")?,
            http: read.with("http", |text| match text {
                "off" => Ok(None),
                _ => address(text).map(Some),
            })?,
            metrics_alias_prefix: read.with("metrics_alias_prefix", metrics_prefix)?,
            dns: read.with("dns", address)?,
            dns_upstreams: read.with("dns_upstreams", upstreams)?,
            store: read
                .one_of("store", &[("redb", StoreChoice::Redb), ("sled", StoreChoice::Sled)])?,
            zone: read.with("zone", zone)?,
            pool: read.with("pool", pool)?,
            network: read.with("network", Backend::from_str)?,
            wireguard_port: read.with("wireguard_port", wireguard_port)?,
            wireguard_sockets: path("wireguard_sockets")?,
            listen: read.with("listen", address)?,
            calls_per_second: read.with("calls_per_second", calls_per_second)?,
            certificate_life: read.with("certificate_life", certificate_life)?,
            advertise: read.with("advertise", advertised)?,
            join: join(&read)?,
            hostname: read.with("hostname", |text| match text {
                "" => Ok(None),
                _ => HostName::from_str(text).map(Some),
            })?,
            node_labels: read.with("node_label", labels)?,
            log: read.with("log", |text| {
                let filter = EnvFilter::builder().parse(text);
                filter.map(|_| text.to_owned()).map_err(|e| format!("{text:?} is no filter: {e}"))
            })?,
            log_format: read
                .one_of("log_format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
            freeze_windows: read.with(FREEZE_WINDOWS, freeze_windows)?,
            stop_timeout: read.with("stop_timeout", words::duration)?,
        })
    }
}

struct Reader<'a>(&'a Settings);

impl Reader<'_> {
    fn with<T, E: Display>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Outcome<T> {
        let Some(setting) = self.0.get(key) else {
            return Err(Failure::usage(format!("{key} is not a key")));
        };
        parse(setting.value.trim()).map_err(|why| {
            Failure::usage(match &setting.source {
                Source::File(path) => format!("{}: {key}: {why}", path.display()),
                Source::Default | Source::Env(_) | Source::Flag(_) => {
                    format!("{}: {why}", setting.source)
                }
            })
        })
    }

    fn one_of<T: Copy>(&self, key: &str, list: &[(&'static str, T)]) -> Outcome<T> {
        self.with(key, |text| {
            let named = list.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
            named.ok_or_else(|| format!("{text:?} is none of {}", words::names(list).join(", ")))
        })
    }
}

fn join(read: &Reader<'_>) -> Outcome<Option<Join>> {
    let manager = read.with("join", |text| match text {
        "" => Ok(None),
        text => match text.parse() {
            Ok(Target::Tcp(address)) => Ok(Some(address)),
            _ => Err(format!("{text:?} is not where a manager is: write as in 10.0.0.1:7400")),
        },
    })?;
    let token = read.with("token", |text| match text {
        "" => Ok(None),
        text => text.parse::<JoinToken>().map(Some),
    })?;
    match (manager, token) {
        (Some(manager), token) => Ok(Some(Join { manager, token })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Failure::usage("--token needs --join")
            .hint("`warren cluster token` on a manager of the cluster prints both")),
    }
}

fn wireguard_port(text: &str) -> Result<u16, String> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("{text:?} is not a port: write a number from 1 on"))?;
    if port == TUNNEL_PORT {
        return Err(format!(
            "port {port} belongs to the tunnels that do not encrypt: write another"
        ));
    }
    Ok(port)
}

fn calls_per_second(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not a number of calls: write as in 500, or 0 for no limit")
    })
}

fn certificate_life(text: &str) -> Result<Duration, String> {
    let life = words::duration(text)?;
    if CERTIFICATE_LIFE.contains(&life) {
        return Ok(life);
    }
    Err(format!("{text} is no life for a certificate: write from 10s to 366d"))
}

fn advertised(text: &str) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let ip: IpAddr =
        text.parse().map_err(|_| format!("{text:?} is not an IP address: write as in 10.0.0.1"))?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{text} is not the address of one machine"));
    }
    Ok(Some(ip))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an address with a port: write as in 127.0.0.1:7401 or [::1]:7401")
    })
}

fn upstreams(text: &str) -> Result<Upstreams, String> {
    match text {
        "" => return Ok(Upstreams::Host),
        "off" => return Ok(Upstreams::These(Vec::new())),
        _ => {}
    }
    let one = |text: &str| {
        let text = text.trim();
        let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        bare.or_else(|_| text.parse()).map_err(|_| {
            format!("{text:?} is not an address: write as in 192.0.2.1 or 192.0.2.1:53, or `off`")
        })
    };
    text.split(',').map(one).collect::<Result<_, _>>().map(Upstreams::These)
}

fn metrics_prefix(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = text.is_empty() || text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !text.chars().all(legal) || text.len() > METRICS_PREFIX_BYTES_MAX {
        return Err(format!(
            "{text:?} is not the prefix of a metric: write up to {METRICS_PREFIX_BYTES_MAX} letters, digits and _, as in veritas_"
        ));
    }
    if text == "warren_" {
        return Err(
            "the metrics have the prefix warren_ already: write another, or nothing".to_owned()
        );
    }
    Ok(text.to_owned())
}

fn zone(text: &str) -> Result<String, String> {
    let bare = text.trim_matches('.').to_ascii_lowercase();
    // A zone and a host name have the same letters; 100 leaves room for the names in it.
    match HostName::parse(&bare) {
        Ok(_) if bare.len() <= 100 => Ok(bare),
        _ => Err(format!("{text:?} is not a DNS zone: write as in warren or warren.example")),
    }
}

fn pool(text: &str) -> Result<Ipv4Net, String> {
    let refuse = || format!("{text:?} is not a pool: write a network, as in 10.210.0.0/16");
    let net: Ipv4Net = text.parse().map_err(|_| refuse())?;
    if !POOL_PREFIXES.contains(&net.prefix_len()) {
        return Err(format!("{text} has the wrong size: write a network from /8 to /23"));
    }
    if net != net.trunc() {
        return Err(format!("{text} is an address inside of {}: write that", net.trunc()));
    }
    Ok(net)
}

fn freeze_windows(text: &str) -> Result<Vec<FreezeWindow>, String> {
    let parts: Vec<_> = text.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.len() > FREEZE_WINDOWS_MAX {
        let count = parts.len();
        return Err(format!("{count} windows are more than {FREEZE_WINDOWS_MAX}: join some"));
    }
    let windows = parts.into_iter().map(FreezeWindow::parse);
    windows.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn labels(text: &str) -> Result<BTreeMap<LabelKey, String>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = words::pair(part)?;
            if value.len() > LABEL_VALUE_BYTES_MAX {
                return Err(format!("{key}: longer than {LABEL_VALUE_BYTES_MAX} bytes"));
            }
            Ok((LabelKey::parse(&key).map_err(|e| e.to_string())?, value))
        })
        .collect()
}
