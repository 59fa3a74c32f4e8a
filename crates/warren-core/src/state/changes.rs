//! What differs between two states of one cluster.

use super::State;
use crate::id::{NodeId, ServiceId, TaskId};
use imbl::ordmap::DiffItem;
use std::collections::BTreeSet;

/// Records that were made, changed or dropped. Ids of dropped records are among them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Services whose own record differs.
    pub services: BTreeSet<ServiceId>,
    /// Nodes whose own record differs.
    pub nodes: BTreeSet<NodeId>,
    /// Tasks that differ, each with its service and node, which never change.
    pub tasks: BTreeSet<(TaskId, ServiceId, NodeId)>,
}

impl State {
    /// What differs from `earlier`, usually a state that this one grew out of: then the cost is that of what changed,
    /// not that of what there is.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> Changes {
        let services = earlier.stored.services.diff(&self.stored.services);
        let nodes = earlier.stored.nodes.diff(&self.stored.nodes);
        let tasks = earlier.stored.tasks.diff(&self.stored.tasks).map(|item| match item {
            DiffItem::Add(id, task) | DiffItem::Remove(id, task) => (*id, task.service, task.node),
            DiffItem::Update { new: (id, task), .. } => (*id, task.service, task.node),
        });
        Changes {
            services: services.map(|item| *key(&item)).collect(),
            nodes: nodes.map(|item| *key(&item)).collect(),
            tasks: tasks.collect(),
        }
    }
}

fn key<'a, K, V>(item: &DiffItem<'a, 'a, K, V>) -> &'a K {
    match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
        DiffItem::Update { new: (key, _), .. } => key,
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Command, Placing};
    use crate::id::{Generation, RevisionNumber, Slot};
    use crate::state::tests::Feed;
    use std::collections::BTreeSet;

    #[test]
    fn only_what_was_touched_is_named() {
        let mut feed = Feed::cluster();
        let (first, second) = (feed.node("a"), feed.node("b"));
        let (web, _other) = (feed.create("web", 1), feed.create("other", 1));
        let before = feed.state.clone();
        assert_eq!(feed.state.changes_since(&before), super::Changes::default());

        let placements = vec![Placing { slot: Slot(1), revision: RevisionNumber(1), node: second }];
        let command = Command::PlaceTasks { service: web, expect: Generation(1), placements };
        feed.apply(command).unwrap();
        let task = feed.state.tasks().next().unwrap().id;
        let changes = feed.state.changes_since(&before);
        assert_eq!(changes.tasks, BTreeSet::from([(task, web, second)]));
        assert!(changes.nodes.contains(&second) && !changes.nodes.contains(&first));
        assert_eq!(before.changes_since(&feed.state), changes, "dropped records are named too");
    }
}
