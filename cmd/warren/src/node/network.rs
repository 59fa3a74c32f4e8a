//! Lets the containers of this node reach those of other nodes: brings the kernel in line with what the leader says of
//! them, whenever that changes, and now and then, since other programs change rules as well.

use super::encryption::Encrypts;
use super::problems::{self, Problems};
use crate::failure::{Exit, Failure, Outcome};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use warren_agent::{Membership, Published};
use warren_core::traffic::{Host, TrafficView};
use warren_drivers::network::kernel::Kernel;
use warren_drivers::network::{
    Backend, NodeNetwork as _, Owner, Peer, Wish, check_pool, container_mtu, settle,
};

/// How often the kernel is compared with what is wanted where nothing has changed: an engine that restarts writes its
/// rules anew, and containers are cut off until then.
const LOOK: Duration = Duration::from_secs(10);

/// What this node's network is to be like.
#[derive(Clone, Debug)]
pub struct Between {
    /// Whose routes and rules they are.
    pub owner: Owner,
    /// How other nodes are reached.
    pub backend: Backend,
    /// Where other nodes reach this machine.
    pub address: IpAddr,
    /// How it encrypts; absent where it never does.
    pub encrypts: Option<Encrypts>,
}

impl Between {
    /// Keeps the kernel in line until `shutdown`, and tells on `problems` what is in the way. What was made stays:
    /// containers run on without Warren.
    pub async fn run(
        self,
        agent: Published,
        problems: watch::Sender<Problems>,
        shutdown: CancellationToken,
    ) {
        let mut mine = Problems::new();
        let IpAddr::V4(address) = self.address else {
            let address = self.address;
            tracing::warn!(%address, "containers of other nodes are not reached: that needs an IPv4 address");
            problems::tell(&problems, &mut mine, [not_ipv4(address)].into());
            return;
        };
        let (mut traffic, mut membership) = (agent.traffic, agent.membership);
        let mut bridge = agent.network;
        loop {
            if let Some(encrypts) = &self.encrypts {
                encrypts.look(&self.owner).await;
            }
            let me = membership.borrow_and_update().clone();
            let view = Arc::clone(&traffic.borrow_and_update());
            bridge.mark_unchanged();
            if let Some(me) = me {
                let found = self.mend(self.wish(&me, address, &view)).await;
                for problem in problems::tell(&problems, &mut mine, found) {
                    tracing::warn!(problem, "the network between nodes is not as it should be");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(LOOK) => {}
                Ok(()) = membership.changed() => {}
                // From then on this machine itself has an address in the pool, by which other nodes know it.
                Ok(()) = bridge.changed() => {}
                () = other_hosts(&mut traffic, &view) => {}
            }
        }
    }

    fn wish(&self, me: &Membership, address: Ipv4Addr, view: &TrafficView) -> Wish {
        let (own, peers): (Vec<&Host>, Vec<&Host>) =
            view.hosts.values().partition(|host| host.node == me.node);
        let told = own.first().and_then(|host| host.encryption.wireguard);
        let peer = |host: &Host| match host.address {
            IpAddr::V4(address) => Some(Peer {
                node: host.node,
                address,
                subnet: host.subnet?,
                encryption: host.encryption,
            }),
            IpAddr::V6(_) => None,
        };
        Wish {
            owner: self.owner.clone(),
            backend: self.backend,
            address,
            subnet: me.subnet,
            // What this node has not been told of itself, the others have not been told either.
            wire: told.filter(|told| {
                self.encrypts.as_ref().is_some_and(|encrypts| encrypts.known_as() == *told)
            }),
            peers: peers.into_iter().filter_map(peer).collect(),
        }
    }

    fn kernel(&self) -> Kernel {
        Kernel::new(self.owner.clone()).speaking(self.encrypts.as_ref().map(Encrypts::speaks))
    }

    /// Returns what is in the way.
    async fn mend(&self, wish: Wish) -> Problems {
        match settle(&self.kernel(), Some(&wish)).await {
            Ok(settled) => {
                for change in &settled.changes {
                    tracing::info!(change = change.words(), "network between nodes changed");
                }
                settled.problems.iter().map(ToString::to_string).collect()
            }
            Err(error) => [error.to_string()].into(),
        }
    }

    /// Takes away everything that was made.
    pub async fn clear(&self) {
        match settle(&self.kernel(), None).await {
            Ok(settled) => {
                for problem in settled.problems {
                    tracing::warn!(%problem, "a part of the network between nodes was left");
                }
            }
            Err(error) => tracing::warn!(%error, "the network between nodes was left as it is"),
        }
    }
}

fn not_ipv4(address: IpAddr) -> String {
    format!(
        "other nodes know this one by {address}, and containers of different nodes reach each other by IPv4 only: name \
         an IPv4 address with --advertise"
    )
}

/// Refuses a pool that lies over a network which this machine reaches already. Where the machine does not say what it
/// reaches, the pool is taken.
///
/// # Errors
/// The network in the way.
pub async fn check_free(pool: Ipv4Net) -> Outcome {
    match Kernel::new(nobody(pool)).read().await {
        Ok(actual) => {
            check_pool(pool, &actual).map_err(|overlap| Failure::new(Exit::Failed, overlap))
        }
        Err(error) => {
            tracing::warn!(%error, %pool, "whether the pool is free on this machine cannot be seen");
            Ok(())
        }
    }
}

/// The largest packet that containers of a machine with this address may send; absent where it is that of the runtime's
/// own networks, or nothing is known of the link.
pub async fn mtu(backend: Backend, address: IpAddr) -> Option<u16> {
    let IpAddr::V4(address) = address else { return None };
    let actual = Kernel::new(nobody(Ipv4Net::default())).read().await.ok()?;
    container_mtu(backend, actual.addresses.get(&address)?.mtu)
}

/// Who has nothing on this machine.
fn nobody(pool: Ipv4Net) -> Owner {
    Owner { tag: "none".into(), pool }
}

/// Returns once other nodes are told of than in `view`.
async fn other_hosts(traffic: &mut watch::Receiver<Arc<TrafficView>>, view: &TrafficView) {
    if traffic.wait_for(|now| now.hosts != view.hosts).await.is_err() {
        std::future::pending::<()>().await;
    }
}
