//! Whether the node can do its work, and what keeps it from it.

use super::problems::Problems;
use serde::Serialize;
use tokio::sync::watch;
use warren_agent::Published;
use warren_manager::ManagerHandle;

/// Looks at all parts of the node.
#[derive(Clone)]
pub struct Ready {
    /// Absent in a worker.
    manager: Option<ManagerHandle>,
    agent: Published,
    dns: watch::Receiver<u64>,
    told: watch::Receiver<Problems>,
}

/// What `/readyz` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// Whether nothing is missing.
    pub ready: bool,
    /// What is missing.
    pub problems: Vec<String>,
    /// What is wrong and does not keep the node from its work.
    pub warnings: Vec<String>,
}

impl Ready {
    /// Looks at these. `dns` is the traffic epoch that is answered from, `told` what is in the node's way without
    /// keeping it from its work.
    pub fn new(
        manager: Option<ManagerHandle>,
        agent: Published,
        dns: watch::Receiver<u64>,
        told: watch::Receiver<Problems>,
    ) -> Self {
        Self { manager, agent, dns, told }
    }

    /// How it is now.
    pub fn report(&self) -> Report {
        let health = self.manager.as_ref().map(ManagerHandle::health);
        let mut problems = health.map(|health| health.problems).unwrap_or_default();
        if !*self.agent.connected.borrow() {
            problems.push("the agent has no session with a leader".into());
        }
        if self.agent.network.borrow().is_none() {
            problems.push("the network of the tasks is not there yet: see the log".into());
        }
        let silent = self.agent.silent.borrow();
        if !silent.is_empty() {
            problems.push(format!("the tasks cannot be seen: {}", *silent));
        }
        let wanted = self.agent.traffic.borrow().epoch;
        let answered = *self.dns.borrow();
        if answered < wanted {
            problems.push(format!("dns answers from epoch {answered}, {wanted} is known"));
        }
        let warnings = self.told.borrow().iter().cloned().collect();
        Report { ready: problems.is_empty(), problems, warnings }
    }
}
