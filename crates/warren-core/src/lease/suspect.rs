//! A node that is silent and not down, and what is known of it, for people.

use crate::id::NodeId;
use crate::observed::Observed;
use crate::time::ClusterTime;
use std::fmt;
use std::time::Duration;

/// A node that is silent and not down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suspect {
    /// Which.
    pub node: NodeId,
    /// For how long it has been silent.
    pub silence: Duration,
    /// Who was asked last to reach it; nobody where nobody could be.
    pub asked: Vec<NodeId>,
    /// Who reaches it.
    pub reached: Vec<NodeId>,
}

impl Suspect {
    /// What is known at `now` of a node that was heard at `heard`.
    pub(super) fn new(
        observed: &Observed,
        (node, heard): (NodeId, ClusterTime),
        now: ClusterTime,
        lease: Duration,
    ) -> Self {
        let probes = observed.probes.get(&node);
        let asked = probes.map(|probes| probes.peers().to_vec()).unwrap_or_default();
        let reached = probes.map(|probes| probes.reaching(now, lease)).unwrap_or_default();
        Self { node, silence: now.since(heard), asked, reached }
    }
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { silence, asked, reached, .. } = self;
        write!(f, "silent for {} s", silence.as_secs())?;
        if !reached.is_empty() {
            let (names, verb) = named(reached, "reaches", "reach");
            let link = "check the link between it and the leader";
            let tasks = "its tasks stay there for a minute at most";
            return write!(f, ", but {names} {verb} it: {link}; {tasks}");
        }
        if !asked.is_empty() {
            let (names, verb) = named(asked, "has", "have");
            return write!(f, ", and {names} {verb} not reached it");
        }
        f.write_str(", and nobody else could be asked about it yet")
    }
}

/// As in `n2 and n4 reach`.
fn named(nodes: &[NodeId], one: &'static str, many: &'static str) -> (String, &'static str) {
    let names: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    (names.join(" and "), if nodes.len() == 1 { one } else { many })
}
