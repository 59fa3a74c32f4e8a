//! The demo workload: a small HTTP server whose faults can be switched on, and the few tools that a test needs inside
//! a container that has no shell.
//!
//! One static binary with only the standard library and the kernel's signals, so that an image of it is one file.
//!
//! ```text
//! web [serve] [--version V]   serve HTTP on WARREN_ADDRESS:PORT (0.0.0.0:8080)
//! web get URL                 print the answer; exit 1 unless it is a 2xx
//! web resolve NAME            print the addresses that the resolver of this container gives
//! web sleep [SECONDS]         wait, or until SIGTERM
//! web exit CODE               end at once with this code
//! web env [NAME]              print the environment, or one value of it
//! web cat PATH                print a file that this task has: a secret, a config
//! ```

mod client;
mod faults;
mod http;
mod items;
mod metrics;
mod resolve;
mod routes;
mod serve;
mod signals;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// What a shell gives for wrong usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(Failure { message, code }) => {
            let _ = writeln!(std::io::stderr(), "web: {message}");
            ExitCode::from(code)
        }
    }
}

/// Why the program ends badly.
struct Failure {
    message: String,
    code: u8,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { message: error.to_string(), code: 1 }
    }
}

fn usage(message: impl Into<String>) -> Failure {
    Failure { message: message.into(), code: USAGE }
}

fn run(words: &[&str]) -> Result<ExitCode, Failure> {
    match words {
        [] | ["serve"] => serve(None),
        ["--version" | "-V", version] | ["serve", "--version", version] => serve(Some(version)),
        ["get", url] => get(url),
        ["resolve", name] => resolve(name),
        ["sleep"] => Ok(sleep(None)),
        ["sleep", seconds] => Ok(sleep(Some(seconds_of(seconds)?))),
        ["exit", code] => {
            let code: u8 =
                code.parse().map_err(|_| usage(format!("`{code}` is no exit code 0-255")))?;
            Ok(ExitCode::from(code))
        }
        ["env"] => print_environment(),
        ["env", name] => {
            let value = std::env::var(name).map_err(|_| usage(format!("{name} is not set")))?;
            print_line(&value)
        }
        ["cat", path] => cat(path),
        _ => Err(usage(
            "unknown command; there are: serve [--version V], get URL, resolve NAME, \
             sleep [SECONDS], exit CODE, env [NAME], cat PATH",
        )),
    }
}

fn serve(version: Option<&str>) -> Result<ExitCode, Failure> {
    let options = serve::Options::from_environment(version, |name| std::env::var(name).ok())
        .map_err(usage)?;
    Ok(serve::run(options)?)
}

fn get(url: &str) -> Result<ExitCode, Failure> {
    let answer = client::get(url)?;
    std::io::stdout().write_all(&answer.body)?;
    if (200..300).contains(&answer.status) {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure { message: format!("{url} answered {}", answer.status), code: 1 })
}

fn resolve(name: &str) -> Result<ExitCode, Failure> {
    for address in resolve::addresses(name)? {
        print_line(&address.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn seconds_of(text: &str) -> Result<Duration, Failure> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| usage(format!("`{text}` is no number of seconds")))
}

fn sleep(time: Option<Duration>) -> ExitCode {
    let signals = signals::receive();
    match time {
        Some(time) => drop(signals.recv_timeout(time)),
        None => drop(signals.recv()),
    }
    ExitCode::SUCCESS
}

fn print_environment() -> Result<ExitCode, Failure> {
    let mut all: Vec<(String, String)> = std::env::vars().collect();
    all.sort();
    for (name, value) in all {
        print_line(&format!("{name}={value}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Without a container, a task's own files begin in the folder that a variable names.
fn cat(path: &str) -> Result<ExitCode, Failure> {
    let path = std::env::var("WARREN_FILES").unwrap_or_default() + path;
    let content =
        std::fs::read(&path).map_err(|e| Failure { message: format!("{path}: {e}"), code: 1 })?;
    std::io::stdout().write_all(&content)?;
    Ok(ExitCode::SUCCESS)
}

fn print_line(line: &str) -> Result<ExitCode, Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}
