//! The end-to-end and tidy tests: one binary, so that a change links once.

mod cluster;
mod network;
mod node;
mod store;
mod testbed;
mod tidy;
mod workload;
