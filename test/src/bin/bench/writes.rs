//! Durable writes through the API, from one client and from many, beside etcd and the bare disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use warren_test::cluster::{Node, Runtime};
use warren_wire::v1::nodes_client::NodesClient;
use warren_wire::v1::{LabelNodeRequest, ListNodesRequest};

use crate::etcd::Etcd;
use crate::managers::Managers;
use crate::{Figure, Unit, median, raw, row, say};

const TIME: Duration = Duration::from_secs(3);
const RUNS: usize = 3;
/// One client waits for the disk; many show what is written together.
const CLIENTS: [u32; 2] = [1, 64];

pub(crate) async fn run() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let etcd = Etcd::start(folder.path()).await?;
    if etcd.is_none() {
        say("| (etcd is not installed: `apt-get install etcd-server` to compare) | | | | |");
    }
    for store in ["redb", "sled"] {
        let node = Node::start_with(Runtime::Process, &["--store", store]).await?;
        for clients in CLIENTS {
            let (mut ours, mut theirs, mut disk) = (vec![], vec![], vec![]);
            // Run by run in turn, so that a noisy minute hits all three.
            for _ in 0..RUNS {
                ours.push(warren(&node, clients).await?);
                disk.push(raw::writes_per_second(folder.path(), clients, TIME)?);
                if let Some(etcd) = &etcd {
                    theirs.push(peer(etcd, clients).await?);
                }
            }
            let per_second = |runs| Figure { value: median(runs), unit: Unit::PerSecond };
            let (ours, what) =
                (per_second(ours), format!("durable writes, {store}, {clients} clients"));
            if !theirs.is_empty() {
                row(&what, ours, Some(("etcd", per_second(theirs))), "≥ 1×");
            }
            row(&what, ours, Some(("bare disk", per_second(disk))), "–");
        }
    }
    Ok(())
}

/// Three managers beside three members: every client talks to the leader, on both sides.
pub(crate) async fn replicated() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let members = Etcd::start_members(folder.path(), 3).await?;
    if members.is_none() {
        say("| (etcd is not installed: `apt-get install etcd-server` to compare) | | | | |");
    }
    let managers = Managers::start(None).await?;
    for clients in CLIENTS {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..RUNS {
            let leader = &managers.nodes[managers.leader().await?];
            ours.push(warren(leader, clients).await?);
            if let Some(leader) = members.as_ref().and_then(|members| members.first()) {
                theirs.push(peer(leader, clients).await?);
            }
        }
        let per_second = |runs| Figure { value: median(runs), unit: Unit::PerSecond };
        let what = format!("durable writes, 3 managers, {clients} clients");
        let peer = (!theirs.is_empty()).then(|| ("etcd, 3 members", per_second(theirs)));
        row(&what, per_second(ours), peer, "≥ 1×");
    }
    Ok(())
}

/// Runs `clients` loops for a while, and gives how often they came round in a second.
async fn rate<F: AsyncFnMut(u32) -> anyhow::Result<()>>(loops: Vec<F>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let loops = loops.into_iter().map(|mut write| async move {
        let mut count = 0_u32;
        while start.elapsed() < TIME {
            write(count).await?;
            count += 1;
        }
        anyhow::Ok(count)
    });
    let counts = try_join_all(loops).await?;
    Ok(f64::from(counts.iter().sum::<u32>()) / start.elapsed().as_secs_f64())
}

async fn warren(node: &Node, clients: u32) -> anyhow::Result<f64> {
    let socket = node.data_dir().join("warren.sock");
    let mut first = NodesClient::new(connect(&socket).await?);
    let nodes = first.list_nodes(ListNodesRequest {}).await?.into_inner().nodes;
    let id = nodes.first().map(|node| node.id.clone()).unwrap_or_default();
    let mut loops = Vec::new();
    for client in 0..clients {
        let mut nodes = NodesClient::new(connect(&socket).await?);
        let (id, key) = (id.clone(), format!("bench-{client}"));
        loops.push(async move |count: u32| {
            let set = BTreeMap::from([(key.clone(), count.to_string())]);
            let asked = LabelNodeRequest { node_id: id.clone(), set, ..Default::default() };
            nodes.label_node(asked).await?;
            Ok(())
        });
    }
    rate(loops).await
}

async fn peer(etcd: &Etcd, clients: u32) -> anyhow::Result<f64> {
    let mut loops = Vec::new();
    for _ in 0..clients {
        let mut client = etcd.connect().await?;
        loops.push(async move |count: u32| client.put(count).await);
    }
    rate(loops).await
}

async fn connect(socket: &Path) -> anyhow::Result<Channel> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Ok(Endpoint::from_static("http://warren").connect_with_connector(connector).await?)
}
