//! Silent nodes: others are asked to reach them. Of whom, whom and when is decided in core.

use super::Hub;
use crate::metrics;
use tokio::time::Instant;
use warren_core::id::NodeId;
use warren_core::lease::probe::{self, Ask};
use warren_core::time::ClusterTime;
use warren_wire::convert::text;
use warren_wire::v1;
use warren_wire::v1::manager_message::Message as ToAgent;

/// How often silent nodes are looked for in one lease: a look costs what nodes cost.
const LOOKS_PER_LEASE: u32 = 4;

impl Hub {
    /// Asks others about the nodes that are silent.
    pub(super) fn probe(&mut self) {
        let leases = self.options.leases.for_nodes(self.state.nodes().len());
        if self.looked.elapsed() < leases.lease / LOOKS_PER_LEASE {
            return;
        }
        self.looked = Instant::now();
        let (now, own) = (self.raft.now(), self.raft.status().node);
        let asks = probe::due(&self.state, self.observer.observed(), now, leases, own);
        for Ask { suspect, address, peers } in asks {
            metrics::probes("asked", peers.len());
            for peer in &peers {
                let asked = v1::Probe {
                    node_id: suspect.to_string(),
                    address: address.to_string(),
                    asked_ms: now.as_ms(),
                };
                self.send(*peer, ToAgent::Probe(asked));
            }
            self.observer.asked(suspect, peers, now);
        }
    }

    /// A node says whether it reaches a silent one.
    pub(super) fn take_probed(&mut self, peer: NodeId, probed: &v1::Probed) {
        let suspect: NodeId = match text("node_id", &probed.node_id) {
            Ok(suspect) => suspect,
            Err(error) => {
                tracing::warn!(node = %peer, %error, "an answer about a silent node cannot be read");
                return;
            }
        };
        let asked = ClusterTime::from_ms(probed.asked_ms);
        if self.observer.probed(suspect, (peer, asked), probed.reached) {
            metrics::probes(if probed.reached { "reached" } else { "missed" }, 1);
        }
    }
}
