//! Hooks by HTTP and HTTPS. A connection for each call: they are rare, and one that was kept may be dead.

use super::{ANSWER_BYTES_MAX, HookError, Hooks, Message, first_words};
use crate::metrics::HOOK_SECONDS;
use crate::probe::because;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::convert::Infallible;
use std::future;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use warren_core::notice::Notice;
use warren_core::spec::HookUrl;

/// Calls hooks over the network, as [`Hooks`] says. Redirects are not followed.
pub struct HttpHooks {
    tls: TlsConnector,
}

impl HttpHooks {
    /// Trusts the certificate authorities that this machine trusts. They are read once, here, from files.
    #[must_use]
    pub fn new() -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some certificate authorities of this machine cannot be read");
        }
        if found.certs.is_empty() {
            tracing::warn!("this machine trusts no certificate authority, https hooks will fail");
        }
        Self::trusting(found.certs)
    }

    /// Trusts these certificate authorities and no other. Those that cannot be read are left out.
    #[must_use]
    pub fn trusting(authorities: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|error| unreachable!("ring speaks TLS 1.2 and 1.3: {error}"))
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)) }
    }

    async fn attempt(&self, place: &Place, message: Message) -> Result<(), HookError> {
        let request = place.request(message)?;
        let connected = TcpStream::connect((place.host.as_str(), place.port)).await;
        let stream = connected.map_err(|error| place.lost(&error))?;
        let (status, body) = if place.is_https {
            let name = ServerName::try_from(place.host.clone())
                .map_err(|error| place.unusable(error.to_string()))?;
            let secured = self.tls.connect(name, stream).await;
            exchange(secured.map_err(|error| place.lost(&error))?, request).await
        } else {
            exchange(stream, request).await
        }
        .map_err(|error| place.lost(&error))?;
        if status.is_success() {
            return Ok(());
        }
        Err(HookError::refused(&place.host, status, &body))
    }
}

impl Default for HttpHooks {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Hooks for HttpHooks {
    async fn call(&self, notice: &Notice) -> Result<(), HookError> {
        let begun = Instant::now();
        let place = Place::of(&notice.hook.url)?;
        let within = notice.hook.timeout;
        let attempt = tokio::time::timeout(within, self.attempt(&place, Message::of(notice)));
        let outcome = match attempt.await {
            Ok(outcome) => outcome,
            Err(_) => Err(HookError::Timeout { host: place.host, within }),
        };
        let result = outcome.as_ref().err().map_or("yes", HookError::word);
        metrics::histogram!(HOOK_SECONDS, "result" => result).record(begun.elapsed());
        outcome
    }
}

/// Sends a request and reads the answer's status and beginning.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Vec<u8>), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection only moves while it is awaited; how it ends is told by the request.
    let drive = async {
        let _ = connection.await;
        future::pending::<Infallible>().await
    };
    let talk = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, beginning(response.into_body()).await?))
    };
    tokio::select! {
        biased;
        talked = talk => talked,
        never = drive => match never {},
    }
}

/// The first [`ANSWER_BYTES_MAX`] of an answer, or all where it is shorter.
async fn beginning(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut kept = Vec::new();
    while kept.len() < ANSWER_BYTES_MAX {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            let room = ANSWER_BYTES_MAX - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(kept)
}

/// Where a hook is.
struct Place {
    is_https: bool,
    /// A name or an address, an IPv6 one without brackets.
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Place {
    fn of(url: &HookUrl) -> Result<Self, HookError> {
        let unusable = |why: String| HookError::Unusable {
            host: "the hook".to_owned(),
            why: first_words(why.as_bytes()),
        };
        let uri: Uri = url.as_str().parse().map_err(|error| unusable(format!("{error}")))?;
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
            return Err(unusable("its address names no host".to_owned()));
        };
        let is_https = uri.scheme_str() == Some("https");
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_https,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.to_string(),
            path: path.to_owned(),
        })
    }

    fn request(&self, message: Message) -> Result<Request<Full<Bytes>>, HookError> {
        let mut request =
            Request::post(&self.path).header(HOST, &self.authority).header(CONNECTION, "close");
        for (name, value) in message.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(message.body)));
        request.map_err(|error| self.unusable(error.to_string()))
    }

    fn lost(&self, error: &dyn std::error::Error) -> HookError {
        let why = first_words(because(error).as_bytes());
        HookError::Unreachable { host: self.host.clone(), why }
    }

    fn unusable(&self, why: String) -> HookError {
        HookError::Unusable { host: self.host.clone(), why }
    }
}
