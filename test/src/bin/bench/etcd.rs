//! etcd of this machine's packages as a peer: one member or several, its own defaults, the same disk.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;
use warren_test::wait;

const READY_TIME_MAX: Duration = Duration::from_secs(30);

/// A running member; dropped, it is killed.
pub(crate) struct Etcd {
    child: Child,
    client: String,
}

/// etcd's `PutRequest`, as far as a plain write needs it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Its answer, of which nothing is needed here; and any empty request.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutDone {}

/// etcd's `StatusResponse` and its header, as far as they say who leads.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

impl Etcd {
    /// Starts one with its data in `folder`; `None` where etcd is not installed.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        Ok(Self::start_members(folder, 1).await?.and_then(|mut members| members.pop()))
    }

    /// Starts a cluster of `count` members; the one that leads is the first.
    pub(crate) async fn start_members(
        folder: &Path,
        count: usize,
    ) -> anyhow::Result<Option<Vec<Self>>> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            return Ok(None);
        }
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let ports =
            (0..count).map(|at| Ok((format!("etcd-{at}"), url(free_port()?), url(free_port()?))));
        let ports = ports.collect::<anyhow::Result<Vec<_>>>()?;
        let named = ports.iter().map(|(name, _, peer)| format!("{name}={peer}"));
        let cluster = named.collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (name, client, peer) in ports {
            let child = Command::new("etcd")
                .args(["--name", &name, "--initial-cluster", &cluster])
                .arg("--data-dir")
                .arg(folder.join(&name))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("etcd starts")?;
            members.push(Self { child, client });
        }
        wait::until("etcd takes a write", READY_TIME_MAX, async || {
            for member in &members {
                member.connect().await?.put(0).await?;
            }
            Ok(())
        })
        .await?;
        for at in 0..members.len() {
            if members[at].connect().await?.leads().await? {
                members.swap(0, at);
            }
        }
        Ok(Some(members))
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> anyhow::Result<EtcdClient> {
        let channel = Endpoint::from_shared(self.client.clone())?.connect().await?;
        Ok(EtcdClient { grpc: Grpc::new(channel) })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One client.
pub(crate) struct EtcdClient {
    grpc: Grpc<Channel>,
}

impl EtcdClient {
    /// Writes one value of 200 bytes durably.
    pub(crate) async fn put(&mut self, number: u32) -> anyhow::Result<()> {
        let put = Put { key: b"bench".to_vec(), value: format!("{number:0200}").into_bytes() };
        self.grpc.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let codec = ProstCodec::<Put, PutDone>::default();
        self.grpc.unary(tonic::Request::new(put), path, codec).await?;
        Ok(())
    }

    /// Whether the member that it talks to leads.
    async fn leads(&mut self) -> anyhow::Result<bool> {
        self.grpc.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");
        let codec = ProstCodec::<PutDone, Status>::default();
        let status = self.grpc.unary(tonic::Request::new(PutDone {}), path, codec).await?;
        let status = status.into_inner();
        Ok(status.header.is_some_and(|header| header.member_id == status.leader))
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
