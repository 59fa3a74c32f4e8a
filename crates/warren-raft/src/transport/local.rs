//! Several managers in one process, for tests and simulations: calls instead of sockets, and links that can be cut.

use super::{Reply, Rpc, Transport, TransportError};
use crate::Raft;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use warren_core::id::NodeId;

/// The network between the managers of one process. Clones share it.
#[derive(Clone, Default)]
pub struct LocalNetwork {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    managers: BTreeMap<NodeId, Raft>,
    isolated: BTreeSet<NodeId>,
}

struct Port {
    network: LocalNetwork,
    from: NodeId,
}

impl LocalNetwork {
    /// A network without managers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The transport that `node` is to be started with.
    #[must_use]
    pub fn port(&self, node: NodeId) -> Arc<dyn Transport> {
        Arc::new(Port { network: self.clone(), from: node })
    }

    /// From now on `node` hears what is sent to it.
    pub fn attach(&self, node: NodeId, raft: Raft) {
        self.lock().managers.insert(node, raft);
    }

    /// The node is gone: nothing reaches it.
    pub fn detach(&self, node: NodeId) {
        self.lock().managers.remove(&node);
    }

    /// Cuts a node off from all others, or joins it again.
    pub fn isolate(&self, node: NodeId, isolated: bool) {
        let mut inner = self.lock();
        if isolated {
            inner.isolated.insert(node);
        } else {
            inner.isolated.remove(&node);
        }
    }

    fn route(&self, from: NodeId, to: NodeId) -> Option<Raft> {
        let inner = self.lock();
        let cut = inner.isolated.contains(&from) || inner.isolated.contains(&to);
        if cut { None } else { inner.managers.get(&to).cloned() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Port {
    fn call<'a>(
        &'a self,
        node: NodeId,
        address: &'a str,
        rpc: Rpc,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Reply<'a> {
        Box::pin(async move {
            let Some(raft) = self.network.route(self.from, node) else {
                let (address, why) = (address.to_owned(), "no route".to_owned());
                return Err(TransportError::Unreachable { node, address, why });
            };
            let answer = tokio::time::timeout(timeout, raft.receive(rpc, &body)).await;
            // The link may have been cut while the answer was on its way.
            if self.network.route(self.from, node).is_none() {
                return Err(TransportError::Timeout { node, timeout });
            }
            match answer {
                Ok(Ok(bytes)) => Ok(bytes),
                Ok(Err(error)) => Err(TransportError::Refused { node, why: error.to_string() }),
                Err(_) => Err(TransportError::Timeout { node, timeout }),
            }
        })
    }
}
