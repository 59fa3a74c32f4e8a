//! What a node is made of: everything is made first, then started one after the other.

use super::certificates::{Holder, Signer};
use super::data_dir::{DataDir, Run};
use super::encryption::Encrypts;
use super::facts::{facts, hello};
use super::identity::{Identity, Member};
use super::manager::{ManagerPart, Running};
use super::network::{self, Between, Problems};
use super::ready::Ready;
use super::runtime::NodeRuntime;
use super::{dns, http, metrics, port, subnet};
use crate::config::NodeConfig;
use crate::failure::{Exit, Failure, Outcome};
use crate::tasks::{TaskKind, Tasks};
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use warren_agent::{Agent, Membership, Published, Residue};
use warren_core::node::{NodeFacts, Role};
use warren_wire::channel::Target;

/// How often a starting node looks whether all of it is there.
const READY_LOOK: Duration = Duration::from_millis(20);

/// Everything that can be made without starting anything.
pub struct Parts {
    identity: Arc<Identity>,
    runtime: NodeRuntime,
    recorder: PrometheusHandle,
    http: Option<TcpListener>,
    agent: Agent,
    published: Published,
    address: IpAddr,
    dns: warren_dns::Server,
    /// Absent in a node that is about to make its cluster.
    member: Option<Member>,
    /// Absent in a worker.
    manager: Option<ManagerPart>,
    residue: oneshot::Sender<Residue>,
    /// What is in the way between this node's containers and those of others.
    problems: watch::Sender<Problems>,
    /// How what passes between them is encrypted; absent where it never is.
    encrypts: Option<Encrypts>,
}

/// What a started node waits for.
pub struct Started {
    holder: Holder,
    published: Published,
    /// Between this node's containers and those of others; absent where tasks are processes.
    pub network: Option<Between>,
}

impl Started {
    /// Returns once the cluster wants the node to be something else.
    pub async fn changes(&self) -> Role {
        self.holder.new_role(self.published.role.clone(), self.published.managers.clone()).await
    }
}

impl Parts {
    /// Makes everything; joins where that is asked and not done yet.
    ///
    /// # Errors
    /// What cannot be had, with what to do.
    pub async fn prepare(
        config: &NodeConfig,
        dir: &Arc<DataDir>,
        identity: &Arc<Identity>,
        recorder: &PrometheusHandle,
    ) -> Outcome<(Self, oneshot::Receiver<Residue>)> {
        let runtime = NodeRuntime::choose(config, dir).await?;
        let http = match config.http {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        let Place { member, listener, facts } = place(config, dir, identity, &runtime).await?;
        let role = member.as_ref().map_or(Role::Manager, |member| member.role);
        let (problems, problems_seen) = watch::channel(Problems::new());
        let (encrypts, encryption) = Encrypts::begin(config, dir, member.as_ref(), &facts).await?;
        let options = warren_agent::Options {
            data_dir: dir.path().join("agent"),
            key: identity.fingerprint().to_string(),
            dialer: identity.dialer(),
            managers: managers(config, member.as_ref()),
            facts: facts.clone(),
            encryption,
            manager: role == Role::Manager,
            subnet: runtime.subnet,
            labels: labels(config),
            resolver: runtime.has_containers(),
            mtu: match runtime.has_containers() {
                true => network::mtu(config.network, facts.address).await,
                false => None,
            },
            problems: problems_seen,
        };
        let (agent, published) = Agent::new(options, runtime.opener()).map_err(failed)?;
        let inside = runtime
            .subnet
            .map(|subnet| SocketAddr::from((subnet::first_host(subnet), subnet::DNS_PORT)));
        let listen = std::iter::once(config.dns).chain(inside).collect();
        let dns = dns::bind(config, listen, &published)?;
        let agent = agent.acknowledged_by(dns.acked());
        let manager = match listener {
            Some(listener) => {
                let node = member.as_ref().map_or(super::cluster::FIRST_NODE, |member| member.node);
                let address = SocketAddr::new(facts.address, facts.port).to_string();
                let part =
                    ManagerPart::prepare(config, dir, identity, node, listener, address).await?;
                Some(part)
            }
            None => None,
        };
        let (residue, left) = oneshot::channel();
        let (identity, recorder) = (Arc::clone(identity), recorder.clone());
        let parts = Self {
            identity,
            runtime,
            recorder,
            http,
            agent,
            published,
            address: facts.address,
            dns,
            member,
            manager,
            residue,
            problems,
            encrypts,
        };
        Ok((parts, left))
    }

    /// Starts the roles one after the other, each when what it stands on is there, until the node can do its work.
    ///
    /// # Errors
    /// A part of it broke, or the cluster could not be made.
    pub async fn start(
        self,
        config: &NodeConfig,
        dir: &Arc<DataDir>,
        tasks: &mut Tasks,
    ) -> Outcome<Started> {
        let dns_acked = self.dns.acked();
        let handle = self.manager.as_ref().map(ManagerPart::handle);
        let problems = self.problems.subscribe();
        let ready = Ready::new(handle.clone(), self.published.clone(), dns_acked, problems);
        let dns_addresses = self.dns.addresses();
        let page = metrics::Page {
            recorder: self.recorder.clone(),
            manager: handle,
            alias_prefix: config.metrics_alias_prefix.clone(),
        };
        let http =
            self.http.map(|listener| serve_http(listener, page, &ready, tasks)).transpose()?;
        let recorder = self.recorder;
        tasks.spawn_simple(TaskKind::Upkeep, |stop| metrics::upkeep(recorder, stop));
        let containers = self.runtime.has_containers();
        let running = match (self.manager, self.member) {
            (Some(manager), member) => {
                manager.start(config, dir, &self.identity, member, containers, tasks).await?
            }
            (None, Some(member)) => Running::worker(member),
            (None, None) => return Err(Failure::new(Exit::Failed, "a node is one of a cluster")),
        };
        let (server, known) = (self.dns, self.published.clone());
        tasks.spawn_simple(TaskKind::Dns, |stop| dns::run(server, known, containers, stop));
        run_agent(self.agent, self.residue, tasks);
        let holder = Holder {
            identity: Arc::clone(&self.identity),
            dir: Arc::clone(dir),
            member: running.member.clone(),
        };
        keep_certified(&holder, &running, &self.published, tasks);
        let network = containers.then(|| {
            let (backend, address, encrypts) = (config.network, self.address, self.encrypts);
            let network = Between { owner: running.member.owner(), backend, address, encrypts };
            let (role, known, problems) = (network.clone(), self.published.clone(), self.problems);
            tasks.spawn_simple(TaskKind::Network, |stop| role.run(known, problems, stop));
            network
        });
        or_broken(tasks, running.has_log(config)).await?;
        let me = or_broken(tasks, membership(&self.published)).await?;
        let mut all_dns = dns_addresses.clone();
        if containers {
            all_dns.push((me.gateway(), dns::CONTAINER_PORT).into());
        }
        let (member, address) = (running.member.clone(), running.address.clone());
        running.serve(dir, &all_dns, tasks).await?;
        or_broken(tasks, wait_ready(&ready)).await?;
        let run = Run {
            pid: std::process::id(),
            node_id: me.node.to_string(),
            role: member.role.to_string(),
            cluster_id: member.cluster,
            runtime: self.runtime.info.kind.to_string(),
            socket: dir.path().join(crate::client::SOCKET_NAME),
            address,
            http,
            dns: dns_addresses.first().copied().unwrap_or(config.dns),
            dns_all: all_dns,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        dir.tell_run(&run)?;
        log_up(&run);
        Ok(Started { holder, published: self.published, network })
    }
}

fn keep_certified(holder: &Holder, running: &Running, published: &Published, tasks: &mut Tasks) {
    let signer = match &running.keeper {
        Some(keeper) => Signer::Itself(keeper.clone()),
        None => Signer::Managers(published.managers.clone()),
    };
    let holder = holder.clone();
    tasks.spawn_simple(TaskKind::Certificates, |stop| holder.keep_fresh(signer, stop));
}

fn run_agent(agent: Agent, residue: oneshot::Sender<Residue>, tasks: &mut Tasks) {
    tasks.spawn_simple(TaskKind::Agent, |stop| async move {
        // Nobody waits for it where the node failed while it started.
        let _ = residue.send(agent.run(stop).await);
    });
}

fn serve_http(
    listener: TcpListener,
    page: metrics::Page,
    ready: &Ready,
    tasks: &mut Tasks,
) -> Outcome<SocketAddr> {
    let address = listener.local_addr()?;
    let ready = ready.clone();
    tasks.spawn_simple(TaskKind::Http, |stop| http::run(listener, page, ready, stop));
    Ok(address)
}

fn log_up(run: &Run) {
    tracing::info!(
        node = run.node_id,
        role = run.role,
        cluster = run.cluster_id,
        runtime = run.runtime,
        address = run.address,
        socket = %run.socket.display(),
        dns = %run.dns,
        http = run.http.map(|address| address.to_string()),
        "node is up"
    );
}

/// What a node is in its cluster.
struct Place {
    /// Absent in a node that is about to make its cluster.
    member: Option<Member>,
    /// Of a manager.
    listener: Option<TcpListener>,
    facts: NodeFacts,
}

/// Finds out what this node is: what it was before, what it joins as, or the first of a new cluster.
async fn place(
    config: &NodeConfig,
    dir: &DataDir,
    identity: &Identity,
    runtime: &NodeRuntime,
) -> Outcome<Place> {
    let known = identity.member(dir)?;
    // A worker listens nowhere: it takes the port only to offer itself as a manager.
    let port = match known.as_ref().map(|member| member.role) {
        Some(Role::Worker) => None,
        Some(Role::Manager) | None => Some(port::bind(config.listen).await),
    };
    let taken = port.as_ref().and_then(|port| port.as_ref().ok()?.local_addr().ok());
    let mut facts = facts(config, runtime, taken.map_or(0, |address| address.port()));
    let member = match (known, &config.join) {
        (Some(member), Some(join)) => Some(found_again(member, &join.manager, identity, dir)?),
        (Some(member), None) => Some(member),
        (None, None) => None,
        (None, Some(join)) => {
            let hello = hello(config, runtime, &facts, identity.fingerprint().to_string());
            let has_pool = runtime.has_containers();
            super::join::check_other(&join.manager, taken)?;
            Some(super::join::join(join, hello, identity, dir, has_pool).await?)
        }
    };
    let role = member.as_ref().map_or(Role::Manager, |member| member.role);
    let listener = match (role, port) {
        (Role::Manager, Some(port)) => Some(port?),
        (Role::Manager, None) | (Role::Worker, _) => None,
    };
    if role == Role::Worker {
        facts.port = 0;
    }
    Ok(Place { member, listener, facts })
}

/// A node of the cluster that is told where a manager is: it looks there first, now and later. Whoever answers there
/// has to be of its cluster.
fn found_again(
    member: Member,
    manager: &str,
    identity: &Identity,
    dir: &DataDir,
) -> Outcome<Member> {
    let mut managers = member.managers.clone();
    managers.retain(|known| known != manager);
    managers.insert(0, manager.to_owned());
    let next = Member { managers, ..member.clone() };
    if next != member {
        identity.keep_member(dir, &next)?;
    }
    Ok(next)
}

/// Where the agent looks for the leader first: in its own process, then where managers were when the node joined.
fn managers(config: &NodeConfig, member: Option<&Member>) -> Vec<Target> {
    let own = match member {
        Some(Member { role: Role::Worker, .. }) => None,
        Some(Member { role: Role::Manager, .. }) | None => Some(config.agent_target()),
    };
    let known = member.into_iter().flat_map(|member| &member.managers);
    own.into_iter().chain(known.filter_map(|text| text.parse().ok())).collect()
}

fn labels(config: &NodeConfig) -> std::collections::BTreeMap<String, String> {
    config.node_labels.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
}

/// Does `work`, or ends with the role that broke meanwhile.
pub(super) async fn or_broken<T>(
    tasks: &mut Tasks,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
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

pub(super) fn failed(error: impl std::error::Error) -> Failure {
    let causes: Vec<String> =
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| (*error).source())
            .map(ToString::to_string)
            .collect();
    Failure::new(Exit::Failed, causes.join(": "))
}
