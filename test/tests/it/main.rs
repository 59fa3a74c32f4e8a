//! The end-to-end and tidy tests: one binary, so that a change links once.

mod node;
mod store;
mod tidy;
mod workload;
