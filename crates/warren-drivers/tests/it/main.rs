//! The runtimes against the contract, and what only one of them does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod docker;
mod process;
mod support;
