//! Makes core's state durable and agreed: one log, on the disks of a majority, applied in the same order everywhere.
//!
//! [`start`] opens a data directory and returns a [`Raft`] handle, to propose commands and watch the state, and a
//! [`Runner`], the task behind it. Consensus is openraft's; the log lies in an engine behind [`LogDb`].
//!
//! # What this crate must not know
//! What a service or a task is: it sees commands and bytes. How bytes travel between managers ([`Transport`] does).
//! No type of openraft, redb or sled leaves it.

mod campaign;
mod clock;
mod db;
mod dir;
mod election;
mod error;
mod handover;
mod log_store;
mod machine;
mod mark;
pub mod metrics;
mod network;
mod options;
mod post;
mod pulse;
mod raft;
mod rebuild;
mod record;
mod runner;
mod snapshot;
mod start;
mod starts;
mod transport;
mod types;

pub use db::memory::MemoryDisk;
pub use db::{Key, LogDb, Op};
pub use error::{HandOverError, Leader, MembershipError, ProposeError, StartError, StorageFault};
pub use network::ReceiveError;
pub use options::{Options, SNAPSHOTS, SnapshotPolicy, StoreKind, TIMERS, Timers, UnknownStore};
pub use raft::{Leadership, Raft, Status};
pub use rebuild::{Founding, Survey, decode_state, encode_state, plant, replant, store_in, survey};
pub use runner::Runner;
pub use start::{open_engine, start};
pub use starts::Displaced;
pub use transport::{
    Alone, LocalNetwork, Presence, Reply, Rpc, Transport, TransportError, Weather,
};

#[cfg(test)]
mod tests;
