//! Whether a pool of addresses is free on this machine.

use super::state::Actual;
use ipnet::Ipv4Net;

/// A pool that lies over a network of this machine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the pool {pool} lies over {route}, which this machine reaches already: choose addresses that nobody here uses, \
     as in --pool 10.220.0.0/16"
)]
pub struct Overlap {
    /// The pool.
    pub pool: Ipv4Net,
    /// The network in its way.
    pub route: Ipv4Net,
}

/// Refuses a pool that lies over a network which this machine reaches without Warren. A default route leads everywhere
/// and does not count.
///
/// # Errors
/// The first network in the way.
pub fn check_pool(pool: Ipv4Net, actual: &Actual) -> Result<(), Overlap> {
    let mut routes = actual.foreign.iter().copied().filter(|route| route.prefix_len() > 0);
    match routes.find(|route| route.contains(&pool) || pool.contains(route)) {
        Some(route) => Err(Overlap { pool, route }),
        None => Ok(()),
    }
}
