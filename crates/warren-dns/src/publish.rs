//! What the sockets answer from, and how it comes there.

use crate::metrics;
use crate::server::Shared;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use warren_core::answer::Index;
use warren_core::id::TaskId;
use warren_core::traffic::{TRAFFIC_LEASE, TrafficView};

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
    /// Whether there is a leader that would say if the view were no longer good.
    pub(crate) connected: watch::Receiver<bool>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) acked: watch::Sender<u64>,
}

impl Publisher {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        // What was known before a start may be old.
        let mut cut_off = !*self.connected.borrow_and_update();
        let mut expires = None;
        self.publish(cut_off);
        loop {
            // A source that is gone has said its last word, which stays true.
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = self.views.changed() => {}
                Ok(()) = self.readiness.changed() => {}
                Ok(()) = self.connected.changed() => {
                    let connected = *self.connected.borrow_and_update();
                    cut_off &= !connected;
                    expires = match expires {
                        Some(at) if !connected => Some(at),
                        Some(_) | None => (!connected).then(|| Instant::now() + TRAFFIC_LEASE),
                    };
                }
                () = sleep_until(expires.unwrap_or_else(Instant::now)), if expires.is_some() => {
                    tracing::warn!("no leader is heard, answering with what was stable");
                    cut_off = true;
                    expires = None;
                }
            }
            self.publish(cut_off);
        }
    }

    fn publish(&mut self, cut_off: bool) {
        let mut view = self.views.borrow_and_update().clone();
        if cut_off {
            view = Arc::new(view.cut_off());
        }
        let readiness = self.readiness.borrow_and_update().clone();
        let previous = self.shared.published.load_full();
        let next = Published::new(&view, &readiness, Some(&previous));
        self.shared.published.store(Arc::new(next));
        // From here on every packet that is read is answered from the new view; at most the few
        // that were read before it may still have the former.
        self.acked.send_replace(view.epoch);
        metrics::published(view.epoch, view.services.len(), cut_off);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use std::net::Ipv4Addr;
    use std::num::NonZeroUsize;
    use std::time::Duration;
    use tokio::task::JoinSet;
    use warren_core::id::{NodeId, RevisionNumber};
    use warren_core::spec::ServiceName;
    use warren_core::traffic::{Endpoint, ServiceTraffic};

    fn view(epoch: u64) -> Arc<TrafficView> {
        let endpoint = Endpoint {
            task: TaskId(1),
            revision: RevisionNumber(1),
            node: NodeId(1),
            address: Ipv4Addr::new(10, 210, 0, 1),
            ready: true,
        };
        let web = ServiceTraffic { endpoints: vec![endpoint], ..ServiceTraffic::default() };
        let services = [(ServiceName::parse("web").unwrap(), Arc::new(web))].into();
        let zone = "warren".to_owned();
        Arc::new(TrafficView { epoch, zone, services, ..TrafficView::default() })
    }

    /// How long answers may be kept, which tells whether the publisher holds itself for cut off.
    fn ttl(shared: &Shared) -> u64 {
        shared.published.load().index.pool(b"web", None).unwrap().1.as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_leader_answers_fall_back_after_the_lease_and_return_with_him() {
        let (views, views_out) = watch::channel(view(1));
        let (_readiness, readiness) = watch::channel(Arc::default());
        let (connected, connected_out) = watch::channel(false);
        let (acked, mut acks) = watch::channel(0);
        let options = Options {
            listen: Vec::new(),
            upstreams: Vec::new(),
            workers: NonZeroUsize::MIN,
            local: Vec::new(),
            foreign_answers_per_second: 0,
        };
        let shared = Arc::new(Shared::new(options, &view(1), &BTreeMap::new()));
        let publisher = Publisher {
            views: views_out,
            readiness,
            connected: connected_out,
            shared: shared.clone(),
            acked,
        };
        let mut loops = JoinSet::new();
        loops.spawn(publisher.run(CancellationToken::new()));
        // Before the first session the view is that of an earlier life.
        acks.changed().await.unwrap();
        assert_eq!(ttl(&shared), 1);
        connected.send_replace(true);
        acks.changed().await.unwrap();
        assert_eq!(ttl(&shared), 5);
        // A new leader within the lease is not noticed, nor is a lease that began twice longer.
        connected.send_replace(false);
        acks.changed().await.unwrap();
        let lost = Instant::now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        connected.send_replace(false);
        acks.changed().await.unwrap();
        assert_eq!(ttl(&shared), 5);
        acks.changed().await.unwrap();
        assert_eq!((ttl(&shared), lost.elapsed().as_secs()), (1, 3));
        views.send_replace(view(2));
        acks.changed().await.unwrap();
        assert_eq!((ttl(&shared), *acks.borrow()), (1, 2));
        connected.send_replace(true);
        acks.changed().await.unwrap();
        assert_eq!(ttl(&shared), 5);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(ttl(&shared), 5);
    }
}
