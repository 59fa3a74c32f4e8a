//! Files of tasks that have ended do not stay.

use super::{Floor, Work};
use std::collections::{BTreeMap, BTreeSet};
use warren_core::converge::Status;
use warren_core::id::TaskId;

/// What is known of the files of tasks.
#[derive(Default)]
pub(super) struct Files {
    /// Whose files stayed at the last sweep; absent before the first.
    kept: Option<BTreeSet<TaskId>>,
    /// Whether a sweep is under way.
    sweeping: bool,
}

impl Floor {
    /// Has the files removed of all tasks that have ended and do not run. A task that is about to be started again
    /// keeps its own.
    pub(super) fn sweep_files(&mut self, statuses: &BTreeMap<TaskId, Status>) {
        let Some(listing) = &self.listing else { return };
        let alive = statuses.iter().filter(|(_, status)| !status.phase.is_final());
        let mut keep: BTreeSet<TaskId> = alive.map(|(task, _)| *task).collect();
        keep.extend(listing.running.keys().chain(self.busy.keys()));
        if self.files.sweeping || self.files.kept.as_ref() == Some(&keep) {
            return;
        }
        self.files.kept = Some(keep.clone());
        self.files.sweeping = true;
        let store = self.courier.store();
        self.work.spawn(async move {
            let swept = tokio::task::spawn_blocking(move || store.sweep(&keep)).await;
            Work::Swept(swept.unwrap_or_else(|error| Err(std::io::Error::other(error))))
        });
    }

    pub(super) fn swept(&mut self, swept: std::io::Result<bool>) {
        self.files.sweeping = false;
        match swept {
            Ok(again) => {
                if again {
                    self.files.kept = None;
                }
            }
            // Tried again with the next task that comes or goes.
            Err(error) => tracing::warn!(%error, "files of ended tasks were not removed"),
        }
    }
}
