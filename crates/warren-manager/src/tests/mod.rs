//! A manager on a real Raft of one, and agents that speak the real session over a unix socket.

pub(crate) mod agent;
mod freezes;
mod hooks;
mod leases;
mod relays;
mod releases;
mod sessions;
mod site;
pub(crate) mod traffic;
mod watchdog;
mod work;

use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

/// How long a test waits for what must happen: long, because the machine may be busy; nothing waits for it in vain.
const DEADLINE: Duration = Duration::from_secs(30);

/// The outcome of `work`, which must come.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, work).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
