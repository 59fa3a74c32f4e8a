//! Questions per second beside Knot and NSD: `cargo bench -p warren-dns`.
//!
//! Each server runs in a process of its own with two workers, answers the same names with as many
//! records, and is asked by `dnsperf` on the same machine. The servers take turns, so that what else
//! the machine does hurts all of them, and the medians of the rounds are compared. `dnsperf` shares
//! the cores with the server: the time that a server spends on one query is the fairer figure.
//!
//! Needs `dnsperf` and at least one of `knot` and `nsd` from the packages of Debian.

#![expect(clippy::unwrap_used, reason = "a measurement ends where it is surprised")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_core::id::{NodeId, RevisionNumber, TaskId};
use warren_core::spec::ServiceName;
use warren_core::traffic::{Endpoint, ServiceTraffic, TrafficView};
use warren_core::units::Weight;
use warren_dns::{Options, Server};

const WORKERS: usize = 2;
const SERVICES: u16 = 1000;
const ROUNDS: usize = 3;
const SECONDS: &str = "4";
/// The rate at which latency is measured, below what every server reaches.
const CALM_RATE: &str = "20000";
/// How many of the ten endpoints of the weighted name an answer has.
const ANSWER_SIZE: u8 = 8;
const DEADLINE: Duration = Duration::from_secs(20);
/// Clock ticks per second of `/proc`, which Linux fixes at 100.
const TICKS: f64 = 100.0;

fn main() -> ExitCode {
    // The server under test is this program again, in a process of its own.
    if std::env::args().any(|argument| argument == "--serve") {
        serve();
        return ExitCode::SUCCESS;
    }
    let missing: Vec<_> = [("dnsperf", "dnsperf"), ("knotd", "knot"), ("nsd", "nsd")]
        .into_iter()
        .filter(|(program, _)| found(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if !missing.is_empty() {
        say(&format!("for every figure: apt-get install -y {}\n", missing.join(" ")));
    }
    if found("dnsperf").is_none() {
        return ExitCode::FAILURE;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut peers = vec![Peer::ours()];
    peers.extend(found("knotd").map(|program| Peer::knot(&program, scratch.path())));
    peers.extend(found("nsd").map(|program| Peer::nsd(&program, scratch.path())));
    let loads = [
        Load::new("1,000 names, 1 record", scratch.path(), (0..SERVICES).map(|n| format!("n{n}"))),
        Load::new("10 endpoints at 90/10, 8 records", scratch.path(), ["web".to_owned()]),
    ];
    for load in &loads {
        compare(load, &peers);
    }
    ExitCode::SUCCESS
}

/// A server to ask.
struct Peer {
    name: &'static str,
    address: SocketAddr,
    process: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    fn ours() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 64];
        let length = process.stdout.as_mut().unwrap().read(&mut line).unwrap();
        let address = std::str::from_utf8(&line[..length]).unwrap().trim().parse().unwrap();
        Self { name: "warren", address, process }.ready()
    }

    fn knot(program: &Path, scratch: &Path) -> Self {
        let (address, dir) = (free_address(), subdirectory(scratch, "knot"));
        std::fs::write(dir.join("zone"), zone()).unwrap();
        let at = dir.display();
        let config = format!(
            "server:\n  rundir: \"{at}\"\n  listen: {}@{}\n  udp-workers: {WORKERS}\n\
             database:\n  storage: \"{at}\"\nlog:\n  - target: stderr\n    any: error\n\
             zone:\n  - domain: warren\n    file: \"{at}/zone\"\n",
            address.ip(),
            address.port()
        );
        std::fs::write(dir.join("conf"), config).unwrap();
        Self::spawn("knot", address, Command::new(program).arg("-c").arg(dir.join("conf")))
    }

    fn nsd(program: &Path, scratch: &Path) -> Self {
        let (address, dir) = (free_address(), subdirectory(scratch, "nsd"));
        std::fs::write(dir.join("zone"), zone()).unwrap();
        let at = dir.display();
        let config = format!(
            "server:\n  ip-address: {}@{}\n  server-count: {WORKERS}\n  reuseport: yes\n\
             \x20 username: \"\"\n  chroot: \"\"\n  zonesdir: \"{at}\"\n  database: \"\"\n\
             \x20 pidfile: \"{at}/pid\"\n  xfrdfile: \"{at}/xfrd\"\n  xfrdir: \"{at}\"\n\
             \x20 rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n  zonelistfile: \"{at}/list\"\n  logfile: \"{at}/log\"\n\
             remote-control:\n  control-enable: no\nzone:\n  name: warren\n  zonefile: zone\n",
            address.ip(),
            address.port()
        );
        std::fs::write(dir.join("conf"), config).unwrap();
        Self::spawn("nsd", address, Command::new(program).arg("-d").arg("-c").arg(dir.join("conf")))
    }

    fn spawn(name: &'static str, address: SocketAddr, command: &mut Command) -> Self {
        let process = command.stdout(Stdio::null()).spawn().unwrap();
        Self { name, address, process }.ready()
    }

    /// Waits until the server answers for a name of the zone.
    fn ready(self) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02n7\x06warren\0\0\x01\0\x01";
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "{} does not answer", self.name);
            let mut answer = [0; 512];
            let sent = socket.send_to(query, self.address);
            if sent.is_ok() && socket.recv(&mut answer).is_ok() && answer[7] == 1 {
                return self;
            }
            std::thread::yield_now();
        }
    }

    /// The time that the server and its children have spent on a core.
    fn cpu(&self) -> Duration {
        let mut parents = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The name, which may hold anything, ends at the last bracket.
            let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
            let process: u32 = head.split_once(' ').unwrap().0.parse().unwrap();
            let fields: Vec<_> = tail.split(' ').collect();
            let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
            let parent: u32 = fields[1].parse().unwrap();
            parents.insert(process, (parent, ticks(11) + ticks(12)));
        }
        let ours = |mut process: u32| {
            while process != self.process.id() {
                match parents.get(&process) {
                    Some((parent, _)) => process = *parent,
                    None => return false,
                }
            }
            true
        };
        let spent = parents.iter().filter(|(process, _)| ours(**process));
        Duration::from_secs_f64(spent.map(|(_, (_, ticks))| ticks).sum::<f64>() / TICKS)
    }
}

/// What is asked.
struct Load {
    title: &'static str,
    file: PathBuf,
}

impl Load {
    fn new(title: &'static str, dir: &Path, names: impl IntoIterator<Item = String>) -> Self {
        let mut text = String::new();
        for name in names {
            writeln!(text, "{name}.warren A").unwrap();
        }
        let file = dir.join(format!("load-{}", text.len()));
        std::fs::write(&file, text).unwrap();
        Self { title, file }
    }

    fn dnsperf(&self, peer: &Peer, options: &[&str]) -> String {
        let output = Command::new("dnsperf")
            .args(["-s", &peer.address.ip().to_string(), "-p", &peer.address.port().to_string()])
            .arg("-d")
            .arg(&self.file)
            .args(["-c", "16", "-T", "1", "-q", "200", "-l", SECONDS])
            .args(options)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("NOERROR"), "{}: {text}", peer.name);
        text
    }
}

/// The figures of one server under one load.
#[derive(Default)]
struct Figures {
    per_second: Vec<f64>,
    cpu_micros: Vec<f64>,
    p99_micros: Vec<f64>,
    lost: u64,
}

fn compare(load: &Load, peers: &[Peer]) {
    let mut figures: Vec<_> = peers.iter().map(|_| Figures::default()).collect();
    for _ in 0..ROUNDS {
        for (peer, figures) in peers.iter().zip(&mut figures) {
            let before = peer.cpu();
            let text = load.dnsperf(peer, &[]);
            let spent = peer.cpu() - before;
            let completed = after(&text, "Queries completed:");
            figures.per_second.push(after(&text, "Queries per second:"));
            figures.cpu_micros.push(spent.as_secs_f64() * 1e6 / completed);
            if let Some((_, lost)) = text.split_once("Queries lost:") {
                figures.lost += lost.split_whitespace().next().unwrap().parse::<u64>().unwrap();
            }
            let calm = load.dnsperf(peer, &["-Q", CALM_RATE, "-v"]);
            figures.p99_micros.push(p99(&calm));
        }
    }
    report(load, peers, &mut figures);
}

/// The number after a label of dnsperf's report.
fn after(text: &str, label: &str) -> f64 {
    let (_, rest) = text.split_once(label).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// The latency that one answer in a hundred exceeds, from a report with a line for each answer.
fn p99(text: &str) -> f64 {
    let answers = text.lines().filter_map(|line| line.strip_prefix("> NOERROR "));
    let seconds = answers.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    let mut seconds: Vec<_> = seconds.collect();
    seconds.sort_unstable_by(f64::total_cmp);
    seconds[seconds.len() * 99 / 100] * 1e6
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn report(load: &Load, peers: &[Peer], figures: &mut [Figures]) {
    let mut table = format!(
        "\n{}\n{:<10}{:>12}{:>10}{:>16}{:>22}{:>8}\n",
        load.title, "server", "queries/s", "warren ÷", "CPU µs/query", "p99 µs at 20,000/s", "lost"
    );
    let mut json = format!("{{\"bench\":\"dns\",\"load\":\"{}\",\"servers\":[", load.title);
    let ours = median(&mut figures[0].per_second);
    for (at, (peer, figures)) in peers.iter().zip(figures).enumerate() {
        let per_second = median(&mut figures.per_second);
        let cpu = median(&mut figures.cpu_micros);
        let p99 = median(&mut figures.p99_micros);
        let ratio = ours / per_second;
        writeln!(
            table,
            "{:<10}{per_second:>12.0}{ratio:>10.2}{cpu:>16.2}{p99:>22.0}{:>8}",
            peer.name, figures.lost
        )
        .unwrap();
        let comma = if at == 0 { "" } else { "," };
        write!(
            json,
            "{comma}{{\"name\":\"{}\",\"qps\":{per_second:.0},\"warren_over_it\":{ratio:.3},\
             \"cpu_us\":{cpu:.2},\"p99_us\":{p99:.0},\"lost\":{}}}",
            peer.name, figures.lost
        )
        .unwrap();
    }
    say(&format!("{table}{json}]}}\n"));
}

/// The zone of the peers: the names of [`view`] with as many records as our answers have.
fn zone() -> String {
    let mut zone =
        "$TTL 5\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n".to_owned();
    for name in 0..SERVICES {
        let [high, low] = name.to_be_bytes();
        writeln!(zone, "n{name} A 10.211.{high}.{low}").unwrap();
    }
    for last in 1..=ANSWER_SIZE {
        writeln!(zone, "web A 10.210.0.{last}").unwrap();
    }
    zone
}

fn view() -> TrafficView {
    let endpoint = |task, revision, address| Endpoint {
        task: TaskId(task),
        revision: RevisionNumber(revision),
        node: NodeId(1),
        address,
        ready: true,
    };
    let weight = |n, w| (RevisionNumber(n), Weight::from_per_mille(w).unwrap());
    let single = |name: u16| {
        let [high, low] = name.to_be_bytes();
        let address = Ipv4Addr::new(10, 211, high, low);
        let endpoints = vec![endpoint(u64::from(name) + 100, 1, address)];
        let traffic = ServiceTraffic { endpoints, ..ServiceTraffic::default() };
        (ServiceName::parse(&format!("n{name}")).unwrap(), Arc::new(traffic))
    };
    let address = |task: u8| Ipv4Addr::new(10, 210, 0, task);
    let web = ServiceTraffic {
        weights: vec![weight(1, 900), weight(2, 100)],
        endpoints: (1..=10_u8)
            .map(|task| endpoint(task.into(), 1 + u32::from(task > 9), address(task)))
            .collect(),
        ..ServiceTraffic::default()
    };
    let web = (ServiceName::parse("web").unwrap(), Arc::new(web));
    TrafficView {
        epoch: 1,
        zone: "warren".to_owned(),
        services: (0..SERVICES).map(single).chain([web]).collect(),
        hosts: BTreeMap::new(),
    }
}

/// Serves the view until this process is killed or its parent is gone.
fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = Options {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            upstreams: Vec::new(),
            workers: NonZeroUsize::new(WORKERS).unwrap(),
            local: Vec::new(),
            foreign_answers_per_second: 1000,
        };
        let (_views, views) = watch::channel(Arc::new(view()));
        let (_readiness, readiness) = watch::channel(Arc::default());
        let server = Server::bind(options, views, readiness).unwrap();
        say(&format!("{}\n", server.addresses()[0]));
        let shutdown = CancellationToken::new();
        let parent = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        tokio::select! {
            () = server.run(shutdown.clone()) => {}
            _ = parent => {}
        }
    });
}

fn found(program: &str) -> Option<PathBuf> {
    // The servers lie where only root looks.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(program)).find(|candidate| candidate.exists())
}

fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn subdirectory(scratch: &Path, name: &str) -> PathBuf {
    let path = scratch.join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
}
