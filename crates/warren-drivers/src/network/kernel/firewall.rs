//! Our rules in the firewall, by way of `iptables`: they must stand in the same tables as Docker's, whichever of its
//! two forms this machine uses, and only that program knows which.

use super::super::error::NetworkError;
use super::super::state::Rules;
use super::super::wish::Owner;
use super::rules::{self, TABLES, Table};
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

/// It waits up to so many seconds for other programs that hold its lock.
const LOCK_S_MAX: &str = "5";

/// The lock, and a machine under load.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(15);

/// How our rules stand, and which interface they bar. Where the program is missing there are none.
pub(super) async fn read(owner: &Owner) -> Result<(Rules, Option<String>), NetworkError> {
    let mut states = Vec::with_capacity(TABLES.len());
    let mut barred = None;
    for table in TABLES {
        match listed(table).await {
            Ok(text) => {
                let found = rules::barred(&text, table, owner);
                states.push(rules::state(&text, table, owner, found));
                barred = barred.or_else(|| found.map(str::to_owned));
            }
            Err(NetworkError::Unsupported { .. }) => return Ok((Rules::Absent, None)),
            Err(error) => return Err(error),
        }
    }
    let all = |state| states.iter().all(|found| *found == state);
    let rules = if all(Rules::Right) {
        Rules::Right
    } else if all(Rules::Absent) {
        Rules::Absent
    } else {
        Rules::Wrong
    };
    Ok((rules, barred))
}

/// Writes our rules into all tables, each at once; with those that bar an interface.
pub(super) async fn write(owner: &Owner, barred: Option<&str>) -> Result<(), NetworkError> {
    let mut input = String::new();
    for table in TABLES {
        input.push_str(&rules::written(&listed(table).await?, table, owner, barred));
    }
    restore(&input).await
}

/// Takes our rules out of all tables.
pub(super) async fn remove(owner: &Owner) -> Result<(), NetworkError> {
    let mut input = String::new();
    for table in TABLES {
        input.push_str(&rules::removed(&listed(table).await?, table, owner));
    }
    restore(&input).await
}

async fn listed(table: &Table) -> Result<String, NetworkError> {
    run("iptables", &["-w", LOCK_S_MAX, "-t", table.name, "-S"], "").await
}

async fn restore(input: &str) -> Result<(), NetworkError> {
    run("iptables-restore", &["-w", LOCK_S_MAX, "--noflush"], input).await.map(drop)
}

async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, NetworkError> {
    let what = format!("{program} {}", arguments.join(" "));
    let work = exchange(program, arguments, input);
    let output = timeout(PROGRAM_TIMEOUT, work)
        .await
        .map_err(|_| NetworkError::Timeout { what: what.clone(), after: PROGRAM_TIMEOUT })?
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NetworkError::Unsupported {
                what: "iptables".into(),
                way_out: "install it, as Docker needs it as well (apt install iptables)".into(),
            },
            _ => NetworkError::Refused { what: what.clone(), why: error.to_string() },
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetworkError::Refused { what, why })
}

async fn exchange(
    program: &str,
    arguments: &[&str],
    input: &str,
) -> io::Result<std::process::Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early says why on its own.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}
