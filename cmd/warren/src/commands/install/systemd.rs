//! What is asked of systemd.

use crate::failure::{Exit, Failure, Outcome};
use std::path::Path;
use std::process::{Command, Output};

/// Whether systemd runs this machine (sd_booted(3) looks for the same folder).
pub fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Runs `systemctl`. It waits as long as the unit says that a start and a stop may take, and no longer.
///
/// # Errors
/// systemd refuses; with what it said and where the rest is to be read.
pub fn ask(words: &[&str]) -> Outcome {
    let said = run(words)?;
    if said.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(Failure::new(Exit::Failed, format!("systemctl {}: {why}", words.join(" ")))
        .hint("`journalctl -u warren` shows what the node said"))
}

/// Whether the unit is up.
///
/// # Errors
/// There is no systemctl.
pub fn is_active() -> Outcome<bool> {
    Ok(run(&["is-active", "--quiet", "warren"])?.status.success())
}

fn run(words: &[&str]) -> Outcome<Output> {
    Command::new("systemctl").args(words).output().map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot run systemctl: {error}"))
            .hint("`warren up --detach` runs a node without systemd")
    })
}
