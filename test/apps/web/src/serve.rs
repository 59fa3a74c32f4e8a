//! The server: one thread per connection, and the main thread, which keeps time and ends the process.

use std::io::{Result, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::faults::Faults;
use crate::http::{self, Refusal, Response};
use crate::items::Items;
use crate::metrics::Metrics;
use crate::{routes, signals};

/// One thread each; more are told to come back, so that a flood cannot take the memory of the task.
const CONNECTIONS_MAX: usize = 512;
/// A connection's thread reads and writes through small buffers only.
const STACK_BYTES: usize = 128 * 1024;
/// How often the main thread looks at what is due.
const TICK: Duration = Duration::from_millis(20);
/// Items worked off in a tick: 1,000 a second, the rate that is called normal for this service.
const ITEMS_PER_TICK: usize = 20;
/// How long requests in flight may hold up the end; under the ten seconds that runtimes give by default.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(8);
/// How long a connection that has not said a word holds up the end.
const SILENT_TIME_MAX: Duration = Duration::from_secs(1);
/// What the process ends with when it was told to crash.
const CRASH_CODE: u8 = 70;

/// What the server was started with.
pub(crate) struct Options {
    /// Where to listen: `WARREN_ADDRESS`, else every address.
    pub(crate) address: IpAddr,
    /// `PORT`, else 8080; 0 takes a free one and prints it.
    pub(crate) port: u16,
    /// `--version`, else `VERSION`, else `WARREN_VERSION`, which is the number of the revision, else `v1`.
    pub(crate) version: String,
    /// `WARREN_TASK`; empty outside Warren.
    pub(crate) task: String,
    /// The faults it starts with.
    pub(crate) faults: Faults,
}

impl Options {
    /// Reads every setting once, from `lookup`; the error names the variable.
    pub(crate) fn from_environment(
        version: Option<&str>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> std::result::Result<Self, String> {
        fn parse<T: std::str::FromStr>(
            name: &str,
            value: Option<String>,
            default: T,
        ) -> std::result::Result<T, String> {
            let Some(value) = value else { return Ok(default) };
            value.parse().map_err(|_| format!("{name}: `{value}` is not understood"))
        }
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let version = version.map(str::to_owned).or_else(|| lookup("VERSION"));
        let version = version.or_else(|| lookup("WARREN_VERSION"));
        Ok(Self {
            address: parse("WARREN_ADDRESS", lookup("WARREN_ADDRESS"), any)?,
            port: parse("PORT", lookup("PORT"), 8080)?,
            version: version.unwrap_or_else(|| "v1".to_owned()),
            task: lookup("WARREN_TASK").unwrap_or_default(),
            faults: Faults::from_environment(lookup)?,
        })
    }
}

/// What connections share.
pub(crate) struct Server {
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    pub(crate) items: Items,
    hostname: String,
    switched: Mutex<Switched>,
    /// Requests that were asked whether they fail, for the even spread.
    asked: AtomicU64,
    load: Mutex<Load>,
    idle: Condvar,
}

/// The faults as they stand, and what they bring with them.
struct Switched {
    faults: Faults,
    crash_at: Option<Instant>,
    hog: Vec<u8>,
}

#[derive(Default)]
struct Load {
    connections: usize,
    /// Connections without a first request yet.
    unheard: usize,
    requests: usize,
    stopping: bool,
}

/// Serves until SIGTERM, or until a fault ends it.
pub(crate) fn run(options: Options) -> Result<ExitCode> {
    let stop = signals::receive();
    let (faults, start) = (options.faults, Instant::now());
    let server = Arc::new(Server::new(options));
    server.set_faults(faults);
    let open_at = start + Duration::from_secs(faults.slow_start_s);
    while Instant::now() < open_at {
        if let Some(code) = server.tick(&stop) {
            return Ok(code);
        }
    }
    let address = SocketAddr::new(server.options.address, server.options.port);
    let listener = TcpListener::bind(address).map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    let mut out = std::io::stdout();
    writeln!(out, "web {} listens on {}", server.options.version, listener.local_addr()?)?;
    let closer = listener.try_clone()?;
    let acceptor = server.clone();
    std::thread::spawn(move || acceptor.accept(&listener));
    let code = loop {
        if let Some(code) = server.tick(&stop) {
            break code;
        }
    };
    if code == ExitCode::SUCCESS {
        server.drain(&closer);
        writeln!(out, "web {} stopped", server.options.version)?;
    }
    Ok(code)
}

impl Server {
    fn new(options: Options) -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let switched = Switched { faults: options.faults, crash_at: None, hog: Vec::new() };
        Self {
            options,
            metrics: Metrics::default(),
            items: Items::default(),
            hostname: hostname.trim().to_owned(),
            switched: Mutex::new(switched),
            asked: AtomicU64::new(0),
            load: Mutex::new(Load::default()),
            idle: Condvar::new(),
        }
    }

    /// What `/` says.
    pub(crate) fn who(&self) -> String {
        let Options { version, task, .. } = &self.options;
        let hostname = &self.hostname;
        format!("{{\"version\":{version:?},\"task\":{task:?},\"hostname\":{hostname:?}}}\n")
    }

    /// Requests read and not yet answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.load.lock().expect("no holder panics").requests
    }

    /// The faults as they stand.
    pub(crate) fn faults(&self) -> Faults {
        self.switched.lock().expect("no holder panics").faults
    }

    /// Switches faults; the time to a crash counts from now.
    pub(crate) fn set_faults(&self, faults: Faults) {
        let mut switched = self.switched.lock().expect("no holder panics");
        switched.faults = faults;
        let crash_after = faults.crash_after_s.map(Duration::from_secs);
        switched.crash_at = crash_after.map(|time| Instant::now() + time);
        // Bytes that are not zero, so that the kernel really has to hold them.
        switched.hog = vec![1; faults.memory_mib.saturating_mul(1024 * 1024)];
    }

    /// Whether this request is among the failing share. The n-th fails where the share of n passes a whole number:
    /// a tenth fails the 10th, 20th, … of them.
    pub(crate) fn is_this_one_to_fail(&self, rate: f64) -> bool {
        if rate <= 0.0 {
            return false;
        }
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        failures_among(before + 1, rate) > failures_among(before, rate)
    }

    /// Waits a moment and does what is due; some code where the process is to end.
    fn tick(&self, stop: &Receiver<()>) -> Option<ExitCode> {
        let told_to_stop = match stop.recv_timeout(TICK) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            // Without signals it still ends by SIGKILL; a busy loop would help nobody.
            Err(RecvTimeoutError::Disconnected) => return Some(ExitCode::FAILURE),
        };
        let (faults, crash_at) = {
            let switched = self.switched.lock().expect("no holder panics");
            (switched.faults, switched.crash_at)
        };
        if crash_at.is_some_and(|at| Instant::now() >= at) {
            return Some(ExitCode::from(CRASH_CODE));
        }
        if !faults.queue_stall {
            self.items.work_off(ITEMS_PER_TICK);
        }
        if told_to_stop && faults.hang_on_stop {
            let _ = writeln!(std::io::stdout(), "web ignores the signal to stop");
            return None;
        }
        told_to_stop.then_some(ExitCode::SUCCESS)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.begin(stream),
                Err(_) if self.load.lock().expect("no holder panics").stopping => return,
                Err(_) => {}
            }
        }
    }

    fn begin(self: &Arc<Self>, stream: TcpStream) {
        // From here on: who has got through to us is answered, also where we are told to stop before a word was read.
        let connections = {
            let mut load = self.load.lock().expect("no holder panics");
            load.connections += 1;
            load.unheard += 1;
            load.connections
        };
        let server = self.clone();
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        // Where no thread can be made the stream is dropped, which the client sees at once.
        if thread.spawn(move || server.serve(stream, connections > CONNECTIONS_MAX)).is_err() {
            let mut load = self.load.lock().expect("no holder panics");
            load.connections -= 1;
            load.unheard -= 1;
        }
    }

    fn serve(&self, mut stream: TcpStream, crowded: bool) {
        let mut unheard = true;
        if crowded {
            let response = Response::text(503, "too many connections\n");
            let _ = response.write(&mut stream, "GET", &self.options.version, false);
        } else {
            // An error here is the client's: it hung up or was too slow.
            let _ = self.serve_requests(&mut stream, &mut unheard);
        }
        let mut load = self.load.lock().expect("no holder panics");
        load.connections -= 1;
        load.unheard -= usize::from(unheard);
        self.idle.notify_all();
    }

    fn serve_requests(&self, stream: &mut TcpStream, unheard: &mut bool) -> Result<()> {
        stream.set_read_timeout(Some(http::REQUEST_TIME_MAX))?;
        stream.set_write_timeout(Some(http::REQUEST_TIME_MAX))?;
        stream.set_nodelay(true)?;
        let (mut buffer, version) = (Vec::new(), &self.options.version);
        while let Some(read) = http::read_request(stream, &mut buffer)? {
            let request = match read {
                Ok(request) => request,
                Err(Refusal(status, why)) => {
                    return Response::text(status, format!("{why}\n"))
                        .write(stream, "GET", version, false);
                }
            };
            let mut load = self.load.lock().expect("no holder panics");
            load.requests += 1;
            load.unheard -= usize::from(std::mem::take(unheard));
            drop(load);
            let response = routes::answer(self, &request);
            let keep = request.keep_alive && !self.load.lock().expect("no holder panics").stopping;
            let written = response.write(stream, &request.method, version, keep);
            let mut load = self.load.lock().expect("no holder panics");
            load.requests -= 1;
            self.idle.notify_all();
            drop(load);
            written?;
            if !keep {
                break;
            }
        }
        Ok(())
    }

    /// Takes who is in the queue already, then nobody any more, and waits for the requests in flight, but not for ever.
    fn drain(self: &Arc<Self>, listener: &TcpListener) {
        // To shut a socket that listens is to cut off who waits in its queue.
        if listener.set_nonblocking(true).is_ok() {
            while let Ok((stream, _)) = listener.accept() {
                // Only the listener is not to be waited for.
                if stream.set_nonblocking(false).is_ok() {
                    self.begin(stream);
                }
            }
        }
        self.load.lock().expect("no holder panics").stopping = true;
        let how = nix::sys::socket::Shutdown::Both;
        let _ = nix::sys::socket::shutdown(listener.as_raw_fd(), how);
        let load = self.load.lock().expect("no holder panics");
        let busy = |load: &mut Load| load.requests > 0 || load.unheard > 0;
        let Ok((load, _)) = self.idle.wait_timeout_while(load, SILENT_TIME_MAX, busy) else {
            return;
        };
        let _ = self.idle.wait_timeout_while(load, DRAIN_TIME_MAX, |load| load.requests > 0);
    }
}

/// How many of the first `count` requests fail.
fn failures_among(count: u64, rate: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of requests is far below 2^52 and never negative"
    )]
    let failures = (count as f64).mul_add(rate, 1e-9) as u64;
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_share_is_spread_evenly() {
        let server = Server::new(Options::from_environment(None, |_| None).unwrap());
        for rate in [0.0, 0.1, 0.25, 1.0 / 3.0, 0.5, 1.0] {
            let failed = (0..300).filter(|_| server.is_this_one_to_fail(rate)).count();
            let expected = (300.0 * rate).round();
            let error = (f64::from(u32::try_from(failed).unwrap()) - expected).abs();
            assert!(error <= 1.0, "{failed} of 300 failed at {rate}");
        }
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let lookup = |name: &str| (name == "PORT").then(|| "http".to_owned());
        let error = Options::from_environment(None, lookup).err().expect("refused");
        assert!(error.starts_with("PORT: `http`"), "{error}");
    }
}
