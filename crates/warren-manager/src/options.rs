//! What a manager is told when it starts.

use std::time::Duration;
use warren_core::lease::{self, LEASES, Leases};

/// What a manager is told when it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long nodes may be silent.
    pub leases: Leases,
    /// The longest that a plan waits for something to happen before it looks again by itself. More than 0.
    pub slow: Duration,
    /// A new leader tells nobody where traffic goes before every node that is up has said how its tasks do, or this
    /// time has passed: until then nodes answer from what they last heard. In a large cluster it is longer, as leases
    /// are.
    pub warm_up: Duration,
    /// The pauses between attempts to call a hook; one attempt more than there are pauses.
    pub hook_back_off: &'static [Duration],
}

impl Options {
    /// How long a new leader of so many nodes listens before it tells where traffic goes.
    pub(crate) fn warm_up_for(&self, nodes: usize) -> Duration {
        self.warm_up.saturating_mul(lease::factor(nodes))
    }

    /// What a cluster runs with.
    pub const DEFAULT: Self = Self {
        leases: LEASES,
        // Only a guard against a lost wake-up: a plan of a cluster at rest costs some milliseconds.
        slow: Duration::from_secs(10),
        // A node that is silent for longer is down, and its tasks get no traffic in any case.
        warm_up: Duration::from_secs(10),
        // 7 s in all: a receiver that restarts is back by then, and a gate that is down for longer is to say so soon.
        hook_back_off: &[Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_listens_until_a_silent_node_is_down_also_in_large_clusters() {
        let options = Options::DEFAULT;
        for nodes in [0, 1, 3, 1_000, 1_001, 5_000, 100_000] {
            let leases = options.leases.for_nodes(nodes);
            let listens = options.warm_up_for(nodes);
            assert!(listens > leases.lease * leases.grace, "{nodes} nodes: {listens:?}");
        }
        assert_eq!(options.warm_up_for(3), Duration::from_secs(10));
    }
}
