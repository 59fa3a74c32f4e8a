//! Lets containers of different nodes reach each other.
//!
//! Each node has a subnet of the cluster's pool. [`settle`] makes this machine's kernel send what goes to another
//! node's subnet to that node, directly or through a tunnel, and keeps the source address of what passes: it reads
//! what is there ([`NodeNetwork::read`]), asks [`plan`] what is missing, and does that. Called again, it does nothing;
//! called after somebody else has changed the machine, it mends it. Without a [`Wish`] it takes away all that is its
//! own.
//!
//! What is its own is known by its names and by the routes' protocol number, never remembered.

mod change;
pub mod contract;
mod error;
pub mod fake;
pub mod kernel;
mod key;
mod plan;
mod pool;
mod state;
mod wish;

pub use change::{Change, Lack, Problem};
pub use error::NetworkError;
pub use key::WireSecret;
pub use plan::{Plan, plan};
pub use pool::{Overlap, check_pool};
pub use state::{Actual, Hop, Mac, Route, Rules, Tunnel, Uplink, Wire, WirePeer};
pub use wish::{Backend, Owner, Peer, TUNNEL_OVERHEAD, TUNNEL_PORT, WIRE_OVERHEAD, Wish};

use async_trait::async_trait;

/// The kernel's network as far as Warren needs it. Each call is one attempt with a timeout and may be repeated.
#[async_trait]
pub trait NodeNetwork: Send + Sync {
    /// What is there now: the machine's facts, and what of it is this owner's.
    ///
    /// # Errors
    /// [`NetworkError::Refused`] where this process may not look, [`NetworkError::Timeout`].
    async fn read(&self) -> Result<Actual, NetworkError>;

    /// Makes one change. One that is made already is no error.
    ///
    /// # Errors
    /// [`NetworkError::Unsupported`] where the kernel or a program for it is missing, [`NetworkError::Refused`] where
    /// this process may not, [`NetworkError::Timeout`].
    async fn change(&self, change: &Change) -> Result<(), NetworkError>;
}

/// What [`settle`] has done, and what stays in the way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// What was changed, in this order; nothing where all was as it should be.
    pub changes: Vec<Change>,
    /// What could not be had, by name: shown to the operator, and looked at again the next time.
    pub problems: Vec<Problem>,
}

/// Makes the machine as `wish` says, or takes everything of Warren's away where there is none. Whoever calls repeats
/// it: when nodes come and go, when the container runtime has been away, and now and then, as other programs change
/// rules.
///
/// A change that fails does not stop those after it: a peer that cannot be reached leaves the others alone.
///
/// # Errors
/// Where the machine cannot be read. What cannot be changed is among the [`problems`](Settled::problems).
pub async fn settle(
    network: &dyn NodeNetwork,
    wish: Option<&Wish>,
) -> Result<Settled, NetworkError> {
    let actual = network.read().await?;
    let Plan { changes, mut problems } = plan(wish, &actual);
    let mut done = Vec::with_capacity(changes.len());
    let (mut no_tunnel, mut no_wire) = (false, false);
    for change in changes {
        if no_tunnel && change.needs_tunnel() || no_wire && change.needs_wire() {
            // Named already, by what it needs.
            continue;
        }
        match network.change(&change).await {
            Ok(()) => done.push(change),
            Err(error) => {
                no_tunnel |= matches!(change, Change::MakeTunnel(_));
                no_wire |= matches!(change, Change::MakeWire(_));
                problems.push(Problem::Failed { change, error });
            }
        }
    }
    Ok(Settled { changes: done, problems })
}

/// The largest packet that containers may send, where it is not their link's own: what passes a tunnel is wrapped, and
/// must still fit the link. With [`Backend::Auto`] a peer that needs the widest wrapping may come at any time, so there
/// is room for it.
#[must_use]
pub fn container_mtu(backend: Backend, link_mtu: u32) -> Option<u16> {
    let overhead = match backend {
        Backend::HostGw | Backend::None => return None,
        Backend::Vxlan => TUNNEL_OVERHEAD,
        Backend::Auto | Backend::WireGuard => WIRE_OVERHEAD,
    };
    Some(u16::try_from(link_mtu.saturating_sub(overhead)).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
