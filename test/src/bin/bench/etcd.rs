//! etcd of this machine's packages as a peer: one member, its own defaults, the same disk.

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

/// Its answer; nothing in it is needed here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutDone {}

impl Etcd {
    /// Starts one with its data in `folder`; `None` where etcd is not installed.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            return Ok(None);
        }
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(free_port()?), url(free_port()?));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder.join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("etcd starts")?;
        let etcd = Self { child, client };
        wait::until("etcd takes a write", READY_TIME_MAX, async || {
            etcd.connect().await?.put(0).await
        })
        .await?;
        Ok(Some(etcd))
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
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
