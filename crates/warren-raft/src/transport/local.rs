//! Several managers in one process, for tests and simulations: calls instead of sockets, links that can be cut in one
//! direction or both, and weather: messages that are lost, late, or arrive twice.

use super::{Presence, Reply, Rpc, Transport, TransportError};
use crate::Raft;
use crate::election::Chance;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use warren_core::id::NodeId;

/// The network between the managers of one process. Clones share it.
#[derive(Clone, Default)]
pub struct LocalNetwork {
    inner: Arc<Mutex<Inner>>,
}

/// What befalls messages, and answers just as much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Weather {
    /// Of a thousand, so many are lost.
    pub lost_per_mille: u64,
    /// Of a thousand, so many arrive twice.
    pub twice_per_mille: u64,
    /// Each takes a time from zero to this one.
    pub delay_max: Duration,
}

struct Inner {
    managers: BTreeMap<NodeId, Raft>,
    isolated: BTreeSet<NodeId>,
    /// From whom to whom nothing gets through.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Whoever is slow takes so much longer for each message.
    slow: BTreeMap<NodeId, Duration>,
    weather: Weather,
    chance: Chance,
    /// How many messages of each kind were sent, by whom.
    sent: BTreeMap<(NodeId, &'static str), u64>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            managers: BTreeMap::new(),
            isolated: BTreeSet::new(),
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            weather: Weather::default(),
            chance: Chance::seeded(0),
            sent: BTreeMap::new(),
        }
    }
}

struct Port {
    network: LocalNetwork,
    from: NodeId,
}

/// What befalls one message or answer.
struct Fate {
    lost: bool,
    twice: bool,
    delay: Duration,
}

impl LocalNetwork {
    /// A network without managers, in fair weather.
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

    /// The node's process is gone: nothing reaches it, and who looks for it learns that nobody is there.
    pub fn detach(&self, node: NodeId) {
        self.lock().managers.remove(&node);
    }

    /// Cuts a node off from all others, or joins it again. Both ends notice at once.
    pub fn isolate(&self, node: NodeId, isolated: bool) {
        let mut inner = self.lock();
        if isolated {
            inner.isolated.insert(node);
        } else {
            inner.isolated.remove(&node);
        }
    }

    /// Cuts the way from one node to another, or mends it. The way back stays, and nobody is told: what was sent is not
    /// answered in time.
    pub fn cut(&self, from: NodeId, to: NodeId, cut: bool) {
        let mut inner = self.lock();
        if cut {
            inner.cut.insert((from, to));
        } else {
            inner.cut.remove(&(from, to));
        }
    }

    /// From now on `node` takes `delay` longer for each message; none with zero.
    pub fn slow(&self, node: NodeId, delay: Duration) {
        self.lock().slow.insert(node, delay);
    }

    /// What befalls messages from now on, drawn from `seed`.
    pub fn set_weather(&self, weather: Weather, seed: u64) {
        let mut inner = self.lock();
        inner.weather = weather;
        inner.chance = Chance::seeded(seed);
    }

    /// How many messages of a kind `node` has sent.
    #[must_use]
    pub fn sent(&self, node: NodeId, rpc: Rpc) -> u64 {
        self.lock().sent.get(&(node, rpc.name())).copied().unwrap_or(0)
    }

    /// Draws what befalls a message that goes from one node to another.
    fn fate(&self, from: NodeId, to: NodeId) -> Fate {
        let mut inner = self.lock();
        let weather = inner.weather;
        let mut drawn = |per_mille| inner.chance.next() % 1_000 < per_mille;
        let (lost, twice) = (drawn(weather.lost_per_mille), drawn(weather.twice_per_mille));
        let delay = inner.chance.below(weather.delay_max);
        let slow = inner.slow.get(&to).copied().unwrap_or_default();
        let lost = lost || inner.cut.contains(&(from, to));
        Fate { lost, twice, delay: delay + slow }
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

impl Port {
    /// Carries a message there and its answer back. Pends for ever where either is lost.
    async fn carry(&self, to: NodeId, rpc: Rpc, body: &[u8]) -> Result<Vec<u8>, String> {
        let fate = self.network.fate(self.from, to);
        sleep(fate.delay).await;
        let (false, Some(raft)) = (fate.lost, self.network.route(self.from, to)) else {
            return std::future::pending().await;
        };
        if fate.twice {
            // The first one's answer is lost.
            raft.receive(rpc, body).await.map_err(|error| error.to_string())?;
        }
        let answer = raft.receive(rpc, body).await.map_err(|error| error.to_string());
        let fate = self.network.fate(to, self.from);
        sleep(fate.delay).await;
        // The link may have been cut while the answer was on its way.
        if fate.lost || self.network.route(self.from, to).is_none() {
            return std::future::pending().await;
        }
        answer
    }
}

impl Transport for Port {
    fn call<'a>(
        &'a self,
        node: NodeId,
        address: &'a str,
        rpc: Rpc,
        body: Vec<u8>,
        limit: Duration,
    ) -> Reply<'a> {
        Box::pin(async move {
            *self.network.lock().sent.entry((self.from, rpc.name())).or_default() += 1;
            if self.network.route(self.from, node).is_none() {
                let (address, why) = (address.to_owned(), "no route".to_owned());
                return Err(TransportError::Unreachable { node, address, why });
            }
            match timeout(limit, self.carry(node, rpc, &body)).await {
                Ok(Ok(bytes)) => Ok(bytes),
                Ok(Err(why)) => Err(TransportError::Refused { node, why }),
                Err(_) => Err(TransportError::Timeout { node, timeout: limit }),
            }
        })
    }

    fn listens<'a>(&'a self, node: NodeId, _address: &'a str, _limit: Duration) -> Presence<'a> {
        let inner = self.network.lock();
        let apart = inner.isolated.contains(&self.from) || inner.isolated.contains(&node);
        let cut = inner.cut.contains(&(self.from, node)) || inner.cut.contains(&(node, self.from));
        Box::pin(std::future::ready(apart || cut || inner.managers.contains_key(&node)))
    }
}
