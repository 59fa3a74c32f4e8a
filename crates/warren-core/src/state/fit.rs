//! Which services can be released in which way.

use crate::command::Rejection;
use crate::service::Service;
use crate::spec::{Mode, Order, Quantity, Strategy};

impl Service {
    /// Whether the service can be released in this way at all.
    ///
    /// # Errors
    /// What stands against it, and what to do.
    pub(crate) fn check_strategy(&self, strategy: Strategy) -> Result<(), Rejection> {
        let template = &self.spec.template;
        let port = template.ports.iter().find_map(|port| port.host);
        let name = &self.spec.name;
        match (strategy, self.spec.mode, port) {
            (Strategy::Canary | Strategy::BlueGreen, Mode::Global, _) => {
                Err(Rejection::Unfit(format!(
                    "strategy: service {name} is global, with one task on every node, so it has no place for a second \
                     set beside it: use --strategy rolling"
                )))
            }
            (Strategy::Canary | Strategy::BlueGreen, Mode::Replicated { .. }, Some(port)) => {
                Err(Rejection::Unfit(format!(
                    "strategy: {strategy} runs two revisions beside each other, and host port {port} can be held by one \
                     task of a node at a time: use --strategy rolling --max-unavailable 1, or publish no host port"
                )))
            }
            (Strategy::Rolling, _, Some(port)) if self.is_blocked_by_port() => {
                Err(Rejection::Unfit(format!(
                    "max_unavailable: host port {port} can be held by one task of a node at a time, so an old task must \
                     stop before its successor starts: allow one to be missing with --max-unavailable 1"
                )))
            }
            (Strategy::Rolling | Strategy::Recreate, _, _) | (_, Mode::Replicated { .. }, None) => {
                Ok(())
            }
        }
    }

    fn is_blocked_by_port(&self) -> bool {
        let update = &self.spec.update;
        let none = matches!(update.max_unavailable, Quantity::Count(0) | Quantity::Percent(0));
        update.order == Order::StartFirst && none
    }
}
