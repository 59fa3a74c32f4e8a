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
    /// How long the leader's word holds.
    pub(crate) word: Word,
    pub(crate) shared: Arc<Shared>,
    pub(crate) acked: watch::Sender<u64>,
}

/// Until when the leader's word on where traffic goes holds.
pub(crate) enum Word {
    /// For ever: there is nobody who could take it back.
    Always,
    /// Until then; none was given yet where that is absent.
    Until(watch::Receiver<Option<Instant>>),
}

impl Word {
    /// When it ends; `None` for never.
    fn ends(&mut self) -> Option<Instant> {
        match self {
            Self::Always => None,
            // What was known before a start may be old.
            Self::Until(until) => Some(until.borrow_and_update().unwrap_or_else(Instant::now)),
        }
    }

    async fn changed(&mut self) {
        if let Self::Until(until) = self
            && until.changed().await.is_ok()
        {
            return;
        }
        // A source that is gone has said its last word.
        std::future::pending().await
    }
}

impl Publisher {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut ends = self.word.ends();
        let mut cut_off = ends.is_some_and(|at| at <= Instant::now());
        self.publish(cut_off, ends);
        loop {
            // A source that is gone has said its last word, which stays true.
            let lapse = ends.unwrap_or_else(Instant::now);
            let renewed = tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = self.views.changed() => false,
                Ok(()) = self.readiness.changed() => false,
                () = self.word.changed() => true,
                () = sleep_until(lapse), if ends.is_some() && !cut_off => {
                    tracing::warn!("no leader is heard, answering with what was stable");
                    false
                }
            };
            ends = self.word.ends();
            let was_cut_off =
                std::mem::replace(&mut cut_off, ends.is_some_and(|at| at <= Instant::now()));
            if renewed && cut_off == was_cut_off {
                self.shared.holds_until(if cut_off { None } else { ends });
            } else {
                self.publish(cut_off, ends);
            }
        }
    }

    fn publish(&mut self, cut_off: bool, ends: Option<Instant>) {
        let mut view = self.views.borrow_and_update().clone();
        if cut_off {
            view = Arc::new(view.cut_off());
        }
        let readiness = self.readiness.borrow_and_update().clone();
        let previous = self.shared.published.load_full();
        let next = Published::new(&view, &readiness, Some(&previous));
        self.shared.published.store(Arc::new(next));
        // What is stable needs nobody's word.
        self.shared.holds_until(if cut_off { None } else { ends });
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
    async fn without_a_leader_answers_fall_back_with_his_word_and_return_with_it() {
        let (views, views_out) = watch::channel(view(1));
        let (_readiness, readiness) = watch::channel(Arc::default());
        let (word, word_out) = watch::channel(None);
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
            word: Word::Until(word_out),
            shared: shared.clone(),
            acked,
        };
        let lease = Duration::from_secs(3);
        let mut loops = JoinSet::new();
        loops.spawn(publisher.run(CancellationToken::new()));
        // Before the first word the view is that of an earlier life.
        acks.changed().await.unwrap();
        assert_eq!(ttl(&shared), 1);
        assert!(shared.holds(Instant::now().into_std()), "what is stable needs no word");
        word.send_replace(Some(Instant::now() + lease));
        acks.changed().await.unwrap();
        assert_eq!(ttl(&shared), 5);
        // Words that come in time change nothing and publish nothing.
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            word.send_replace(Some(Instant::now() + lease));
        }
        let last = Instant::now();
        tokio::task::yield_now().await;
        assert!(!acks.has_changed().unwrap());
        assert_eq!(ttl(&shared), 5);
        // A thread that gets the time before the publisher does goes by the clock.
        let at = |seconds: u64| (last + Duration::from_secs(seconds)).into_std();
        assert!(shared.holds(at(2)) && !shared.holds(at(3)));
        acks.changed().await.unwrap();
        assert_eq!((ttl(&shared), last.elapsed().as_secs()), (1, 3));
        assert!(shared.holds(at(3)));
        views.send_replace(view(2));
        acks.changed().await.unwrap();
        assert_eq!((ttl(&shared), *acks.borrow()), (1, 2));
        word.send_replace(Some(Instant::now() + lease));
        acks.changed().await.unwrap();
        assert_eq!(ttl(&shared), 5);
    }
}
