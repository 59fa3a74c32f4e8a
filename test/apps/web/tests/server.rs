//! The server as its users and its orchestrator see it: a process on a port.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const WEB: &str = env!("CARGO_BIN_EXE_web");
const DEADLINE: Duration = Duration::from_secs(20);

struct Web {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(environment: &[(&str, &str)]) -> Web {
    let mut child = Command::new(WEB)
        .env_clear()
        .envs([("WARREN_ADDRESS", "127.0.0.1"), ("PORT", "0"), ("VERSION", "v7")])
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut web = Web { child, stdout, address: String::new() };
    web.address = web.line().rsplit(' ').next().expect("an address").to_owned();
    web
}

impl Web {
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let stream = TcpStream::connect(&self.address).expect("it accepts");
        exchange(stream, method, path, body)
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it prints");
        line.trim().to_owned()
    }

    fn terminate(&self) {
        self.send(Signal::SIGTERM);
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("it is there");
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            std::thread::yield_now();
        }
        panic!("it did not end within {DEADLINE:?}");
    }
}

fn exchange(mut stream: TcpStream, method: &str, path: &str, body: &str) -> (u16, String) {
    stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

fn client(arguments: &[&str]) -> Output {
    Command::new(WEB).args(arguments).output().expect("the client runs")
}

// req: D16, E25, E26, E28
#[test]
fn it_says_who_it_is() {
    let web = start(&[("WARREN_TASK", "web.1")]);
    let (status, body) = web.ask("GET", "/", "");
    assert_eq!(status, 200);
    assert!(body.contains(r#""version":"v7","task":"web.1","hostname":""#), "{body}");
    assert_eq!(web.ask("GET", "/health", ""), (200, health("healthy")));
    assert_eq!(web.ask("GET", "/ready", ""), (200, health("ready")));
    assert_eq!(web.ask("POST", "/echo", "hello"), (200, "hello".to_owned()));
    let (status, body) = web.ask("POST", "/items", "");
    assert_eq!((status, body.as_str()), (201, "{\"id\":1,\"queued\":1}\n"));
    assert_eq!(web.ask("GET", "/nowhere", "").0, 404);
    assert_eq!(web.ask("DELETE", "/", "").0, 405);
}

fn health(word: &str) -> String {
    format!("{{\"status\":\"{word}\",\"version\":\"v7\"}}\n")
}

// req: E27, D35
#[test]
fn its_metrics_count_what_users_see() {
    let web = start(&[("FAULT_ERROR_RATE", "0.5")]);
    let failed = (0..10).filter(|_| web.ask("GET", "/", "").0 == 500).count();
    assert_eq!(failed, 5);
    let (_, page) = web.ask("GET", "/metrics", "");
    for line in [
        "http_requests_total{status=\"200\",version=\"v7\"} 5",
        "http_requests_total{status=\"500\",version=\"v7\"} 5",
        "request_duration_seconds_count{version=\"v7\"} 10",
    ] {
        assert!(page.lines().any(|found| found == line), "no `{line}` in\n{page}");
    }
}

#[test]
fn faults_can_be_switched_while_it_runs() {
    let web = start(&[]);
    let (status, body) = web.ask("POST", "/admin/faults", "unhealthy=true&never_ready=1");
    assert_eq!(status, 200, "{body}");
    assert_eq!(web.ask("GET", "/health", "").0, 503);
    assert_eq!(web.ask("GET", "/ready", "").0, 503);
    assert_eq!(web.ask("POST", "/admin/faults", "unhealthy=false").0, 200);
    assert_eq!(web.ask("GET", "/health", "").0, 200);
    let (status, body) = web.ask("POST", "/admin/faults", "sickly=1");
    assert_eq!(status, 400);
    assert!(body.contains("unhealthy"), "{body}");
    assert_eq!(web.ask("POST", "/admin/faults", "queue_stall=1").0, 200);
    for id in 1..=3 {
        assert!(web.ask("POST", "/items", "").1.contains(&format!("\"id\":{id},")));
    }
    assert!(web.ask("GET", "/metrics", "").1.contains("offline_queue_depth{version=\"v7\"} 3"));
}

#[test]
fn it_finishes_what_it_has_begun_and_then_ends_well() {
    let mut web = start(&[("FAULT_LATENCY_MS", "500")]);
    let mut stream = TcpStream::connect(&web.address).expect("it accepts");
    write!(stream, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("it reads");
    let both = "requests_in_flight{version=\"v7\"} 2";
    let start = Instant::now();
    while !web.ask("GET", "/metrics", "").1.contains(both) {
        assert!(start.elapsed() < DEADLINE, "the request was never read");
    }
    web.terminate();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(web.wait().code(), Some(0));
    assert!(TcpStream::connect(&web.address).is_err(), "the port is closed");
}

#[test]
fn it_answers_who_waits_at_its_door_when_it_is_told_to_stop() {
    let mut web = start(&[]);
    // A process that gets no time takes nobody from its queue.
    web.send(Signal::SIGSTOP);
    let mut waiting: Vec<_> = (0..10)
        .map(|number| {
            let mut stream = TcpStream::connect(&web.address).expect("there is a queue");
            // The last ones say nothing before they are taken.
            if number < 7 {
                write!(stream, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("room");
            }
            stream
        })
        .collect();
    web.terminate();
    web.send(Signal::SIGCONT);
    for (number, stream) in waiting.iter_mut().enumerate() {
        if number >= 7 {
            let _ = write!(stream, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{number}: {answer:?}");
    }
    assert_eq!(web.wait().code(), Some(0));
}

#[test]
fn it_ends_badly_when_told_to() {
    let mut web = start(&[("FAULT_CRASH_AFTER_S", "0")]);
    assert_eq!(web.wait().code(), Some(70));
    let mut hanging = start(&[("FAULT_HANG_ON_STOP", "1")]);
    hanging.terminate();
    assert_eq!(hanging.line(), "web ignores the signal to stop");
    assert_eq!(hanging.ask("GET", "/", "").0, 200);
    assert!(hanging.child.try_wait().expect("a child").is_none());
}

#[test]
fn wrong_settings_end_it_with_their_name() {
    let output = Command::new(WEB).env("FAULT_ERROR_RATE", "often").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("FAULT_ERROR_RATE"));
}

#[test]
fn the_tools_work_without_a_shell() {
    let web = start(&[]);
    let got = client(&["get", &format!("http://{}/", web.address)]);
    assert!(got.status.success());
    assert!(String::from_utf8_lossy(&got.stdout).contains("\"version\":\"v7\""));
    assert_eq!(client(&["get", &format!("http://{}/no", web.address)]).status.code(), Some(1));
    assert_eq!(client(&["exit", "42"]).status.code(), Some(42));
    assert_eq!(client(&["sleep", "0"]).status.code(), Some(0));
    assert_eq!(client(&["resolve", "127.0.0.9"]).stdout, b"127.0.0.9\n");
    let env = Command::new(WEB).args(["env", "A"]).env("A", "b c").output().expect("it runs");
    assert_eq!(env.stdout, b"b c\n");
    assert_eq!(client(&["dance"]).status.code(), Some(2));
}
