//! What a node is made of: everything is made first, then started one after the other.

use super::certificates::{Door, Holder, Signer};
use super::data_dir::DataDir;
use super::disk;
use super::encryption::Encrypts;
use super::facts::{facts, hello};
use super::identity::{Identity, Member};
use super::manager::{ManagerPart, Running};
use super::network::{self, Between};
use super::problems::Problems;
use super::ready::Ready;
use super::runtime::NodeRuntime;
use super::started::{Change, Rest, Started};
use super::{displaced, dns, epoch, http, metrics, port, subnet};
use crate::config::NodeConfig;
use crate::failure::{Exit, Failure, Outcome};
use crate::tasks::{Ended, TaskKind, Tasks};
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use warren_agent::{Agent, Published, Residue};
use warren_core::node::{NodeFacts, Role};
use warren_wire::channel::Target;

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
    /// Where a worker proves to other nodes that it lives, if it has the port for that.
    proves: Option<TcpListener>,
    residue: oneshot::Sender<Residue>,
    /// What is in this node's way.
    problems: watch::Sender<Problems>,
    /// How what passes between them is encrypted; absent where it never is.
    encrypts: Option<Encrypts>,
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
        let (manager, proves) = match listener {
            Some(listener) if role == Role::Manager => {
                let node = member.as_ref().map_or(super::cluster::FIRST_NODE, |member| member.node);
                let address = SocketAddr::new(facts.address, facts.port).to_string();
                let part =
                    ManagerPart::prepare(config, dir, identity, node, listener, address).await?;
                (Some(part), None)
            }
            listener => (None, listener),
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
            proves,
            residue,
            problems,
            encrypts,
        };
        Ok((parts, left))
    }

    /// Starts the roles one after the other, each when what it stands on is there. [`Started::be_ready`] waits for the
    /// rest.
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
        let (home, told) = (dir.path().to_owned(), self.problems.clone());
        tasks.spawn_simple(TaskKind::Disk, |stop| disk::watch(home, told, stop));
        let containers = self.runtime.has_containers();
        let opens = self.proves.is_some();
        if let Some(listener) = self.proves {
            port::prove(listener, self.identity.credentials(), tasks);
        }
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
            let (role, known) = (network.clone(), self.published.clone());
            let problems = self.problems.clone();
            tasks.spawn_simple(TaskKind::Network, |stop| role.run(known, problems, stop));
            network
        });
        let door = Door { listen: config.listen, opens, problems: self.problems };
        let change = Change::new(holder, self.published.clone(), door);
        let rest = Rest {
            running,
            ready,
            published: self.published,
            dns: dns_addresses,
            http,
            containers,
            runtime: self.runtime.info.kind.to_string(),
        };
        Ok(Started::new(change, rest, network))
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

/// What a node is in its cluster.
struct Place {
    /// Absent in a node that is about to make its cluster.
    member: Option<Member>,
    /// A manager has one.
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
    let port = port::bind(config.listen).await;
    let taken = port.as_ref().ok().and_then(|port| port.local_addr().ok());
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
    // A worker serves nobody at its port: there it only proves that it lives, and does its work without.
    let listener = match (role, port) {
        (Role::Manager, port) => Some(port?),
        (Role::Worker, Ok(port)) => Some(port),
        (Role::Worker, Err(why)) => {
            tracing::warn!(%why, "other nodes cannot see whether this one lives");
            None
        }
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
        broken = tasks.broken() => Err(of_broken(broken, "")),
    }
}

/// The failure of a node whose role ended, with `hint` where there is no better one.
pub(super) fn of_broken(broken: Ended, hint: &str) -> Failure {
    let hint = match broken.kind {
        TaskKind::Copies => displaced::WAY_OUT,
        TaskKind::Epoch => epoch::WAY_OUT,
        _ => hint,
    };
    Failure::new(Exit::Failed, broken).hint(hint)
}

pub(super) fn failed(error: impl std::error::Error) -> Failure {
    let causes: Vec<String> =
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| (*error).source())
            .map(ToString::to_string)
            .collect();
    Failure::new(Exit::Failed, causes.join(": "))
}
