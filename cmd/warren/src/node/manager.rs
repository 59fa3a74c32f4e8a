//! The part of a node that only managers have: the agreed state, the lead, and the port that other machines call.

use super::apart::Apart;
use super::data_dir::DataDir;
use super::identity::{Identity, Member};
use super::parts::{failed, or_broken};
use super::{AGENT_SOCKET, cluster, displaced, epoch, port};
use crate::config::{NodeConfig, StoreChoice};
use crate::failure::Outcome;
use crate::tasks::{TaskKind, Tasks};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use warren_core::id::NodeId;
use warren_drivers::hook::HttpHooks;
use warren_manager::access::{Forward, GateLayer};
use warren_manager::api::{Api, Backend, Info, router, server};
use warren_manager::{Keeper, Manager, ManagerHandle, Peers, RaftPort};
use warren_raft::{HandOverError, Raft, Runner, SNAPSHOTS, StoreKind, TIMERS};
use warren_wire::channel;

/// Connections that have shaken hands and wait for the server, which takes them at once.
const SECURED_QUEUED: usize = 64;

/// A manager that is made and not started.
pub struct ManagerPart {
    apart: Apart,
    raft: Raft,
    runner: Runner,
    manager: Manager,
    handle: ManagerHandle,
    sessions: UnixListener,
    listener: TcpListener,
    address: String,
    epochs: watch::Receiver<u32>,
}

/// The roles of a node that depend on what it is.
pub struct Running {
    pub member: Member,
    /// Where other machines reach it; empty for a worker.
    pub address: String,
    /// Signs certificates; absent in a worker.
    pub keeper: Option<Keeper>,
    local: Option<(Doors, watch::Sender<Vec<String>>)>,
    raft: Option<Raft>,
}

impl ManagerPart {
    /// Opens the state of manager `node`, which others reach at `address` through `listener`.
    ///
    /// # Errors
    /// The state cannot be opened, with what to do.
    pub async fn prepare(
        config: &NodeConfig,
        dir: &DataDir,
        identity: &Identity,
        node: NodeId,
        listener: TcpListener,
        address: String,
    ) -> Outcome<Self> {
        let sessions = listen_unix(dir, AGENT_SOCKET).await?;
        let peers = Peers::new(identity.dialer());
        let epochs = peers.left_behind();
        let options = warren_raft::Options {
            data_dir: config.data_dir.clone(),
            store: match config.store {
                StoreChoice::Redb => StoreKind::Redb,
                StoreChoice::Sled => StoreKind::Sled,
            },
            node,
            address: address.clone(),
            timers: TIMERS,
            snapshots: SNAPSHOTS,
            transport: Arc::clone(&peers) as Arc<dyn warren_raft::Transport>,
        };
        let apart = Apart::for_raft()?;
        let (raft, runner) = apart.run(warren_raft::start(options)).await.map_err(failed)?;
        let options = warren_manager::Options::DEFAULT;
        let (manager, handle) = Manager::new(options, raft.clone(), Arc::new(HttpHooks::new()));
        let manager = manager.freezing(config.freeze_windows.clone());
        Ok(Self { apart, raft, runner, manager, handle, sessions, listener, address, epochs })
    }

    /// Looks at the manager.
    pub fn handle(&self) -> ManagerHandle {
        self.handle.clone()
    }

    /// Starts the state and the lead. `member` is what the node knows of its cluster; without, it makes one.
    ///
    /// # Errors
    /// A part of it broke, or the cluster could not be made.
    pub async fn start(
        self,
        config: &NodeConfig,
        dir: &Arc<DataDir>,
        identity: &Arc<Identity>,
        member: Option<Member>,
        has_pool: bool,
        tasks: &mut Tasks,
    ) -> Outcome<Running> {
        let Self { apart, raft, runner, manager, handle, sessions, listener, address, epochs } =
            self;
        tasks.spawn(TaskKind::Raft, |stop| async move { apart.run(runner.run(stop)).await });
        let leading = raft.clone();
        tasks.spawn_simple(TaskKind::Lead, |stop| give_lead_away(leading, stop));
        let (log, home) = (raft.clone(), Arc::clone(dir));
        tasks.spawn(TaskKind::Epoch, |stop| epoch::watch(log, home, epochs, stop));
        let (log, home) = (raft.clone(), Arc::clone(dir));
        tasks.spawn(TaskKind::Copies, |stop| displaced::watch(log, home, stop));
        let (dns, dns_seen) = watch::channel(Vec::new());
        let doors = Doors::new(&handle, identity, dns_seen, config.calls_per_second, tasks)?;
        let (member, keeper) = match member {
            Some(member) => {
                // Others bring the log to one that has just joined: the port is open before that is waited for.
                let keeper = cluster::keeper(&raft, config, identity, dir)?;
                doors.open_port(listener, keeper.clone(), identity, tasks)?;
                (member, keeper)
            }
            None => {
                let found = cluster::found(&raft, config, has_pool, &address, identity, dir);
                let (member, keeper) = or_broken(tasks, found).await?;
                doors.open_port(listener, keeper.clone(), identity, tasks)?;
                (member, keeper)
            }
        };
        keeper.unlock(&handle.vault());
        tasks.spawn_simple(TaskKind::Manager, |stop| manager.run(stop));
        let sessions = UnixListenerStream::new(sessions);
        let service = handle.sessions().into_server();
        tasks.spawn(TaskKind::Sessions, |stop| {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(sessions, stop.cancelled_owned())
        });
        Ok(Running {
            member,
            address,
            keeper: Some(keeper),
            local: Some((doors, dns)),
            raft: Some(raft),
        })
    }
}

/// What is served, and to whom: all of it by the port, the API alone by the socket of this machine.
pub struct Doors {
    handle: ManagerHandle,
    routes: Routes,
    gate: GateLayer,
    end_streams: CancellationToken,
}

impl Doors {
    fn new(
        handle: &ManagerHandle,
        identity: &Identity,
        dns_addresses: watch::Receiver<Vec<String>>,
        calls_per_second: u32,
        tasks: &mut Tasks,
    ) -> Outcome<Self> {
        let end_streams = CancellationToken::new();
        let info = Info { version: env!("CARGO_PKG_VERSION").into(), dns_addresses };
        let api = Api::new(Backend::of(handle, info, end_streams.clone()));
        let served = router(&api).map_err(failed)?;
        tasks.spawn_simple(TaskKind::ApiHealth, |stop| served.health.run(stop));
        let forward = Forward::new(identity.dialer());
        let gate = GateLayer::new(handle.raft().clone(), forward, calls_per_second);
        Ok(Self { handle: handle.clone(), routes: served.routes, gate, end_streams })
    }

    /// Serves other machines.
    fn open_port(
        &self,
        listener: TcpListener,
        keeper: Keeper,
        identity: &Identity,
        tasks: &mut Tasks,
    ) -> Outcome {
        let (secured, incoming) = mpsc::channel(SECURED_QUEUED);
        let shown = identity.credentials();
        let apart = Arc::new(Apart::for_port()?);
        // Connections that were made there last as long as these threads: until nobody is served any more.
        let kept = Arc::clone(&apart);
        tasks.spawn(TaskKind::Port, |stop| async move {
            apart.run(port::accept(listener, shown, secured, stop)).await
        });
        let routes = self
            .routes
            .clone()
            .add_service(self.handle.sessions().into_server())
            .add_service(RaftPort::server(self.handle.raft().clone()))
            .add_service(keeper.into_server());
        let (gate, end_streams) = (self.gate.clone(), self.end_streams.clone());
        tasks.spawn(TaskKind::Remote, |stop| async move {
            let mut server = server().layer(gate);
            let incoming = ReceiverStream::new(incoming);
            let stopped = stopped(stop, end_streams);
            let served = server.add_routes(routes).serve_with_incoming_shutdown(incoming, stopped);
            let ended = served.await;
            drop(kept);
            ended
        });
        Ok(())
    }

    /// Serves the command line of this machine.
    async fn open_socket(self, dir: &DataDir, tasks: &mut Tasks) -> Outcome {
        let listener = listen_unix(dir, crate::client::SOCKET_NAME).await?;
        let Self { routes, gate, end_streams, .. } = self;
        tasks.spawn(TaskKind::Api, |stop| async move {
            let mut server = server().layer(gate);
            let incoming = UnixListenerStream::new(listener);
            let stopped = stopped(stop, end_streams);
            server.add_routes(routes).serve_with_incoming_shutdown(incoming, stopped).await
        });
        Ok(())
    }
}

/// Gives the lead to another manager once this one is to stop. Whoever asks here meanwhile is sent on to the next
/// leader; where nobody takes the lead, the log tries once more when it stops.
async fn give_lead_away(raft: Raft, stop: CancellationToken) {
    stop.cancelled().await;
    match raft.hand_over().await {
        Ok(_) | Err(HandOverError::NotLeader | HandOverError::Alone) => {}
        Err(error @ (HandOverError::Busy | HandOverError::NotTaken { .. })) => {
            tracing::warn!(%error, "the lead could not be given away");
        }
    }
}

/// Returns once the server is to stop, and ends the streams that it would wait for.
async fn stopped(stop: CancellationToken, end_streams: CancellationToken) {
    stop.cancelled().await;
    end_streams.cancel();
}

impl Running {
    /// A worker has none of it.
    pub fn worker(member: Member) -> Self {
        Self { member, address: String::new(), keeper: None, local: None, raft: None }
    }

    /// Returns once a manager has its cluster's log. The agent runs by then: a leader brings the log to where the agent
    /// says that this manager is reached.
    ///
    /// # Errors
    /// The log was closed.
    pub async fn has_log(&self, config: &NodeConfig) -> Outcome {
        match &self.raft {
            Some(raft) => cluster::resume(raft, config).await,
            None => Ok(()),
        }
    }

    /// Serves the command line of this machine, where this is a manager, and tells it where names resolve.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub async fn serve(self, dir: &DataDir, dns: &[SocketAddr], tasks: &mut Tasks) -> Outcome {
        let Some((doors, addresses)) = self.local else { return Ok(()) };
        addresses.send_replace(dns.iter().map(ToString::to_string).collect());
        doors.open_socket(dir, tasks).await
    }
}

async fn listen_unix(dir: &DataDir, name: &str) -> Outcome<UnixListener> {
    channel::listen_unix(&dir.path().join(name)).await.map_err(failed)
}
