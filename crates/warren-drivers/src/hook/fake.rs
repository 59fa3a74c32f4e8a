//! For tests: hooks that nothing leaves the process for, and a receiver that real ones can call.

use super::{ANSWER_BYTES_MAX, HookError, Hooks, Message};
use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
use std::future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use warren_core::notice::Notice;
use warren_core::spec::HookUrl;

/// How a receiver answers a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// With this status and body.
    Status(u16, String),
    /// With 302, to another place of the same receiver.
    Redirect,
    /// With 200 and this many bytes.
    Flood(usize),
    /// Never.
    Hang,
    /// With 200 and a body that never ends.
    HangInBody,
    /// By closing the connection.
    Close,
}

impl Answer {
    /// 200 without a body.
    #[must_use]
    pub fn yes() -> Self {
        Self::Status(200, String::new())
    }
}

/// The answers by path, and what was heard. The last answer of a path is given again and again; a path without any
/// says yes.
#[derive(Clone)]
pub struct Script {
    answers: Arc<Mutex<BTreeMap<String, VecDeque<Answer>>>>,
    heard: watch::Sender<Vec<(String, Message)>>,
}

impl Default for Script {
    fn default() -> Self {
        Self { answers: Arc::default(), heard: watch::Sender::new(Vec::new()) }
    }
}

impl Script {
    /// Sets the answers for `path`, as in `/gate`.
    pub fn answer(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut all = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(path.to_owned(), answers.into_iter().collect());
    }

    /// All calls so far, each with its path, in the order in which they came.
    #[must_use]
    pub fn heard(&self) -> watch::Receiver<Vec<(String, Message)>> {
        self.heard.subscribe()
    }

    fn take(&self, path: &str, message: Message) -> Answer {
        self.heard.send_modify(|heard| heard.push((path.to_owned(), message)));
        let mut all = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(path) {
            Some(left) if left.len() > 1 => left.pop_front().unwrap_or_else(Answer::yes),
            Some(left) => left.front().cloned().unwrap_or_else(Answer::yes),
            None => Answer::yes(),
        }
    }
}

/// Hooks that answer from a script.
#[derive(Clone, Default)]
pub struct FakeHooks {
    /// The script.
    pub script: Script,
}

#[async_trait]
impl Hooks for FakeHooks {
    async fn call(&self, notice: &Notice) -> Result<(), HookError> {
        let (host, path) = split(&notice.hook.url);
        let lost = |why: &str| HookError::Unreachable { host: host.clone(), why: why.to_owned() };
        let (code, body) = match self.script.take(&path, Message::of(notice)) {
            Answer::Status(code, body) => (code, body.into_bytes()),
            Answer::Redirect => (302, Vec::new()),
            Answer::Flood(bytes) => (200, vec![b'x'; bytes.min(ANSWER_BYTES_MAX)]),
            Answer::Close => return Err(lost("the connection ended")),
            Answer::Hang | Answer::HangInBody => {
                let within = notice.hook.timeout;
                let _ = tokio::time::timeout(within, future::pending::<()>()).await;
                return Err(HookError::Timeout { host, within });
            }
        };
        match hyper::StatusCode::from_u16(code) {
            Ok(status) if status.is_success() => Ok(()),
            Ok(status) => Err(HookError::refused(&host, status, &body)),
            Err(_) => Err(lost("it answered with what is no status")),
        }
    }
}

/// The host without its port, and the path.
fn split(url: &HookUrl) -> (String, String) {
    let rest = url.as_str().split_once("://").map_or("", |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    (host.to_owned(), format!("/{path}"))
}

/// An HTTP server that answers from a script.
pub struct Receiver {
    /// The script.
    pub script: Script,
    port: u16,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Listens on a free port of this machine, until it is dropped.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(script: Script) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let mut server = JoinSet::new();
        let answers = script.clone();
        server.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let script = answers.clone();
                calls.spawn(async move {
                    // How a call ends is the caller's matter.
                    let _ = serve(stream, &script).await;
                });
            }
        });
        Ok(Self { script, port, _server: server })
    }

    /// The address of `path`, as in `/gate`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// Answers one request.
///
/// # Errors
/// The caller is gone, or does not speak HTTP.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Script,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (path, message) = request(&mut stream).await?;
    let head = |status: u16, more: &str, bytes: usize| {
        format!("HTTP/1.1 {status} X\r\n{more}content-length: {bytes}\r\n\r\n")
    };
    match script.take(&path, message) {
        Answer::Status(status, body) => {
            let text = head(status, "", body.len()) + &body;
            stream.write_all(text.as_bytes()).await?;
        }
        Answer::Redirect => {
            stream.write_all(head(302, "location: /elsewhere\r\n", 0).as_bytes()).await?;
        }
        Answer::Flood(bytes) => {
            stream.write_all(head(200, "", bytes).as_bytes()).await?;
            stream.write_all(&vec![b'x'; bytes]).await?;
        }
        Answer::HangInBody => {
            stream.write_all(head(200, "", 10).as_bytes()).await?;
            stream.flush().await?;
            future::pending::<()>().await;
        }
        Answer::Hang => future::pending::<()>().await,
        Answer::Close => {}
    }
    stream.shutdown().await
}

async fn request(
    stream: &mut (impl AsyncBufReadExt + Unpin),
) -> std::io::Result<(String, Message)> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let names = ["content-type", "user-agent", "x-warren-event", "idempotency-key"];
    let names = names.into_iter().chain(["x-warren-signature"]);
    let mut given = BTreeMap::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            given.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = given.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let headers = names.filter_map(|name| Some((name, given.get(name)?.clone()))).collect();
    Ok((path, Message { headers, body }))
}
