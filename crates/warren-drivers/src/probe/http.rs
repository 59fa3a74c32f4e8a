//! Whether `GET` answers with a status from 200 to 399. Redirects are an answer, and are not followed.

use crate::probe::{because, tcp};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use std::future;
use std::net::SocketAddr;

pub(super) async fn look(target: SocketAddr, path: &str) -> Result<(), String> {
    let request = Request::get(path)
        .header(HOST, target.to_string())
        .header(USER_AGENT, "warren-probe")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{path:?} is not a path to ask for: {error}"))?;
    let stream = tcp::connect(target).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| because(&error))?;
    // The connection only moves while it is awaited; how it ends is told by the request.
    let drive = async {
        let _ = connection.await;
        future::pending::<()>().await;
    };
    let response = tokio::select! {
        biased;
        response = sender.send_request(request) => response.map_err(|error| because(&error))?,
        () = drive => return Err("the connection ended".to_owned()),
    };
    let status = response.status();
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(format!("GET {path} answered {status}"))
}
