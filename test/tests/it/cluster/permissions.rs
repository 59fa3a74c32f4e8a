//! Every call, tried over the wire by everybody: what the page of permissions says is what a cluster does.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::ensure;
use expect_test::expect_file;
use futures::stream;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use warren_test::cluster::{Node, Runtime};
use warren_wire::channel::{Dialer, Target, connect_stranger};
use warren_wire::trust::{MANAGER_NAME, install_provider};

use super::access::credentials;
use super::joined;

/// Who tries, as the columns of the page.
const ROLES: [&str; 5] = ["viewer", "operator", "deployer", "approver", "admin"];

/// A call that is let in may go on for as long as it likes; one that is not ends at once.
const PATIENCE: Duration = Duration::from_secs(2);

const HEAD: &str = "\
# Permissions

Which call may be made by whom. A test makes every call as every one of them over the network and
writes down what came of it (`UPDATE_EXPECT=1` writes this page anew). Root on a manager's machine
may make every call by its socket; what managers say to each other is theirs alone.

| call | nobody known | worker | viewer | operator | deployer | approver | admin |
|---|---|---|---|---|---|---|---|
";

#[tokio::test]
async fn each_role_may_make_the_calls_that_the_page_says() {
    install_provider();
    let page = tried().await.unwrap();
    expect_file!["../../../../docs/reference/permissions.md"].assert_eq(&page);
}

/// Somebody who calls: their connection, and the token that they show.
struct Caller {
    channel: Channel,
    token: Option<String>,
}

async fn tried() -> anyhow::Result<String> {
    let manager = Node::start(Runtime::Process).await?;
    let worker = joined(&manager, "worker", "w1").await?;
    let shown = credentials(&worker)?;
    let authority = shown.authority.clone();
    let stranger = connect_stranger(manager.listen(), &authority).await?;
    let target: Target = manager.listen().parse()?;
    let (_keep, watched) = tokio::sync::watch::channel(Some(shown));
    let channel = Dialer::new(watched).connect(&target, MANAGER_NAME).await?;
    let mut callers =
        vec![Caller { channel: stranger.clone(), token: None }, Caller { channel, token: None }];
    for role in ROLES {
        let token = manager.ok(&["token", "create", role, "--role", role, "--quiet"]).await?;
        let token = Some(token.trim().to_owned());
        callers.push(Caller { channel: stranger.clone(), token });
    }
    let mut page = HEAD.to_owned();
    for call in calls()? {
        let mut marks = Vec::new();
        for caller in &callers {
            marks.push(if may(caller, &call).await? { "yes" } else { "" });
        }
        writeln!(page, "| `{}` | {} |", call.trim_start_matches("/warren.v1."), marks.join(" | "))?;
    }
    Ok(page)
}

/// The path of every call, as the descriptors have them.
fn calls() -> anyhow::Result<Vec<String>> {
    let set = FileDescriptorSet::decode(warren_wire::v1::FILE_DESCRIPTOR_SET)?;
    let mut calls = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let call = |name: &str| format!("/{}.{}/{name}", file.package(), service.name());
            calls.extend(service.method.iter().map(|method| call(method.name())));
        }
    }
    calls.sort();
    ensure!(calls.len() > 40, "{calls:?}");
    Ok(calls)
}

/// Makes a call with an empty message and says whether it was let in; what it was told there does not matter.
async fn may(caller: &Caller, call: &str) -> anyhow::Result<bool> {
    let mut request = Request::new(stream::iter([Vec::new()]));
    if let Some(token) = &caller.token {
        let value: MetadataValue<_> = format!("Bearer {token}").parse()?;
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = Grpc::new(caller.channel.clone());
    client.ready().await?;
    let path = PathAndQuery::try_from(call)?;
    let answer = tokio::time::timeout(PATIENCE, client.streaming(request, path, Raw)).await;
    let Ok(Err(status)) = answer else { return Ok(true) };
    ensure!(status.code() != Code::Unimplemented, "{call}: {status}");
    let refused = matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated);
    // A call that is open to anybody may still refuse a token or a key.
    let own = ["token", "key", "certificate request"];
    let by_call =
        call.contains("Membership/") && own.iter().any(|word| status.message().contains(word));
    Ok(!refused || by_call)
}

/// Messages as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use prost::bytes::BufMut as _;
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        use prost::bytes::Buf as _;
        let bytes = from.copy_to_bytes(from.remaining());
        Ok(Some(bytes.to_vec()))
    }
}
