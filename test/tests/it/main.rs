//! The end-to-end and tidy tests: one binary, so that a change links once.

mod chaos;
mod cluster;
mod install;
mod network;
mod node;
mod store;
mod testbed;
mod tidy;
mod workload;
