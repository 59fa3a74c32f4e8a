//! From a configuration to a running node, and back.

use super::data_dir::{DataDir, Run};
use super::ready::Ready;
use super::runtime::NodeRuntime;
use super::{cluster, dns, http, metrics, subnet};
use crate::config::{NodeConfig, StoreChoice};
use crate::failure::{Exit, Failure, Outcome};
use crate::tasks::{TaskKind, Tasks};
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use warren_agent::{Agent, Membership, Published, Residue};
use warren_core::id::NodeId;
use warren_core::node::NodeFacts;
use warren_core::spec::HostName;
use warren_drivers::hook::HttpHooks;
use warren_manager::api::{Api, Backend, Info, router, server};
use warren_manager::{Manager, ManagerHandle};
use warren_raft::{Raft, Runner, SNAPSHOTS, StoreKind, TIMERS};
use warren_wire::channel;

/// The Raft id of a cluster's first node, which is the first thing that a new cluster gives an id to.
const FIRST_NODE: NodeId = NodeId(1);

/// How often a starting node looks whether all of it is there.
const READY_LOOK: Duration = Duration::from_millis(20);

/// How long the tasks of a node have to end when it is taken down, above their own stop timeouts.
const DOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a node ends.
enum Stop {
    /// It was asked to. Its tasks run on.
    Asked,
    /// It was asked to take its tasks with it, and maybe the images that it brought.
    Down { images: bool },
}

/// What asks a node to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    down: Signal,
    down_with_images: Signal,
}

impl Signals {
    fn listen() -> Outcome<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            down: signal(SignalKind::user_defined1())?,
            down_with_images: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Asked,
            _ = self.interrupt.recv() => Stop::Asked,
            _ = self.hangup.recv() => Stop::Asked,
            _ = self.down.recv() => Stop::Down { images: false },
            _ = self.down_with_images.recv() => Stop::Down { images: true },
        }
    }
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// It could not start, or a part of it broke.
pub async fn run(config: NodeConfig) -> Outcome {
    let mut signals = Signals::listen()?;
    let dir = DataDir::claim(&config.data_dir).await?;
    let mut tasks = Tasks::default();
    let parts = tokio::select! {
        parts = Parts::prepare(&config, &dir) => parts?,
        _ = signals.next() => return Ok(()),
    };
    let (parts, residue) = parts;
    let started = tokio::select! {
        started = parts.start(&config, &dir, &mut tasks) => started,
        stop = signals.next() => return end(stop, residue, tasks, &config, &dir).await,
    };
    if let Err(failure) = started {
        end(Stop::Asked, residue, tasks, &config, &dir).await?;
        return Err(failure);
    }
    let (stop, broken) = tokio::select! {
        stop = signals.next() => (stop, None),
        broken = tasks.broken() => (Stop::Asked, Some(broken)),
    };
    end(stop, residue, tasks, &config, &dir).await?;
    match broken {
        None => Ok(()),
        Some(broken) => Err(Failure::new(Exit::Failed, broken)
            .hint("its tasks run on; start the node again with the same --data-dir")),
    }
}

/// Stops everything in order. The tasks run on, unless they are to go as well.
async fn end(
    stop: Stop,
    residue: oneshot::Receiver<Residue>,
    tasks: Tasks,
    config: &NodeConfig,
    dir: &DataDir,
) -> Outcome {
    tracing::info!("stopping");
    dir.forget_run();
    let late = tasks.stop(config.stop_timeout).await;
    for name in [crate::client::SOCKET_NAME, AGENT_SOCKET] {
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    if let (Stop::Down { images }, Ok(residue)) = (stop, residue.await) {
        let stopped = residue.stop_all(DOWN_TIMEOUT, images).await.map_err(|error| {
            Failure::new(Exit::Failed, format!("not all tasks were removed: {error}"))
        })?;
        tracing::info!(tasks = stopped, "removed the tasks");
    }
    tracing::info!(late = late.len(), "stopped");
    Ok(())
}

/// The socket that the node's own agent attaches to.
pub const AGENT_SOCKET: &str = "agent.sock";

/// Everything that can be made without starting anything.
struct Parts {
    runtime: NodeRuntime,
    recorder: PrometheusHandle,
    http: Option<tokio::net::TcpListener>,
    agent: Agent,
    published: Published,
    dns: warren_dns::Server,
    sessions: UnixListener,
    raft: Raft,
    runner: Runner,
    residue: oneshot::Sender<Residue>,
}

impl Parts {
    async fn prepare(
        config: &NodeConfig,
        dir: &DataDir,
    ) -> Outcome<(Self, oneshot::Receiver<Residue>)> {
        let recorder = metrics::install()?;
        let runtime = NodeRuntime::choose(config, dir).await?;
        let http = match config.http {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        let options = warren_agent::Options {
            data_dir: dir.path().join("agent"),
            managers: vec![config.agent_target()],
            facts: facts(config, &runtime)?,
            manager: true,
            subnet: runtime.subnet,
            labels: labels(config),
            resolver: runtime.has_containers(),
        };
        let (agent, published) = Agent::new(options, runtime.opener()).map_err(failed)?;
        let inside = runtime
            .subnet
            .map(|subnet| SocketAddr::from((subnet::first_host(subnet), subnet::DNS_PORT)));
        let listen = std::iter::once(config.dns).chain(inside).collect();
        let dns = dns::bind(config, listen, &published)?;
        let agent = agent.acknowledged_by(dns.acked());
        let sessions = listen_unix(dir, AGENT_SOCKET).await?;
        let (raft, runner) = warren_raft::start(raft_options(config)).await.map_err(failed)?;
        let (residue, left) = oneshot::channel();
        let parts = Self {
            runtime,
            recorder,
            http,
            agent,
            published,
            dns,
            sessions,
            raft,
            runner,
            residue,
        };
        Ok((parts, left))
    }

    /// Starts the roles one after the other, each when what it stands on is there, until the node can do its work.
    async fn start(self, config: &NodeConfig, dir: &DataDir, tasks: &mut Tasks) -> Outcome {
        let (manager, handle) = manager(&self.raft, config);
        let ready = Ready::new(handle.clone(), self.published.clone(), self.dns.acked());
        let dns_addresses = self.dns.addresses();
        let http = match self.http {
            Some(listener) => {
                let address = listener.local_addr()?;
                let page = metrics::Page {
                    recorder: self.recorder.clone(),
                    manager: handle.clone(),
                    alias_prefix: config.metrics_alias_prefix.clone(),
                };
                let ready = ready.clone();
                tasks.spawn(TaskKind::Http, |stop| http::run(listener, page, ready, stop));
                Some(address)
            }
            None => None,
        };
        tasks.spawn_simple(TaskKind::Upkeep, |stop| metrics::upkeep(self.recorder, stop));
        let runner = self.runner;
        tasks.spawn(TaskKind::Raft, |stop| runner.run(stop));
        let has_pool = self.runtime.has_containers();
        let cluster_id =
            or_broken(tasks, cluster::resume_or_make(&self.raft, config, has_pool)).await?;
        tasks.spawn_simple(TaskKind::Manager, |stop| manager.run(stop));
        let sessions = UnixListenerStream::new(self.sessions);
        let service = handle.sessions().into_server();
        tasks.spawn(TaskKind::Sessions, |stop| {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(sessions, stop.cancelled_owned())
        });
        let (server, agent, residue) = (self.dns, self.agent, self.residue);
        let (known, containers) = (self.published.clone(), self.runtime.has_containers());
        tasks.spawn_simple(TaskKind::Dns, |stop| dns::run(server, known, containers, stop));
        tasks.spawn_simple(TaskKind::Agent, |stop| async move {
            // Nobody waits for it where the node failed while it started.
            let _ = residue.send(agent.run(stop).await);
        });
        let me = or_broken(tasks, membership(&self.published)).await?;
        let mut all_dns = dns_addresses.clone();
        if containers {
            all_dns.push((me.gateway(), dns::CONTAINER_PORT).into());
        }
        serve_api(dir, &handle, &all_dns, tasks).await?;
        or_broken(tasks, wait_ready(&ready)).await?;
        let run = Run {
            pid: std::process::id(),
            node_id: me.node.to_string(),
            cluster_id: cluster_id.to_string(),
            runtime: self.runtime.info.kind.to_string(),
            socket: dir.path().join(crate::client::SOCKET_NAME),
            http,
            dns: dns_addresses.first().copied().unwrap_or(config.dns),
            dns_all: all_dns,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        dir.tell_run(&run)?;
        tracing::info!(
            node = run.node_id,
            cluster = run.cluster_id,
            runtime = run.runtime,
            socket = %run.socket.display(),
            dns = %run.dns,
            http = run.http.map(|address| address.to_string()),
            "node is up"
        );
        Ok(())
    }
}

fn manager(raft: &Raft, config: &NodeConfig) -> (Manager, ManagerHandle) {
    let options = warren_manager::Options::DEFAULT;
    let (manager, handle) = Manager::new(options, raft.clone(), Arc::new(HttpHooks::new()));
    (manager.freezing(config.freeze_windows.clone()), handle)
}

/// Does `work`, or ends with the role that broke meanwhile.
async fn or_broken<T>(tasks: &mut Tasks, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::select! {
        biased;
        done = work => done,
        broken = tasks.broken() => Err(Failure::new(Exit::Failed, broken)),
    }
}

async fn membership(published: &Published) -> Outcome<Membership> {
    let mut membership = published.membership.clone();
    let known = membership.wait_for(Option::is_some).await;
    let known = known.ok().and_then(|known| known.clone());
    known.ok_or_else(|| Failure::new(Exit::Failed, "the agent ended before it was registered"))
}

async fn wait_ready(ready: &Ready) -> Outcome {
    let mut told = Vec::new();
    loop {
        let report = ready.report();
        if report.ready {
            return Ok(());
        }
        if report.problems != told {
            tracing::info!(problems = ?report.problems, "not ready yet");
            told = report.problems;
        }
        sleep(READY_LOOK).await;
    }
}

async fn serve_api(
    dir: &DataDir,
    handle: &ManagerHandle,
    dns: &[SocketAddr],
    tasks: &mut Tasks,
) -> Outcome {
    let listener = listen_unix(dir, crate::client::SOCKET_NAME).await?;
    let end_streams = CancellationToken::new();
    let api = Api::new(Backend {
        raft: handle.raft().clone(),
        published: handle.published(),
        reach: Arc::new(handle.relay()),
        info: Info {
            version: env!("CARGO_PKG_VERSION").into(),
            dns_addresses: dns.iter().map(ToString::to_string).collect(),
        },
        shutdown: end_streams.clone(),
    });
    let served = router(&api).map_err(failed)?;
    tasks.spawn_simple(TaskKind::ApiHealth, |stop| served.health.run(stop));
    tasks.spawn(TaskKind::Api, |stop| async move {
        let stopped = async {
            stop.cancelled().await;
            end_streams.cancel();
        };
        let incoming = UnixListenerStream::new(listener);
        let mut server = server();
        server.add_routes(served.routes).serve_with_incoming_shutdown(incoming, stopped).await
    });
    Ok(())
}

fn failed(error: impl std::error::Error) -> Failure {
    let causes: Vec<String> =
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| (*error).source())
            .map(ToString::to_string)
            .collect();
    Failure::new(Exit::Failed, causes.join(": "))
}

async fn listen_unix(dir: &DataDir, name: &str) -> Outcome<UnixListener> {
    channel::listen_unix(&dir.path().join(name)).await.map_err(failed)
}

fn raft_options(config: &NodeConfig) -> warren_raft::Options {
    warren_raft::Options {
        data_dir: config.data_dir.clone(),
        store: match config.store {
            StoreChoice::Redb => StoreKind::Redb,
            StoreChoice::Sled => StoreKind::Sled,
        },
        node: FIRST_NODE,
        timers: TIMERS,
        snapshots: SNAPSHOTS,
        transport: Arc::new(warren_raft::Alone),
    }
}

fn labels(config: &NodeConfig) -> std::collections::BTreeMap<String, String> {
    config.node_labels.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
}

fn facts(config: &NodeConfig, runtime: &NodeRuntime) -> Outcome<NodeFacts> {
    let info = &runtime.info;
    let hostname = match &config.hostname {
        Some(name) => name.clone(),
        None => host_name(&info.hostname),
    };
    Ok(NodeFacts {
        hostname,
        address: own_address(),
        platform: info.platform.clone(),
        cpu: info.cpus,
        memory: info.memory,
        runtime: format!("{} {}", info.kind, info.version),
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// A machine's name as a host name: what a host name cannot have becomes a dash.
fn host_name(name: &str) -> HostName {
    let legal = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let labels = name.to_ascii_lowercase();
    let labels = labels.split('.').map(|label| {
        let label: String = label.chars().map(legal).take(63).collect();
        label.trim_matches('-').to_owned()
    });
    let labels: Vec<String> = labels.filter(|label| !label.is_empty()).collect();
    let fallback = || HostName::parse("node").ok();
    let named = HostName::parse(&labels.join(".")).ok().or_else(fallback);
    named.unwrap_or_else(|| unreachable!("`node` is a host name"))
}

/// The address that this machine would be reached by: the one it would send from. Nothing is sent.
fn own_address() -> IpAddr {
    /// Kept for documentation: no machine has it, and the default route leads there.
    const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(ELSEWHERE)?;
        socket.local_addr()
    });
    asked.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_machine_s_name_becomes_a_host_name() {
        for (name, host) in [
            ("db-1.example.com", "db-1.example.com"),
            ("My_Laptop", "my-laptop"),
            ("-x-..Y", "x.y"),
            ("", "node"),
            ("___", "node"),
        ] {
            assert_eq!(host_name(name).as_str(), host, "{name}");
        }
    }
}
