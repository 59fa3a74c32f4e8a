//! Each kind of probe against a server that answers well, badly, slowly and not at all.

use super::*;
use crate::runtime::*;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use warren_core::spec::{Image, PinnedImage, PullPolicy, Signal};

const LIMIT: Duration = Duration::from_secs(5);

/// A runtime whose only command is `exit CODE`, which complains when the code is not 0, and `hang`.
struct Commands;

struct Exited(i32);

#[async_trait]
impl ExecControl for Exited {
    async fn resize(&self, _: TtySize) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn wait(&self) -> Result<i32, RuntimeError> {
        Ok(self.0)
    }
}

fn absent<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::NotFound { what: "such thing here".into() })
}

#[async_trait]
impl ContainerRuntime for Commands {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        absent()
    }
    async fn prepare_network(&self, _: &NetworkSpec) -> Result<(), RuntimeError> {
        absent()
    }
    async fn resolve(
        &self,
        _: &Image,
        _: PullPolicy,
        _: Option<&Credentials>,
    ) -> Result<PinnedImage, RuntimeError> {
        absent()
    }
    async fn pull(
        &self,
        _: &PinnedImage,
        _: &Image,
        _: Option<&Credentials>,
        _: &watch::Sender<PullProgress>,
    ) -> Result<(), RuntimeError> {
        absent()
    }
    async fn create(&self, _: &ContainerSpec) -> Result<ContainerRef, RuntimeError> {
        absent()
    }
    async fn start(&self, _: &ContainerRef) -> Result<(), RuntimeError> {
        absent()
    }
    async fn stop(&self, _: &ContainerRef, _: Signal, _: Duration) -> Result<(), RuntimeError> {
        absent()
    }
    async fn kill(&self, _: &ContainerRef) -> Result<(), RuntimeError> {
        absent()
    }
    async fn remove(&self, _: &ContainerRef) -> Result<(), RuntimeError> {
        absent()
    }
    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        absent()
    }
    async fn inspect(&self, _: &ContainerRef) -> Result<Container, RuntimeError> {
        absent()
    }
    async fn logs(
        &self,
        _: &ContainerRef,
        _: LogOptions,
    ) -> Result<BoxStream<LogLine>, RuntimeError> {
        absent()
    }
    async fn exec(&self, _: &ContainerRef, spec: ExecSpec) -> Result<ExecSession, RuntimeError> {
        if spec.command[0] == "hang" {
            std::future::pending::<()>().await;
        }
        let code: i32 = spec.command[1].parse().unwrap();
        let bytes = Bytes::from("not well\n".repeat(usize::try_from(code).unwrap()));
        let chunk = OutputChunk { stream: OutputStream::Stderr, bytes };
        let control = Box::new(Exited(code));
        Ok(ExecSession { stdin: None, output: stream::iter([Ok(chunk)]).boxed(), control })
    }
    async fn stats(&self, _: &ContainerRef) -> Result<Stats, RuntimeError> {
        absent()
    }
    async fn events(&self) -> Result<BoxStream<RuntimeEvent>, RuntimeError> {
        absent()
    }
    async fn pin(&self, _: &PinnedImage) -> Result<(), RuntimeError> {
        absent()
    }
    async fn cleanup(&self, _: &[PinnedImage]) -> Result<Vec<PinnedImage>, RuntimeError> {
        absent()
    }
}

async fn look(probe: Probe, limit: Duration) -> ProbeOutcome {
    let container = ContainerRef("c".into());
    let target = Target { address: Ipv4Addr::LOCALHOST, container: &container, runtime: &Commands };
    super::probe(&probe, limit, target).await
}

fn reason(outcome: ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Pass => panic!("the probe passed"),
        ProbeOutcome::Fail(reason) => reason,
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Answers one connection with `answer` and returns what was asked.
async fn answer_once(listener: TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = vec![0; 1024];
    let read = stream.read(&mut asked).await.unwrap();
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&asked[..read]).into_owned()
}

#[tokio::test]
async fn http_passes_from_200_to_399_without_following() {
    for (status, pass) in [
        ("200 OK", true),
        ("204 No Content", true),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", true),
        ("404 Not Found", false),
        ("503 Service Unavailable", false),
    ] {
        let (listener, port) = listener().await;
        let probe = Probe::Http { port, path: "/health?deep=1".into() };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let (outcome, asked) = tokio::join!(look(probe, LIMIT), answer_once(listener, &answer));
        assert!(asked.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{asked}");
        assert_eq!(outcome.passed(), pass, "{status}: {outcome:?}");
        if !pass {
            assert!(reason(outcome).contains(&status[..3]));
        }
    }
}

#[tokio::test]
async fn http_fails_on_what_is_not_http_and_on_silence() {
    let (garbage, port) = listener().await;
    let probe = Probe::Http { port, path: "/".into() };
    let (outcome, _) = tokio::join!(look(probe, LIMIT), answer_once(garbage, "hello\r\n\r\n"));
    assert!(!outcome.passed());

    let (silent, port) = listener().await;
    let probe = Probe::Http { port, path: "/".into() };
    let outcome = look(probe, Duration::from_millis(50)).await;
    assert_eq!(reason(outcome), "no answer within 50ms");
    drop(silent);

    let probe = Probe::Http { port: 1, path: "no path".into() };
    assert!(reason(look(probe, LIMIT).await).contains("not a path"));
}

#[tokio::test]
async fn tcp_passes_where_something_listens() {
    let (listener, port) = listener().await;
    assert_eq!(look(Probe::Tcp { port }, LIMIT).await, ProbeOutcome::Pass);
    drop(listener);
    assert!(reason(look(Probe::Tcp { port }, LIMIT).await).contains("nothing listens"));
}

#[tokio::test]
async fn exec_tells_the_code_and_the_first_words() {
    let command = |words: &[&str]| Probe::Exec {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    assert_eq!(look(command(&["exit", "0"]), LIMIT).await, ProbeOutcome::Pass);
    let said = reason(look(command(&["exit", "1"]), LIMIT).await);
    assert_eq!(said, "the command exited with 1: not well");
    let said = reason(look(command(&["exit", "100"]), LIMIT).await);
    assert!(said.len() <= REASON_BYTES_MAX, "{}", said.len());
    let hung = look(command(&["hang"]), Duration::from_millis(20)).await;
    assert_eq!(reason(hung), "no answer within 20ms");
}

#[tokio::test]
async fn grpc_passes_where_the_service_serves() {
    let (listener, port) = listener().await;
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("web", tonic_health::ServingStatus::Serving).await;
    reporter.set_service_status("db", tonic_health::ServingStatus::NotServing).await;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    let serve = server.serve_with_incoming(incoming);
    let looks = async {
        let probe = |service: &str| Probe::Grpc { port, service: service.into() };
        assert_eq!(look(probe("web"), LIMIT).await, ProbeOutcome::Pass);
        assert_eq!(look(probe(""), LIMIT).await, ProbeOutcome::Pass);
        assert!(reason(look(probe("db"), LIMIT).await).contains("NOT_SERVING"));
        assert!(reason(look(probe("absent"), LIMIT).await).contains("NotFound"));
    };
    tokio::select! {
        served = serve => panic!("the server ended: {served:?}"),
        () = looks => {}
    }
}
