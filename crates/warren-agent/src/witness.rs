//! Looks after silent nodes for the leader: it does not hear one, and asks whether this node reaches it.

use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use warren_wire::channel::Dialer;
use warren_wire::v1::{self, AgentMessage, agent_message};

/// Nodes that are looked after at once. A leader asks about 100 in a lease, two of its nodes about each.
const AT_ONCE_MAX: usize = 200;

/// What is being looked after.
pub(crate) struct Witness {
    dialer: Arc<Dialer>,
    looks: JoinSet<()>,
}

impl Witness {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self { dialer: Arc::new(dialer), looks: JoinSet::new() }
    }

    /// Looks and answers. One that is too many is not answered, which counts as nothing.
    pub(crate) fn look(&mut self, asked: v1::Probe, outbound: &mpsc::Sender<AgentMessage>) {
        while self.looks.try_join_next().is_some() {}
        if self.looks.len() < AT_ONCE_MAX {
            self.looks.spawn(look(asked, Arc::clone(&self.dialer), outbound.clone()));
        }
    }

    /// The leader that asked is gone.
    pub(crate) fn clear(&mut self) {
        self.looks.abort_all();
    }
}

async fn look(asked: v1::Probe, dialer: Arc<Dialer>, outbound: mpsc::Sender<AgentMessage>) {
    let v1::Probe { node_id, address, asked_ms } = asked;
    let proved = dialer.prove(&address, &node_id).await;
    match &proved {
        Ok(()) => tracing::debug!(node = node_id, address, "a silent node is reached"),
        Err(error) => tracing::debug!(node = node_id, %error, "a silent node is not reached"),
    }
    let probed = v1::Probed { node_id, asked_ms, reached: proved.is_ok() };
    let message = Some(agent_message::Message::Probed(probed));
    // Where the session has ended there is nobody to tell.
    let _ = outbound.send(AgentMessage { message }).await;
}
