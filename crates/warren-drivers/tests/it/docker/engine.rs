//! Engines that are gone, come back, are too old, or do not answer.

use super::with_engine;
use crate::support::scope;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use warren_core::spec::{PullPolicy, Signal};
use warren_drivers::runtime::contract::{Bench, Fixture};
use warren_drivers::runtime::docker::DockerOptions;
use warren_drivers::runtime::{
    ContainerRef, ContainerState, ExecSpec, LogOptions, Options, PullProgress, RuntimeError, open,
};

fn options(socket: &Path) -> DockerOptions {
    DockerOptions {
        endpoint: format!("unix://{}", socket.display()),
        ..DockerOptions::new(scope())
    }
}

#[tokio::test]
async fn an_absent_engine_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    for absent in [
        Options::Docker(options(&socket)),
        // A port that nothing listens on.
        Options::Docker(DockerOptions { endpoint: "tcp://127.0.0.1:1".into(), ..options(&socket) }),
    ] {
        match open(absent).await.err() {
            Some(error @ RuntimeError::Unavailable { .. }) => {
                assert!(error.may_pass() && error.to_string().contains("engine runs"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Who connects from now on is heard: the file alone says only that the socket has a name.
fn bound(socket: &Path) -> UnixListener {
    UnixListener::bind(socket).unwrap()
}

/// Answers every request with this version.
async fn engine_of(listener: UnixListener, api: &str) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let body = format!("{{\"ApiVersion\": \"{api}\", \"Version\": \"1\"}}");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn an_engine_must_speak_api_1_41() {
    for (api, wanted) in [("1.40", false), ("1.24", false), ("1.41", true), ("1.60", true)] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let mut engine = JoinSet::new();
        engine.spawn(engine_of(bound(&socket), api));
        match open(Options::Docker(options(&socket))).await.err() {
            None => assert!(wanted, "{api}"),
            Some(RuntimeError::Refused { why, .. }) => {
                assert!(!wanted && why.contains(api) && why.contains("upgrade"), "{api}: {why}");
            }
            Some(error) => panic!("{api}: {error}"),
        }
    }
}

/// Passes everything on to the engine of this machine.
async fn relay(listener: UnixListener) {
    let mut connections = JoinSet::new();
    loop {
        let (mut inner, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let mut outer = UnixStream::connect("/var/run/docker.sock").await.unwrap();
            // Either side may hang up.
            let _ = copy_bidirectional(&mut inner, &mut outer).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_went_away_is_found_again() {
    with_engine("an_engine_that_went_away_is_found_again", async |engine| {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let mut relays = JoinSet::new();
        relays.spawn(relay(bound(&socket)));
        let options = DockerOptions { scope: engine.scope.clone(), ..options(&socket) };
        let runtime = open(Options::Docker(options)).await.unwrap();
        let bench = Bench::new(engine).await.unwrap();
        let id = bench.run(&bench.spec(1, &["sleep"])).await.unwrap();
        assert_eq!(runtime.list().await.unwrap().len(), 1);

        relays.shutdown().await;
        for _ in 0..3 {
            let gone = runtime.list().await;
            assert!(matches!(gone, Err(RuntimeError::Unavailable { .. })), "{gone:?}");
        }
        std::fs::remove_file(&socket).unwrap();
        let gone = runtime.inspect(&id).await;
        assert!(matches!(gone, Err(RuntimeError::Unavailable { .. })), "{gone:?}");

        relays.spawn(relay(bound(&socket)));
        let back = runtime.inspect(&id).await.unwrap();
        assert!(matches!(back.state, ContainerState::Running { .. }), "{back:?}");
    })
    .await;
}

/// Passes on what comes before `hung`, and then takes requests and says nothing.
async fn relay_until(listener: UnixListener, hung: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let (mut inner, _) = listener.accept().await.unwrap();
        let is_hung = *hung.borrow();
        connections.spawn(async move {
            if is_hung {
                std::future::pending::<()>().await;
            }
            let mut outer = UnixStream::connect("/var/run/docker.sock").await.unwrap();
            let _ = copy_bidirectional(&mut inner, &mut outer).await;
        });
    }
}

#[tokio::test]
async fn no_call_waits_for_ever_for_an_engine_that_hangs() {
    with_engine("no_call_waits_for_ever_for_an_engine_that_hangs", async |engine| {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let mut relays = JoinSet::new();
        let (hang, hung) = watch::channel(false);
        relays.spawn(relay_until(bound(&socket), hung));
        let options = DockerOptions { scope: engine.scope.clone(), ..options(&socket) };
        let runtime = open(Options::Docker(options.clone())).await.unwrap();
        let bench = Bench::new(engine).await.unwrap();
        let (id, image, name) = (ContainerRef("x".into()), &bench.image, engine.image());
        let (progress, _) = watch::channel(PullProgress::default());
        let exec = ExecSpec { command: vec!["x".into()], ..ExecSpec::default() };

        hang.send_replace(true);
        // From here on the clock runs to the next time limit whenever nothing else is to be done.
        tokio::time::pause();
        let begin = tokio::time::Instant::now();
        let errors = [
            open(Options::Docker(options)).await.err(),
            runtime.info().await.err(),
            runtime.prepare_network(&engine.network).await.err(),
            runtime.resolve(&name, PullPolicy::Missing, None).await.err(),
            runtime.resolve(&name, PullPolicy::Always, None).await.err(),
            runtime.pull(image, &name, None, &progress).await.err(),
            runtime.create(&bench.spec(1, &[])).await.err(),
            runtime.start(&id).await.err(),
            runtime.stop(&id, Signal::TERM, Duration::from_secs(10)).await.err(),
            runtime.kill(&id).await.err(),
            runtime.remove(&id).await.err(),
            runtime.list().await.err(),
            runtime.inspect(&id).await.err(),
            runtime.logs(&id, LogOptions::default()).await.err(),
            runtime.exec(&id, exec).await.err(),
            runtime.stats(&id).await.err(),
            runtime.pin(image).await.err(),
            runtime.cleanup(&[]).await.err(),
        ];
        for (call, error) in errors.iter().enumerate() {
            assert!(matches!(error, Some(RuntimeError::Timeout { .. })), "call {call}: {error:?}");
        }
        assert!(begin.elapsed() < Duration::from_secs(60) * 18, "{:?}", begin.elapsed());
        tokio::time::resume();
    })
    .await;
}
