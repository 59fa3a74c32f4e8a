//! A client that writes through the managers without a pause, and knows when each write was acknowledged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Channel;
use warren_test::api;
use warren_test::cluster::Node;
use warren_wire::v1::nodes_client::NodesClient;
use warren_wire::v1::{LabelNodeRequest, ListNodesRequest};

/// After so long the client asks another manager.
const CALL_TIME_MAX: Duration = Duration::from_millis(1_000);
/// Between a refused call and the next.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than any failover that is still one.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(120);

/// Dropped, it writes no more.
pub(crate) struct Writer {
    /// When the call that was acknowledged last began, and when it was acknowledged; all of them.
    seen: Arc<Mutex<Vec<(Instant, Instant)>>>,
    /// A thread of its own: thousands of simulated nodes that look for the next leader would keep it from asking.
    thread: Option<Runtime>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.shutdown_background();
        }
    }
}

impl Writer {
    /// Writes through one manager until it fails, then through the next.
    pub(crate) async fn start(managers: &[Node]) -> anyhow::Result<Self> {
        let sockets: Vec<PathBuf> =
            managers.iter().map(|node| node.data_dir().join("warren.sock")).collect();
        let mut first = NodesClient::new(api::channel(sockets.first().context("a manager")?));
        let nodes = first.list_nodes(ListNodesRequest {}).await?.into_inner().nodes;
        let id = nodes.first().map(|node| node.id.clone()).context("a node")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        let mut thread = Builder::new_multi_thread();
        let thread = thread.worker_threads(1).thread_name("writer").enable_all().build()?;
        thread.spawn(async move {
            for (at, count) in (0..sockets.len()).cycle().zip(0_u64..) {
                write_until_it_fails(&sockets[at], &id, count, &told).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { seen, thread: Some(thread) })
    }

    /// How long after `moment` the first write was acknowledged that began after it.
    pub(crate) async fn acknowledged_after(&self, moment: Instant) -> anyhow::Result<Duration> {
        let what = "a write is acknowledged";
        warren_test::wait::until(what, ACKNOWLEDGED_WITHIN, async || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let first = seen.iter().find(|(began, _)| *began >= moment);
            first.map(|(_, acknowledged)| *acknowledged - moment).context("none yet")
        })
        .await
    }

    /// The longest time between `from` and `to` in which no write was acknowledged.
    pub(crate) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = seen.iter().map(|(_, at)| *at).filter(|at| *at > from && *at < to);
        let (mut longest, mut last) = (Duration::ZERO, from);
        for at in inside.chain([to]) {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }
}

async fn write_until_it_fails(
    socket: &std::path::Path,
    id: &str,
    first: u64,
    told: &Mutex<Vec<(Instant, Instant)>>,
) {
    let mut nodes = NodesClient::new(api::channel(socket));
    for count in first.. {
        let began = Instant::now();
        let written = write(&mut nodes, id, count);
        if !matches!(tokio::time::timeout(CALL_TIME_MAX, written).await, Ok(Ok(()))) {
            return;
        }
        told.lock().unwrap_or_else(PoisonError::into_inner).push((began, Instant::now()));
    }
}

async fn write(nodes: &mut NodesClient<Channel>, id: &str, count: u64) -> anyhow::Result<()> {
    let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
    let set = BTreeMap::from([("bench".to_owned(), format!("{now}-{count}"))]);
    nodes
        .label_node(LabelNodeRequest { node_id: id.to_owned(), set, ..Default::default() })
        .await?;
    Ok(())
}
