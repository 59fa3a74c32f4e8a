//! Writes that never pause, and which of them were acknowledged: none of these may be lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use warren_wire::v1::nodes_client::NodesClient;
use warren_wire::v1::{GetNodeRequest, LabelNodeRequest};

use super::{Fleet, SOON};
use crate::api::channel;
use crate::wait;

/// Keys in turn: fewer than a node has labels.
const KEYS: u64 = 16;
/// What one write is waited for. A writer that gives up does not know what became of it.
const WRITE_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two writes.
const PACE: Duration = Duration::from_millis(20);

/// A writer for each manager, on a thread of their own. Each writes ever larger numbers under keys of its own.
pub struct Ledger {
    stop: CancellationToken,
    writers: Vec<Arc<Mutex<Writer>>>,
}

/// What one writer knows.
#[derive(Default)]
struct Writer {
    /// By key: the largest number that was acknowledged, and the largest that was tried.
    written: BTreeMap<String, (u64, u64)>,
    acknowledged: u64,
    unknown: u64,
    /// When the last acknowledged write was begun.
    last: Option<Instant>,
}

impl Ledger {
    /// Starts writing through each of these machines.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn start(fleet: &Fleet, through: &[usize]) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let mut writers = Vec::new();
        let mut work = Vec::new();
        for index in through {
            let writer = Arc::new(Mutex::new(Writer::default()));
            let socket = fleet.node(*index).data_dir().join("warren.sock");
            work.push(write(format!("m{}", index + 1), socket, Arc::clone(&writer)));
            writers.push(writer);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stopped = stop.clone();
        std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(futures::future::join_all(work)));
        });
        Ok(Self { stop, writers })
    }

    /// When the writer through the machine at this place last began a write that was acknowledged.
    #[must_use]
    pub fn last(&self, place: usize) -> Option<Instant> {
        lock(&self.writers[place]).last
    }

    /// How many writes were acknowledged, by all.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.writers.iter().map(|writer| lock(writer).acknowledged).sum()
    }

    /// Waits until a write that began after this call is acknowledged to the writer at this place.
    ///
    /// # Errors
    /// Where none is.
    pub async fn goes_on(&self, place: usize) -> anyhow::Result<()> {
        let start = Instant::now();
        wait::until(&format!("writer {place} writes"), SOON, async || {
            ensure!(self.last(place).is_some_and(|last| last > start), "not yet");
            Ok(())
        })
        .await
    }

    /// Ends the writers and fails where a write that was acknowledged is not there, or one that nobody made is.
    ///
    /// # Errors
    /// With the write.
    pub async fn nothing_lost(self, fleet: &Fleet, asked: usize) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut nodes = client(fleet.node(asked).data_dir().join("warren.sock"));
        let (mut acknowledged, mut unknown) = (0, 0);
        for writer in &self.writers {
            let writer = lock(writer);
            acknowledged += writer.acknowledged;
            unknown += writer.unknown;
        }
        let labels = wait::until("the labels are told", SOON, async || {
            let asked = GetNodeRequest { node_id: "m1".into() };
            let node = nodes.get_node(asked).await?.into_inner().node.context("a node")?;
            Ok(node.labels)
        })
        .await?;
        for writer in &self.writers {
            for (key, (acked, tried)) in &lock(writer).written {
                let found = labels.get(key).map_or(Ok(0), |text| text.parse::<u64>())?;
                let possible = acked <= &found && found <= *tried;
                ensure!(possible, "{key} is {found}: {acked} was acknowledged, {tried} the last");
            }
        }
        ensure!(acknowledged > 0, "no write was acknowledged");
        crate::say(&format!("{acknowledged} writes acknowledged, {unknown} in doubt, none lost"));
        Ok(())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn write(name: String, socket: PathBuf, writer: Arc<Mutex<Writer>>) {
    let mut nodes = client(socket);
    for number in 1.. {
        tokio::time::sleep(PACE).await;
        let key = format!("{name}-{}", number % KEYS);
        lock(&writer).written.entry(key.clone()).or_default().1 = number;
        let set = [(key.clone(), number.to_string())].into();
        // All under the first node: which it is does not matter.
        let request = LabelNodeRequest { node_id: "m1".into(), set, ..Default::default() };
        let begun = Instant::now();
        let answer = timeout(WRITE_TIME_MAX, nodes.label_node(request)).await;
        let mut writer = lock(&writer);
        if matches!(answer, Ok(Ok(_))) {
            writer.acknowledged += 1;
            writer.last = Some(begun);
            writer.written.entry(key).or_default().0 = number;
        } else {
            writer.unknown += 1;
        }
    }
}

fn client(socket: PathBuf) -> NodesClient<tonic::transport::Channel> {
    NodesClient::new(channel(&socket))
}

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    // A count is whole at any moment, also where its holder ended early.
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}
