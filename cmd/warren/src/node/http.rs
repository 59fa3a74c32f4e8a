//! `/metrics`, `/healthz` and `/readyz`.

use super::metrics::Page;
use super::ready::Ready;
use crate::failure::{Exit, Failure, Outcome};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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

/// Serves until `shutdown`.
///
/// # Errors
/// The port is gone.
pub async fn run(
    listener: TcpListener,
    metrics: Page,
    ready: Ready,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready_page))
        .with_state(Served { metrics, ready });
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
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
