//! A new epoch: the cluster goes on from a backup, or from one manager of several. What was agreed after that point, or
//! elsewhere, is not known here, and may still run.

use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::{EventKind, NodeChange};
use crate::id::NodeId;
use crate::node::Role;
use std::sync::Arc;

/// How far ids, the epoch of traffic and the log go ahead when an epoch begins: more than a cluster gives out between
/// two backups, so that nothing which was made after the backup shares a number with what is made from now on.
pub const EPOCH_GAP: u64 = 1_000_000_000;

/// The next number of a count that stands at `last`, in a new epoch: it is seen from the number that it is one.
#[must_use]
pub const fn leap(last: u64) -> u64 {
    (last / EPOCH_GAP + 1) * EPOCH_GAP
}

impl State {
    /// `manager` alone goes on with the cluster; with `key`, as the machine that has this key. `expect` is the epoch
    /// that the caller believes to end.
    pub(super) fn begin_epoch(
        &mut self,
        now: Now,
        expect: u32,
        manager: NodeId,
        key: Option<String>,
    ) -> Result<Applied, Rejection> {
        let cluster = self.stored.cluster.as_ref();
        let cluster = cluster.filter(|cluster| cluster.epoch == expect).ok_or_else(|| {
            Rejection::Stale(format!("epoch {expect} is not the one that the cluster is in"))
        })?;
        let next = crate::Cluster { epoch: expect + 1, ..cluster.as_ref().clone() };
        let node = self.node_mut(manager)?;
        node.role = Role::Manager;
        if let Some(key) = key {
            let old = std::mem::replace(&mut node.key, key.clone());
            self.by_key.remove(&old);
            self.by_key.insert(key, manager);
        }
        self.stored.cluster = Some(Arc::new(next));
        self.record(now, EventKind::EpochBegan { epoch: expect + 1, manager });
        let others = self.nodes().filter(|node| node.role == Role::Manager && node.id != manager);
        let others: Vec<NodeId> = others.map(|node| node.id).collect();
        for id in others {
            self.take_out(now, id);
        }
        self.stored.last_id = leap(self.stored.last_id);
        self.stored.traffic_epoch = leap(self.stored.traffic_epoch);
        // A token that was revoked since the backup would let machines in again.
        self.stored.join_tokens.clear();
        let ids: Vec<NodeId> = self.nodes().map(|node| node.id).collect();
        for id in ids {
            let node = self.node_mut(id)?;
            // What was placed since has the addresses that come next: the other half of the subnet rests.
            let capacity = node.address_capacity().max(1);
            node.cursor = 2 + (node.cursor.saturating_sub(2) + capacity / 2) % capacity;
        }
        Ok(Applied::Done)
    }

    /// Takes a node out whatever it is. The tasks that it may still run are given up.
    pub(super) fn take_out(&mut self, now: Now, id: NodeId) {
        let live = self.tasks_on(id).filter(|task| task.is_live());
        let live: Vec<_> = live.map(|task| task.id).collect();
        let message = format!("node {id} was removed");
        for task in live {
            let end = crate::task::End { message: message.clone(), ..Default::default() };
            let phase = crate::task::Phase::Lost;
            self.advance(now, id, crate::command::TaskEdge { task, phase, end: Some(end) });
        }
        self.record_node(now, id, NodeChange::Removed);
        let gone = self.stored.nodes.remove(&id);
        // Its key may be another's by now: of a machine that goes on in its place.
        if let Some(gone) = gone.filter(|gone| self.by_key.get(&gone.key) == Some(&id)) {
            self.by_key.remove(&gone.key);
        }
        self.stored.traffic_epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Placing};
    use crate::id::{Generation, RevisionNumber, Slot};
    use crate::member::JoinToken;
    use crate::service::Actor;
    use crate::state::tests::Feed;
    use crate::time::WallTime;
    use proptest::prelude::*;

    fn begin(expect: u32, manager: NodeId, key: Option<&str>) -> Command {
        let (key, by) = (key.map(str::to_owned), Actor::named("root".to_owned()));
        Command::BeginEpoch { expect, manager, key, by }
    }

    /// Two managers and a worker, with a task each.
    fn three() -> (Feed, [NodeId; 3]) {
        let mut feed = Feed::cluster();
        let nodes = ["m1", "m2", "w1"].map(|name| feed.node(name));
        for manager in &nodes[..2] {
            let (role, by) = (Role::Manager, Actor::named("root".to_owned()));
            feed.apply(Command::SetRole { node: *manager, role, by }).unwrap();
        }
        let service = feed.create("web", 3);
        let place = |(slot, node)| Placing { slot: Slot(slot), revision: RevisionNumber(1), node };
        let placements = [1, 2, 3].into_iter().zip(nodes).map(place).collect();
        let expect = Generation(1);
        feed.apply(Command::PlaceTasks { service, expect, placements }).unwrap();
        (feed, nodes)
    }

    #[test]
    fn one_manager_goes_on_and_what_it_does_not_know_shares_no_number_with_it() {
        let (mut feed, [first, second, worker]) = three();
        let token = JoinToken {
            hash: [1; 32],
            role: Role::Worker,
            expires: WallTime(u64::MAX),
            by: Actor::named("root".to_owned()),
        };
        feed.apply(Command::AddJoinToken { token }).unwrap();
        let before = feed.state.clone();
        assert!(matches!(feed.apply(begin(2, first, None)), Err(Rejection::Stale(_))));
        assert!(feed.apply(begin(1, NodeId(99), None)).is_err());
        feed.apply(begin(1, first, Some("another"))).unwrap();
        assert!(matches!(feed.apply(begin(1, first, None)), Err(Rejection::Stale(_))));
        let state = &feed.state;
        assert_eq!(state.cluster().unwrap().epoch, 2);
        assert_eq!(state.node(first).unwrap().key, "another");
        assert_eq!(state.node_with_key("another").map(|node| node.id), Some(first));
        let restored: State = postcard::from_bytes(&postcard::to_stdvec(state).unwrap()).unwrap();
        assert_eq!(&restored, state, "nodes are found by the same keys after a restart");
        assert!(state.node(second).is_none(), "it may have a log that knows more: it is out");
        assert_eq!(state.join_tokens().len(), 0);
        let live: Vec<_> = state.tasks().filter(|task| task.is_live()).map(|t| t.node).collect();
        assert_eq!(live, [first, worker], "what runs is adopted, what went with its node is not");
        assert!(state.traffic_epoch() >= EPOCH_GAP);
        let known: Vec<_> = before.tasks().map(|task| task.address).collect();
        let placing = Placing { slot: Slot(2), revision: RevisionNumber(1), node: worker };
        let service = state.services().next().unwrap().id;
        let (expect, placements) = (Generation(1), vec![placing]);
        let made = feed.apply(Command::PlaceTasks { service, expect, placements });
        let Ok(Applied::Tasks(made)) = made else { panic!("{made:?}") };
        let task = feed.state.task(made[0]).unwrap();
        assert!(task.id.0 > EPOCH_GAP, "{}", task.id);
        let near = known.iter().any(|known| u32::from(task.address) <= u32::from(*known) + 100);
        let worker_subnet = feed.state.node(worker).unwrap().subnet;
        assert!(worker_subnet.contains(&task.address) && !near, "{}", task.address);
    }

    proptest! {
        #[test]
        fn a_leap_passes_what_a_cluster_gives_out(last in 0..1_u64 << 60) {
            let next = leap(last);
            prop_assert!(next > last && next.is_multiple_of(EPOCH_GAP) && next - last <= EPOCH_GAP);
            prop_assert!(leap(next) > next);
        }
    }
}
