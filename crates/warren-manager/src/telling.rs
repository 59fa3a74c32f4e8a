//! How one view of where traffic goes is told to many nodes: what leads to it from a view that several of them hold is
//! written once, in messages of bounded size that all of them share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use warren_core::traffic::TrafficView;
use warren_wire::convert::traffic;

/// Older views from which the way is kept: nodes that keep up hold one of the last few; one that does not has its way
/// written for itself.
const WAYS_KEPT: usize = 16;

/// Encoded messages, shared.
type Messages = Arc<Vec<Vec<u8>>>;

/// A view, and what leads to it.
pub(crate) struct Telling {
    view: Arc<TrafficView>,
    digest: OnceLock<[u8; 32]>,
    full: OnceLock<Messages>,
    ways: Mutex<Vec<(Arc<TrafficView>, Messages)>>,
}

/// Messages that are still to be sent to one node.
#[derive(Default)]
pub(crate) struct Parts {
    messages: Messages,
    next: usize,
}

impl Telling {
    pub(crate) fn new(view: Arc<TrafficView>) -> Self {
        Self { view, digest: OnceLock::new(), full: OnceLock::new(), ways: Mutex::default() }
    }

    pub(crate) fn view(&self) -> &Arc<TrafficView> {
        &self.view
    }

    /// What a node needs that was told `told` in this session, or nothing yet, and said when it began that it holds a
    /// view whose fingerprint is `held`. Who comes while it is being written waits for that, which takes less than
    /// writing it too.
    pub(crate) fn from(&self, told: Option<&Arc<TrafficView>>, held: &[u8]) -> Parts {
        let messages = match told {
            None if self.digest() == held => {
                Arc::new(traffic::encode(traffic::confirm(&self.view, self.digest())))
            }
            None => {
                let write = || Arc::new(traffic::encode(traffic::full(&self.view, self.digest())));
                Arc::clone(self.full.get_or_init(write))
            }
            Some(told) => self.way_from(told),
        };
        Parts { messages, next: 0 }
    }

    fn digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| self.view.digest())
    }

    fn way_from(&self, told: &Arc<TrafficView>) -> Messages {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, messages)) = ways.iter().find(|(from, _)| Arc::ptr_eq(from, told)) {
            return Arc::clone(messages);
        }
        let changes = traffic::changes(told, &self.view, self.digest());
        let messages = Arc::new(changes.map(traffic::encode).unwrap_or_default());
        if ways.len() < WAYS_KEPT {
            ways.push((Arc::clone(told), Arc::clone(&messages)));
        }
        messages
    }
}

impl Iterator for Parts {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.get(self.next).cloned();
        self.next += 1;
        if message.is_none() {
            // A node at rest keeps no messages alive.
            *self = Self::default();
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use warren_core::id::{NodeId, RevisionNumber, TaskId};
    use warren_core::spec::ServiceName;
    use warren_core::traffic::{Endpoint, ServiceTraffic};

    fn endpoint(task: u64, ready: bool) -> Endpoint {
        let address = Ipv4Addr::from_bits(u32::try_from(task).unwrap());
        Endpoint {
            task: TaskId(task),
            revision: RevisionNumber(1),
            node: NodeId(1),
            address,
            ready,
        }
    }

    fn view(epoch: u64, tasks: impl Iterator<Item = (u64, bool)>) -> Arc<TrafficView> {
        let endpoints = tasks.map(|(task, ready)| endpoint(task, ready)).collect();
        let traffic = ServiceTraffic { endpoints, ..ServiceTraffic::default() };
        let services = [(ServiceName::parse("web").unwrap(), Arc::new(traffic))].into();
        Arc::new(TrafficView { epoch, zone: "warren".to_owned(), services, ..Default::default() })
    }

    /// The view of a node after `parts`, and whether it was told that it is whole with the last of them only.
    fn taken(mut view: TrafficView, parts: Parts) -> TrafficView {
        let mut more = false;
        for part in parts {
            let message = traffic::decode(&part).unwrap();
            more = message.more;
            traffic::merge_into(&mut view, message).unwrap();
        }
        assert!(!more, "the last message says that it is the last");
        view
    }

    #[test]
    fn a_large_view_and_a_small_change_of_it_arrive_as_they_are() {
        let old = view(1, (1..=22_000).map(|task| (task, task % 2 == 0)));
        let new = view(2, (2..=22_001).map(|task| (task, task % 2 == 0 || task == 77)));
        let first = Telling::new(Arc::clone(&old));
        let held = taken(TrafficView::default(), first.from(None, &[]));
        assert_eq!(&held, &*old);
        assert!(first.from(None, &[]).count() > 5, "in messages of bounded size");
        let second = Telling::new(Arc::clone(&new));
        let size: usize = second.from(Some(&old), &[]).map(|part| part.len()).sum();
        assert!(size < 300, "only what differs is sent: {size} bytes");
        assert_eq!(&taken(held, second.from(Some(&old), &[])), &*new);
        assert_eq!(second.from(Some(&new), &[]).count(), 0, "who holds it is told nothing");
    }

    #[test]
    fn who_holds_the_view_already_is_told_no_more_than_that() {
        let view = view(7, (1..=9_000).map(|task| (task, true)));
        let telling = Telling::new(Arc::clone(&view));
        let digest = view.digest();
        let size: usize = telling.from(None, &digest).map(|part| part.len()).sum();
        assert!(size < 100, "{size} bytes");
        assert_eq!(&taken((*view).clone(), telling.from(None, &digest)), &*view);
        assert!(telling.from(None, &[0; 32]).count() > 1, "another view is of no use");
    }

    #[test]
    fn what_many_nodes_are_told_is_written_once() {
        let (old, new) = (view(1, [(1, true)].into_iter()), view(2, [(1, false)].into_iter()));
        let telling = Telling::new(new);
        let (one, other) = (telling.from(Some(&old), &[]), telling.from(Some(&old), &[]));
        assert!(Arc::ptr_eq(&one.messages, &other.messages));
        assert!(Arc::ptr_eq(&telling.from(None, &[]).messages, &telling.from(None, &[]).messages));
    }
}
