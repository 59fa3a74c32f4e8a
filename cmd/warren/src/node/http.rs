//! `/metrics`, `/healthz` and `/readyz`.

use super::metrics::Page;
use super::ready::Ready;
use crate::failure::{Exit, Failure, Outcome};
use axum::Router;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Connections at once: a few collectors of metrics and probes. More are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a request may take to come: it is one line and some headers.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection lasts: it has one request, and the longest answer is a megabyte.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(30);
/// The pause after the kernel refuses to give a connection, as where the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the port.
///
/// # Errors
/// It is taken or not ours, with what to do.
pub async fn bind(address: SocketAddr) -> Outcome<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(Exit::Failed, format!("cannot serve HTTP on {address}: {why}"))
            .hint("choose another address with --http (port 0 takes a free one), or --http off")
    })
}

#[derive(Clone)]
struct Served {
    metrics: Page,
    ready: Ready,
}

/// Serves until `shutdown`. A connection has one request: who asks again connects again, and nobody stays for ever.
pub async fn run(listener: TcpListener, metrics: Page, ready: Ready, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready_page))
        .with_state(Served { metrics, ready });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        let router = router.clone();
                        open.spawn(async move {
                            serve(stream, router).await;
                            drop(place);
                        });
                    }
                    Err(_) => {
                        tracing::debug!(%from, max = CONNECTIONS_MAX, "too many connections, one is closed");
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "an http connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| router.clone().oneshot(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an http connection broke"),
        Err(_) => tracing::debug!("an http connection took too long, it is cut"),
    }
}

async fn metrics_page(State(served): State<Served>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], served.metrics.text())
}

async fn ready_page(State(served): State<Served>) -> impl IntoResponse {
    let report = served.ready.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // A report is two fields of text: it always has a JSON form.
    let text = serde_json::to_string(&report).unwrap_or_default() + "\n";
    (status, [(header::CONTENT_TYPE, "application/json")], text)
}
