//! An HTTP server that says yes to everything and keeps what it was sent: where a test's hooks are called.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The largest request that is taken: far more than a hook sends.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The path.
    pub path: String,
    /// Its headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// What was sent.
    pub body: String,
}

/// The server; it listens while the value lives.
pub struct Sink {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    server: JoinHandle<()>,
}

impl Sink {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// There is no port.
    pub async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let calls = Arc::new(Mutex::new(Vec::new()));
        let server = tokio::spawn(serve(listener, Arc::clone(&calls)));
        Ok(Self { address, calls, server })
    }

    /// Its address with a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// What has been sent so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Call {
    /// Fails unless the call is signed with `key`, as the guide says.
    ///
    /// # Errors
    /// It has another signature, or none.
    pub fn is_signed_with(&self, key: &str) -> anyhow::Result<()> {
        let found = self.headers.get("x-warren-signature").context("it is not signed")?;
        let expected = format!("sha256={}", hmac_sha256(key.as_bytes(), self.body.as_bytes()));
        ensure!(*found == expected, "{found} is not {expected}");
        Ok(())
    }
}

/// HMAC as RFC 2104 writes it down: not the code under test.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn serve(listener: TcpListener, calls: Arc<Mutex<Vec<Call>>>) {
    let mut callers = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while callers.try_join_next().is_some() {}
        let calls = Arc::clone(&calls);
        callers.spawn(async move {
            // A caller that breaks off has said nothing.
            let _ = take(stream, &calls).await;
        });
    }
}

async fn take(mut stream: TcpStream, calls: &Mutex<Vec<Call>>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    let call = loop {
        if let Some(call) = parse(&bytes)? {
            break call;
        }
        ensure!(bytes.len() < REQUEST_BYTES_MAX, "too much is sent");
        ensure!(stream.read_buf(&mut bytes).await? > 0, "it breaks off");
    };
    calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    Ok(stream.write_all(answer).await?)
}

/// The request, once all of it is there.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Call>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).context("no request line")?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(Ok(0), |text| text.parse())?;
    if body.len() < length {
        return Ok(None);
    }
    Ok(Some(Call { path: path.to_owned(), headers, body: body.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_rfc() {
        // RFC 4231, test case 2.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac_sha256(b"Jefe", b"what do ya want for nothing?"), expected);
    }
}
