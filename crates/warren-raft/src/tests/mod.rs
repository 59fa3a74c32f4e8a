//! Managers as their users see them, and data directories that somebody has damaged.

mod cluster;
mod copies;
mod damage;
mod elections;
mod full;
mod load;
pub(crate) mod support;
