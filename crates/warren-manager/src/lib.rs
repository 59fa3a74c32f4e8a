//! The manager: hears what nodes say, plans with core, proposes to Raft, tells nodes what to run and where traffic
//! goes,
//! and serves the API.
//!
//! [`Manager::new`] takes a Raft handle and gives a [`Manager`], the one role to run, and a [`ManagerHandle`], through
//! which everything else looks at it. While this node leads, four loops run under [`leader`]: the *hub*, which owns the
//! sessions of agents and all that was heard from them; the *reconciler*, which plans and proposes; the *outbox*, which
//! calls hooks; and the *tally*, which counts and logs what happens to releases. None exists on a follower.
//!
//! # What manager must not know
//! Docker, DNS packets, files, the command line. It decides nothing that core can decide: core's functions choose, the
//! loops here hear, propose and send.

pub mod access;
pub mod api;
mod dispatcher;
mod freeze;
mod health;
mod hub;
mod joins;
mod leader;
mod members;
pub mod metrics;
mod options;
mod outbox;
mod peers;
mod reconciler;
mod relay;
mod releases;
mod reports;
mod sessions;
mod telling;
mod traffic;
mod vault;

pub use freeze::{FreezeWindow, FreezeWindowError};
pub use health::Health;
pub use joins::{Keeper, found_trust, open_authority};
pub use leader::{Manager, ManagerHandle, Published};
pub use options::Options;
pub use peers::{Peers, RaftPort};
pub use relay::{Relay, RelayError, RelayInput, RelayReplies};
pub use sessions::Sessions;
pub use vault::Vault;

#[cfg(test)]
mod tests;
