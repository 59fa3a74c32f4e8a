//! What each path answers.

use std::time::{Duration, Instant};

use crate::http::{Request, Response};
use crate::serve::Server;

/// Answers one request and counts it where it is a user's.
pub(crate) fn answer(server: &Server, request: &Request) -> Response {
    let start = Instant::now();
    if let Some(response) = answer_operator(server, request) {
        return response;
    }
    let response = answer_user(server, request);
    server.metrics.record(response.status, start.elapsed());
    response
}

/// Probes, metrics and faults: not counted, and never made slow or failing by a fault that is for users.
fn answer_operator(server: &Server, request: &Request) -> Option<Response> {
    let faults = server.faults();
    let version = &server.options.version;
    let response = match (request.path.as_str(), request.method.as_str()) {
        ("/health", "GET" | "HEAD") => probe(!faults.unhealthy, "healthy", version),
        ("/ready", "GET" | "HEAD") => probe(!faults.never_ready, "ready", version),
        ("/metrics", "GET" | "HEAD") => Response {
            status: 200,
            content_type: "text/plain; version=0.0.4",
            body: server
                .metrics
                .page(version, server.in_flight(), server.items.depth())
                .into_bytes(),
        },
        ("/admin/faults", "GET" | "HEAD") => Response::json(200, faults.to_json()),
        ("/admin/faults", "POST") => change_faults(server, &request.body),
        ("/health" | "/ready" | "/metrics" | "/admin/faults", _) => not_allowed(),
        _ => return None,
    };
    Some(response)
}

fn probe(good: bool, word: &str, version: &str) -> Response {
    let (status, not) = if good { (200, "") } else { (503, "not ") };
    Response::json(status, format!("{{\"status\":\"{not}{word}\",\"version\":{version:?}}}\n"))
}

fn change_faults(server: &Server, body: &[u8]) -> Response {
    let form = String::from_utf8_lossy(body);
    match server.faults().with_form(&form) {
        Ok(faults) => {
            server.set_faults(faults);
            Response::json(200, faults.to_json())
        }
        Err(error) => Response::text(400, format!("{error}\n")),
    }
}

fn answer_user(server: &Server, request: &Request) -> Response {
    let faults = server.faults();
    if faults.latency_ms > 0 {
        be_slow(Duration::from_millis(faults.latency_ms));
    }
    if server.is_this_one_to_fail(faults.error_rate) {
        return Response::text(500, "this error was asked for\n");
    }
    match (request.path.as_str(), request.method.as_str()) {
        ("/", "GET" | "HEAD") => Response::json(200, server.who()),
        ("/echo", "POST" | "PUT") => Response::text(200, request.body.clone()),
        ("/echo", "GET" | "HEAD") => Response::text(200, request.head.clone()),
        ("/items", "POST") => match server.items.add() {
            Some((id, queued)) => {
                Response::json(201, format!("{{\"id\":{id},\"queued\":{queued}}}\n"))
            }
            None => Response::text(503, "the queue is full\n"),
        },
        ("/items", "GET" | "HEAD") => {
            Response::json(200, format!("{{\"queued\":{}}}\n", server.items.depth()))
        }
        ("/" | "/echo" | "/items", _) => not_allowed(),
        _ => Response::text(404, "there are /, /echo, /items, /health, /ready and /metrics\n"),
    }
}

#[expect(clippy::disallowed_methods, reason = "being slow is what this fault is for")]
fn be_slow(time: Duration) {
    std::thread::sleep(time);
}

fn not_allowed() -> Response {
    Response::text(405, "this path does not take this method\n")
}
