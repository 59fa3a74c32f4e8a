//! The node's resolver: for the machine from the start, for its containers once their network is there.

use crate::config::{NodeConfig, Upstreams};
use crate::failure::{Exit, Failure, Outcome};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warren_agent::Published;
use warren_dns::{BindError, Options, Server};

/// Cores that answer DNS at most: four answer more than a machine's services ask.
const WORKERS_MAX: usize = 4;

/// Answers per second to a foreign network: far above what a resolver that caches asks, far below a flood.
const FOREIGN_ANSWERS_PER_SECOND: u32 = 500;

/// Where containers ask.
pub const CONTAINER_PORT: u16 = 53;

/// The resolver, bound to its first addresses.
pub struct Dns {
    options: Options,
    server: Server,
    agent: Published,
    containers: bool,
    acked: watch::Sender<u64>,
}

impl Dns {
    /// Takes the addresses in `listen`. With `containers`, the gateway of the tasks' network is taken too once there is
    /// one.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub fn bind(
        config: &NodeConfig,
        listen: Vec<SocketAddr>,
        agent: Published,
        containers: bool,
    ) -> Outcome<Self> {
        let options = Options {
            listen,
            upstreams: upstreams(&config.dns_upstreams),
            workers: workers(),
            local: vec![config.pool.into()],
            foreign_answers_per_second: FOREIGN_ANSWERS_PER_SECOND,
        };
        let server = serve(&options, &agent).map_err(|error| {
            Failure::new(Exit::Failed, error)
                .hint("--dns chooses the address; port 0 takes a free one")
        })?;
        Ok(Self { options, server, agent, containers, acked: watch::Sender::new(0) })
    }

    /// Where it listens from the start.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.server.addresses()
    }

    /// The newest traffic epoch that every address answers from.
    pub fn acked(&self) -> watch::Receiver<u64> {
        self.acked.subscribe()
    }

    /// Answers until `shutdown`.
    ///
    /// # Errors
    /// The gateway of the tasks' network cannot be listened on.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), BindError> {
        let mut servers = JoinSet::new();
        let mut first = self.server.acked();
        servers.spawn(self.server.run(shutdown.clone()));
        let mut second = None;
        if self.containers {
            let network = self.agent.network.clone();
            let gateway = tokio::select! {
                gateway = gateway(network, &mut first, &self.acked) => gateway,
                () = shutdown.cancelled() => None,
            };
            if let Some(gateway) = gateway {
                self.options.listen = vec![gateway];
                let server = serve(&self.options, &self.agent)?;
                tracing::info!(address = %gateway, "answering dns for containers");
                second = Some(server.acked());
                servers.spawn(server.run(shutdown.clone()));
            }
        }
        while !shutdown.is_cancelled() {
            let lowest = second.as_ref().map_or(u64::MAX, |acked| *acked.borrow());
            self.acked.send_replace(lowest.min(*first.borrow()));
            tokio::select! {
                () = shutdown.cancelled() => {}
                Ok(()) = first.changed() => {}
                Ok(()) = changed(&mut second) => {}
                else => break,
            }
        }
        while servers.join_next().await.is_some() {}
        Ok(())
    }
}

/// Waits for the network of the tasks; until then the machine's own resolver is the only one.
async fn gateway(
    mut network: watch::Receiver<Option<warren_drivers::runtime::NetworkSpec>>,
    first: &mut watch::Receiver<u64>,
    acked: &watch::Sender<u64>,
) -> Option<SocketAddr> {
    loop {
        if let Some(network) = &*network.borrow_and_update() {
            return Some((network.gateway, CONTAINER_PORT).into());
        }
        acked.send_replace(*first.borrow_and_update());
        tokio::select! {
            changed = network.changed() => changed.ok()?,
            changed = first.changed() => changed.ok()?,
        }
    }
}

async fn changed(acked: &mut Option<watch::Receiver<u64>>) -> Result<(), watch::error::RecvError> {
    match acked {
        Some(acked) => acked.changed().await,
        None => std::future::pending().await,
    }
}

fn serve(options: &Options, agent: &Published) -> Result<Server, BindError> {
    let server = Server::bind(options.clone(), agent.traffic.clone(), agent.readiness.clone())?;
    Ok(server.trusting(agent.connected.clone()))
}

fn workers() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores.min(WORKERS_MAX)).unwrap_or(NonZeroUsize::MIN)
}

fn upstreams(wanted: &Upstreams) -> Vec<SocketAddr> {
    match wanted {
        Upstreams::These(these) => these.clone(),
        Upstreams::Host => match std::fs::read_to_string("/etc/resolv.conf") {
            Ok(text) => warren_dns::upstreams_of(&text),
            Err(error) => {
                tracing::warn!(%error, "no resolv.conf, names outside the zone are refused");
                Vec::new()
            }
        },
    }
}
