//! A manager that was left behind: the cluster was restored or recovered without it, and goes on in a newer epoch. It
//! stops at once, so that the cluster is not split, and does not start again with that data directory.

use super::data_dir::DataDir;
use crate::failure::{Exit, Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_raft::Raft;

/// The file that says so.
const FILE: &str = "left-behind.json";

/// What is to be done then.
pub const WAY_OUT: &str = "its tasks run on, and are placed anew by the cluster: `warren down` is of no use any more, so \
    stop them by hand; move the data directory away and join this machine anew with a token of `warren cluster token`";

/// What is kept of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftBehind {
    own: u32,
    newer: u32,
}

/// The cluster goes on without this manager.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cluster was restored or recovered without this manager: it is in epoch {newer}, and this manager in epoch {own}"
)]
pub struct Gone {
    own: u32,
    newer: u32,
}

/// Refuses a data directory whose manager was left behind.
///
/// # Errors
/// It was.
pub fn check(dir: &DataDir) -> Outcome {
    match dir.read_json::<LeftBehind>(FILE)? {
        None => Ok(()),
        Some(LeftBehind { own, newer }) => {
            Err(Failure::new(Exit::Failed, Gone { own, newer }).hint(WAY_OUT))
        }
    }
}

/// Waits until another manager says that it is in a newer epoch than this one.
///
/// # Errors
/// It is.
pub async fn watch(
    raft: Raft,
    dir: Arc<DataDir>,
    mut told: watch::Receiver<u32>,
    stop: CancellationToken,
) -> Result<(), Gone> {
    let own = || raft.state().borrow().cluster().map_or(0, |cluster| cluster.epoch);
    let newer = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        newer = told.wait_for(|told| own() > 0 && *told > own()) => match newer {
            Ok(newer) => *newer,
            Err(_) => return Ok(()),
        },
    };
    let own = own();
    if let Err(failure) = dir.write_json(FILE, &LeftBehind { own, newer }) {
        tracing::warn!(why = %failure, "that this manager was left behind is not kept");
    }
    Err(Gone { own, newer })
}
