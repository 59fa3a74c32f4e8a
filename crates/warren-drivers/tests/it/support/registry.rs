//! A registry with one image, which wants an account. Docker takes registries on 127.0.0.1 without TLS.

use crate::support::tar::{Entry, archive};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The account that the registry wants.
pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "wonder:land";

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry that ends with its value.
pub(crate) struct Registry {
    pub(crate) address: String,
    /// The digest of its only image, `team/probe:v1`.
    pub(crate) digest: String,
    _serving: JoinSet<()>,
}

struct Content {
    manifest: Bytes,
    blobs: Vec<(String, Bytes)>,
}

fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{digits}")
}

impl Registry {
    /// Serves an image whose entry point is this program.
    pub(crate) async fn serve(program: &[u8]) -> Self {
        // A file of its own makes the image one that no other test has.
        let salt = crate::support::random().to_string();
        let files = [
            Entry { path: "probe", mode: 0o755, content: program },
            Entry { path: "salt", mode: 0o644, content: salt.as_bytes() },
        ];
        let layer = Bytes::from(archive(&files));
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Entrypoint": ["/probe"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = Bytes::from(config.to_string());
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(),
                "digest": digest(&config),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.len(),
                "digest": digest(&layer),
            }],
        });
        let manifest = Bytes::from(manifest.to_string());
        let digest_of_manifest = digest(&manifest);
        let blobs = [config, layer].map(|blob| (digest(&blob), blob)).into();
        let content = Arc::new(Content { manifest, blobs });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, content));
        Self { address, digest: digest_of_manifest, _serving: serving }
    }
}

async fn accept(listener: TcpListener, content: Arc<Content>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let content = Arc::clone(&content);
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let response = answer(&content, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            // The engine may hang up in the middle.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn answer(content: &Content, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let account = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown != Some(account.as_str()) {
        let mut refusal = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        refusal.headers_mut().insert(WWW_AUTHENTICATE, "Basic realm=\"test\"".parse().unwrap());
        return refusal;
    }
    let path = request.uri().path();
    if path == "/v2/" {
        return Response::new(Full::from("{}"));
    }
    let tail = path.strip_prefix("/v2/team/probe/").and_then(|tail| tail.split_once('/'));
    match tail {
        Some(("manifests", tag)) if tag == "v1" || tag == digest(&content.manifest) => {
            Response::builder()
                .header(CONTENT_TYPE, MANIFEST)
                .header("docker-content-digest", digest(&content.manifest))
                .body(Full::from(content.manifest.clone()))
                .unwrap()
        }
        Some(("blobs", wanted)) => match content.blobs.iter().find(|(name, _)| name == wanted) {
            Some((_, blob)) => Response::new(Full::from(blob.clone())),
            None => error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        },
        _ => error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
    }
}

fn error(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let message = code.to_ascii_lowercase().replace('_', " ");
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
    Response::builder().status(status).body(Full::from(body)).unwrap()
}
