//! The network of the kernel that this process runs on.

mod firewall;
mod netlink;
mod rules;
mod wireguard;

pub use wireguard::Speaks;

use super::NodeNetwork;
use super::change::Change;
use super::error::NetworkError;
use super::state::Actual;
use super::wish::Owner;
use async_trait::async_trait;
use std::time::Duration;
use tokio::time::timeout;

/// The kernel answers in milliseconds; a machine that swaps, in seconds.
const NETLINK_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the kernel is told to pass packets on.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// The kernel, and whose part of its network is meant. Needs `CAP_NET_ADMIN`.
#[derive(Clone, Debug)]
pub struct Kernel {
    owner: Owner,
    speaks: Option<Speaks>,
}

impl Kernel {
    /// Looks at nothing yet.
    #[must_use]
    pub const fn new(owner: Owner) -> Self {
        Self { owner, speaks: None }
    }

    /// The same, with WireGuard where the machine has it.
    #[must_use]
    pub fn speaking(self, speaks: Option<Speaks>) -> Self {
        Self { speaks, ..self }
    }

    /// Whether this machine can have a WireGuard device of the owner's. Never, where none is spoken.
    ///
    /// # Errors
    /// As [`NodeNetwork::read`].
    pub async fn has_wireguard(&self) -> Result<bool, NetworkError> {
        let Some(speaks) = &self.speaks else { return Ok(false) };
        limited("looking for WireGuard", speaks.is_possible(&self.owner)).await
    }
}

#[async_trait]
impl NodeNetwork for Kernel {
    async fn read(&self) -> Result<Actual, NetworkError> {
        let links = limited("reading the network", netlink::read(&self.owner));
        let rules = firewall::read(&self.owner);
        let ((mut actual, wire), rules) = tokio::try_join!(links, rules)?;
        if let Some(speaks) = &self.speaks {
            let wire = speaks.read(&self.owner, wire.as_ref(), &mut actual);
            limited("reading the WireGuard device", wire).await?;
        }
        (actual.rules, actual.barred) = rules;
        actual.forwarding =
            std::fs::read_to_string(FORWARDING).is_ok_and(|text| text.trim() != "0");
        Ok(actual)
    }

    async fn change(&self, change: &Change) -> Result<(), NetworkError> {
        match change {
            Change::AllowForwarding => {
                std::fs::write(FORWARDING, "1").map_err(|error| NetworkError::Refused {
                    what: change.words(),
                    why: format!("{FORWARDING}: {error}"),
                })
            }
            Change::WriteRules(barred) => firewall::write(&self.owner, barred.as_deref()).await,
            Change::RemoveRules => firewall::remove(&self.owner).await,
            Change::MakeWire(_)
            | Change::RemoveWire
            | Change::SetWirePeer(..)
            | Change::RemoveWirePeer(_) => {
                let missing = NetworkError::no_wireguard;
                let speaks = self.speaks.as_ref().ok_or_else(missing)?;
                limited(&change.words(), speaks.change(&self.owner, change)).await
            }
            Change::MakeTunnel(_)
            | Change::RemoveTunnel
            | Change::SetNeighbour(..)
            | Change::RemoveNeighbour(_)
            | Change::SetForward(..)
            | Change::RemoveForward(_)
            | Change::SetRoute(..)
            | Change::RemoveRoute(_) => {
                limited(&change.words(), netlink::change(&self.owner, change)).await
            }
        }
    }
}

async fn limited<T>(
    what: &str,
    work: impl Future<Output = Result<T, NetworkError>>,
) -> Result<T, NetworkError> {
    let late = |_| NetworkError::Timeout { what: what.to_owned(), after: NETLINK_TIMEOUT };
    timeout(NETLINK_TIMEOUT, work).await.map_err(late)?
}
