//! What the sockets answer from, and how it comes there.

use crate::metrics;
use crate::server::Shared;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_core::answer::Index;
use warren_core::id::TaskId;
use warren_core::traffic::TrafficView;

/// The newest view.
pub type Views = watch::Receiver<Arc<TrafficView>>;
/// What this node's own agent knows of its tasks. One that is not ready leaves the answers at once,
/// before any manager has heard of it; one that is ready waits for the view to say so.
pub type Readiness = watch::Receiver<Arc<BTreeMap<TaskId, bool>>>;

/// A view in the form that sockets answer from.
#[derive(Debug)]
pub(crate) struct Published {
    /// What decides.
    pub(crate) index: Index,
    /// The zone as packets have it, in lower case: labels with their lengths, and the root.
    pub(crate) zone: Vec<u8>,
}

impl Published {
    pub(crate) fn new(
        view: &TrafficView,
        readiness: &BTreeMap<TaskId, bool>,
        previous: Option<&Self>,
    ) -> Self {
        let down = readiness.iter().filter(|(_, ready)| !**ready).map(|(task, _)| *task);
        let down: BTreeSet<_> = down.collect();
        let index = Index::new(view, &down, previous.map(|published| &published.index));
        let mut zone = Vec::new();
        for label in index.zone().split('.').filter(|label| !label.is_empty()) {
            // A label is at most 63 bytes, or the zone could not have been made.
            zone.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
            zone.extend_from_slice(label.as_bytes());
        }
        zone.push(0);
        Self { index, zone }
    }
}

/// Brings every new view to the sockets.
pub(crate) struct Publisher {
    pub(crate) views: Views,
    pub(crate) readiness: Readiness,
    pub(crate) shared: Arc<Shared>,
    pub(crate) acked: watch::Sender<u64>,
}

impl Publisher {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        self.publish();
        loop {
            // A source that is gone has said its last word, which stays true.
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = self.views.changed() => {}
                Ok(()) = self.readiness.changed() => {}
            }
            self.publish();
        }
    }

    fn publish(&mut self) {
        let view = self.views.borrow_and_update().clone();
        let readiness = self.readiness.borrow_and_update().clone();
        let previous = self.shared.published.load_full();
        let next = Published::new(&view, &readiness, Some(&previous));
        self.shared.published.store(Arc::new(next));
        // From here on every packet that is read is answered from the new view; at most the few
        // that were read before it may still have the former.
        self.acked.send_replace(view.epoch);
        metrics::published(view.epoch, view.services.len());
    }
}
