//! Managers as their users see them, and data directories that somebody has damaged.

mod cluster;
pub(crate) mod support;
