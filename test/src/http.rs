//! One HTTP request, for looking at what a task or a node answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

/// Everything here is on this machine; a server that takes longer is at fault.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Fetches a path and gives the status and the text.
///
/// # Errors
/// Where nobody answers, or too late.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    request("GET", address, path, "").await
}

/// Sends a body and gives the status and the text.
///
/// # Errors
/// As [`get`].
pub async fn post(address: SocketAddr, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
    request("POST", address, path, body).await
}

async fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let whole = tokio::time::timeout(ANSWER_TIME_MAX, exchange(method, address, path, body));
    whole
        .await
        .context("no answer in time")
        .and_then(|answer| answer)
        .with_context(|| format!("{method} http://{address}{path}"))
}

async fn exchange(
    method: &str,
    address: SocketAddr,
    path: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    };
    let (answer, ()) = tokio::try_join!(answer, connection)?;
    Ok(answer)
}
