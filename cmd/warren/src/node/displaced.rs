//! A manager that another one has found out to be a copy: its data directory runs somewhere else too, or is older than
//! what this manager once had. It stops at once, since it would vote twice, and does not start again with that data
//! directory.

use super::data_dir::DataDir;
use crate::failure::{Exit, Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use warren_raft::{Displaced, Raft};

/// The file that says so.
const FILE: &str = "copied.json";

/// What is to be done then.
pub const WAY_OUT: &str = "a manager runs on one data directory and never on a copy of it; where the original runs, \
    remove this copy; where it is gone, take the manager out on another one with `warren cluster demote NAME` and \
    `warren cluster rm NAME --force`, move this data directory away, and join this machine anew with a token of `warren cluster token manager`";

/// What is kept of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Copied {
    why: String,
}

/// Refuses a data directory that was found to be a copy.
///
/// # Errors
/// It was.
pub fn check(dir: &DataDir) -> Outcome {
    match dir.read_json::<Copied>(FILE)? {
        None => Ok(()),
        Some(Copied { why }) => {
            let path = dir.path().display();
            Err(Failure::new(Exit::Failed, format!("{path} is not started again: {why}"))
                .hint(WAY_OUT))
        }
    }
}

/// The cluster begins anew with this data directory, whatever it is a copy of.
pub fn forget(dir: &DataDir) {
    let path = dir.path().join(FILE);
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot be removed");
    }
}

/// Waits until another manager says that this one must not go on.
///
/// # Errors
/// It does, with why.
pub async fn watch(
    raft: Raft,
    dir: Arc<DataDir>,
    stop: CancellationToken,
) -> Result<(), Displaced> {
    let mut told = raft.displaced();
    let displaced = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        told = told.wait_for(Option::is_some) => match told.ok().and_then(|told| told.clone()) {
            Some(displaced) => displaced,
            None => return Ok(()),
        },
    };
    if let Err(failure) = dir.write_json(FILE, &Copied { why: displaced.to_string() }) {
        tracing::warn!(why = %failure, "that this data directory is a copy is not kept");
    }
    Err(displaced)
}
