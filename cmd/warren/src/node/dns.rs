//! The node's resolver: for the machine from the start, for its containers once their network is there.

use crate::config::{NodeConfig, Upstreams};
use crate::failure::{Exit, Failure, Outcome};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_agent::Published;
use warren_dns::{Options, Server};
use warren_drivers::runtime::NetworkSpec;

/// Cores that answer DNS at most: four answer more than a machine's services ask.
const WORKERS_MAX: usize = 4;

/// Answers per second to a foreign network: far above what a resolver that caches asks, far below a flood.
const FOREIGN_ANSWERS_PER_SECOND: u32 = 500;

/// Where containers ask.
pub const CONTAINER_PORT: u16 = 53;

/// Takes `listen`, and answers from what the agent knows.
///
/// # Errors
/// An address cannot be listened on.
pub fn bind(config: &NodeConfig, listen: Vec<SocketAddr>, agent: &Published) -> Outcome<Server> {
    let options = Options {
        listen,
        upstreams: upstreams(&config.dns_upstreams),
        workers: workers(),
        local: vec![config.pool.into()],
        foreign_answers_per_second: FOREIGN_ANSWERS_PER_SECOND,
    };
    let server = Server::bind(options, agent.traffic.clone(), agent.readiness.clone());
    let server = server.map_err(|error| {
        Failure::new(Exit::Failed, error).hint("--dns chooses the address; port 0 takes a free one")
    })?;
    Ok(server.trusting(agent.word.clone()))
}

/// Runs the resolver until `shutdown`. With `containers`, it answers at the gateway of the tasks' network as well, once
/// there is one.
pub async fn run(server: Server, agent: Published, containers: bool, shutdown: CancellationToken) {
    let (gateways, later) = watch::channel(Vec::new());
    let answers = server.also_at(later).run(shutdown);
    let network = agent.network;
    let follow = async {
        if containers {
            follow(network, gateways).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = answers => {}
        () = follow => {}
    }
}

/// Tells the gateway of the tasks' network whenever it is another.
async fn follow(
    mut network: watch::Receiver<Option<NetworkSpec>>,
    gateways: watch::Sender<Vec<SocketAddr>>,
) {
    loop {
        let known = network.borrow_and_update().as_ref().map(|network| network.gateway);
        if let Some(gateway) = known {
            gateways.send_replace(vec![(gateway, CONTAINER_PORT).into()]);
        }
        if network.changed().await.is_err() {
            return;
        }
    }
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
