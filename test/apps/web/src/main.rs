//! The demo workload.
fn main() {}
