//! Which services can be released in which way.

use crate::command::Rejection;
use crate::spec::{Mode, Order, Quantity, ServiceSpec, Strategy};

impl ServiceSpec {
    /// Whether the service can be released in this way at all.
    ///
    /// # Errors
    /// What stands against it, and what to do.
    pub(crate) fn check_strategy(&self) -> Result<(), Rejection> {
        let (template, strategy) = (&self.template, self.update.strategy);
        let port = template.ports.iter().find_map(|port| port.host);
        let name = &self.name;
        match (strategy, self.mode, port) {
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
            (Strategy::Rolling | Strategy::Recreate, _, _) | (_, Mode::Replicated { .. }, None) => {
                Ok(())
            }
        }
    }

    /// Whether the tasks can be replaced in this way. A first deployment replaces none.
    ///
    /// # Errors
    /// What stands against it, and what to do.
    pub(crate) fn check_replacing(&self) -> Result<(), Rejection> {
        self.check_strategy()?;
        let port = self.template.ports.iter().find_map(|port| port.host);
        match port {
            Some(port)
                if self.update.strategy == Strategy::Rolling && self.is_blocked_by_port() =>
            {
                Err(Rejection::Unfit(format!(
                    "max_unavailable: host port {port} can be held by one task of a node at a time, so an old task must \
                     stop before its successor starts: allow one to be missing with --max-unavailable 1"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn is_blocked_by_port(&self) -> bool {
        let update = &self.update;
        let none = matches!(update.max_unavailable, Quantity::Count(0) | Quantity::Percent(0));
        update.order == Order::StartFirst && none
    }
}
