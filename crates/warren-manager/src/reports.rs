//! Status updates on their way into Raft. They come at least once and go in once: a node numbers them per boot, and an
//! update is acknowledged when what it says is on the disks of a majority, or needs not be.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use warren_core::State;
use warren_core::command::{Command, TaskEdge};
use warren_core::converge::Status;
use warren_core::id::{NodeId, TaskId};
use warren_core::task::{Phase, Task};

/// How long edges are gathered: one fsync for all that happens about together, and a twentieth of a second is not seen.
const GATHER: Duration = Duration::from_millis(50);
/// So many edges are written at once: half of what one log entry holds, at 512 bytes of message each.
const EDGES_MAX: usize = 1_000;
/// More edges than this wait for the disk: no more is read from nodes until there are fewer.
const EDGES_WAITING_MAX: usize = 10_000;
/// The wait before edges that could not be written are tried again.
const RETRY: Duration = Duration::from_millis(200);

/// An update to acknowledge, and in which session it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ack {
    pub(crate) node: NodeId,
    pub(crate) session: u64,
    pub(crate) seq: u64,
}

/// Edges to write in one go, and what to acknowledge then.
#[derive(Default)]
struct Batch {
    edges: Vec<(NodeId, TaskEdge)>,
    acks: Vec<Ack>,
}

/// What is to be done with what was gathered.
#[derive(PartialEq, Debug)]
pub(crate) enum Flush {
    /// Nothing yet.
    Nothing,
    /// Nothing is to be written: acknowledge these.
    Acknowledge(Vec<Ack>),
    /// Propose these, and say how it went with [`Reports::settled`].
    Propose { edges: usize, commands: Vec<Command> },
}

/// The updates on their way.
#[derive(Default)]
pub(crate) struct Reports {
    /// The last update taken from each node, in its boot.
    taken: BTreeMap<NodeId, (u64, u64)>,
    waiting: Batch,
    /// When the waiting ones are to be written.
    due: Option<Instant>,
    writing: Option<Batch>,
}

impl Reports {
    /// Whether more may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.edges.len() < EDGES_WAITING_MAX
    }

    /// Whether the update `seq` of a node's `boot` has not come before. It counts as come from now on.
    pub(crate) fn is_new(&mut self, node: NodeId, boot: u64, seq: u64) -> bool {
        match self.taken.get(&node) {
            Some((known, last)) if *known == boot && seq <= *last => false,
            Some(_) | None => {
                self.taken.insert(node, (boot, seq));
                true
            }
        }
    }

    /// Takes an edge in, if the state does not know it yet.
    pub(crate) fn add(
        &mut self,
        state: &State,
        node: NodeId,
        (id, status): (TaskId, Status),
        now: Instant,
    ) {
        let durable = status.phase == Phase::Running || status.phase.is_final();
        // Only the leader gives a task up as lost.
        let lost = status.phase == Phase::Lost;
        let is_news =
            |task: &Task| task.node == node && task.is_live() && task.phase < status.phase;
        if durable && !lost && state.task(id).is_some_and(|task| is_news(task)) {
            let edge = TaskEdge { task: id, phase: status.phase, end: status.end };
            self.waiting.edges.push((node, edge));
            self.due.get_or_insert(now + GATHER);
        }
    }

    /// Acknowledges an update once all that came before it is written.
    pub(crate) fn acknowledge(&mut self, ack: Ack) {
        self.waiting.acks.push(ack);
    }

    /// When [`Self::flush`] is to be called though nothing else happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.writing.is_none())
    }

    /// What is to be done at `now`.
    pub(crate) fn flush(&mut self, now: Instant) -> Flush {
        if self.writing.is_some() {
            return Flush::Nothing;
        }
        if self.waiting.edges.is_empty() {
            let acks = std::mem::take(&mut self.waiting.acks);
            return if acks.is_empty() { Flush::Nothing } else { Flush::Acknowledge(acks) };
        }
        let full = self.waiting.edges.len() >= EDGES_MAX;
        if !full && self.due.is_some_and(|due| due > now) {
            return Flush::Nothing;
        }
        let batch = std::mem::take(&mut self.waiting);
        let (now_edges, later) = batch.edges.split_at(batch.edges.len().min(EDGES_MAX));
        let all = later.is_empty();
        self.due = (!all).then_some(now);
        self.waiting.edges = later.to_vec();
        // What is acknowledged must be written: acknowledge with the last part.
        let (acks, keep) = if all { (batch.acks, Vec::new()) } else { (Vec::new(), batch.acks) };
        self.waiting.acks = keep;
        let writing = Batch { edges: now_edges.to_vec(), acks };
        let (edges, commands) = (writing.edges.len(), commands(&writing.edges));
        self.writing = Some(writing);
        Flush::Propose { edges, commands }
    }

    /// How the proposal went. Returns what to acknowledge; where it failed it is tried again.
    pub(crate) fn settled(&mut self, written: bool, now: Instant) -> Vec<Ack> {
        let Some(mut batch) = self.writing.take() else { return Vec::new() };
        if written {
            return batch.acks;
        }
        batch.edges.append(&mut self.waiting.edges);
        batch.acks.append(&mut self.waiting.acks);
        self.waiting = batch;
        self.due = Some(now + RETRY);
        Vec::new()
    }
}

/// One command for each node, its edges in order.
fn commands(edges: &[(NodeId, TaskEdge)]) -> Vec<Command> {
    let mut by_node: BTreeMap<NodeId, Vec<TaskEdge>> = BTreeMap::new();
    for (node, edge) in edges {
        by_node.entry(*node).or_default().push(edge.clone());
    }
    let commands = by_node.into_iter().map(|(node, edges)| Command::ReportTasks { node, edges });
    commands.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::traffic::World;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        /// A node says in its next message that a task runs.
        Say(usize, usize),
        /// It says the last message again, in the same session or a new one.
        Repeat(usize, bool),
        Flush,
        Settle(bool),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..3_usize, 0..20_usize).prop_map(|(node, task)| Op::Say(node, task)),
            1 => (0..3_usize, any::<bool>()).prop_map(|(node, anew)| Op::Repeat(node, anew)),
            2 => Just(Op::Flush),
            2 => any::<bool>().prop_map(Op::Settle),
        ]
    }

    struct Speaker {
        node: NodeId,
        tasks: Vec<TaskId>,
        session: u64,
        seq: u64,
        /// How many edges it had said with each message.
        said: Vec<usize>,
        edges: Vec<TaskId>,
        written: Vec<TaskId>,
    }

    /// Written edges come in order, and an acknowledgement covers nothing that is not written.
    fn check(reports: &mut Reports, speakers: &mut [Speaker], flushed: Flush) {
        let acks = match flushed {
            Flush::Nothing => return,
            Flush::Acknowledge(acks) => acks,
            Flush::Propose { edges, commands } => {
                let all = commands.iter().map(|command| {
                    let Command::ReportTasks { edges, .. } = command else { panic!("{command:?}") };
                    edges.len()
                });
                assert_eq!(edges, all.sum::<usize>());
                return;
            }
        };
        acknowledge(speakers, &acks);
        assert_eq!(reports.flush(Instant::now()), Flush::Nothing);
    }

    fn acknowledge(speakers: &[Speaker], acks: &[Ack]) {
        for ack in acks {
            let speaker = speakers.iter().find(|speaker| speaker.node == ack.node).unwrap();
            let covered = speaker.said[usize::try_from(ack.seq).unwrap() - 1];
            assert!(speaker.written.len() >= covered, "acknowledged before it was written");
        }
    }

    fn settle(reports: &mut Reports, speakers: &mut [Speaker], written: bool, now: Instant) {
        if let Some(batch) = reports.writing.as_ref().filter(|_| written) {
            for (node, edge) in &batch.edges {
                let speaker = speakers.iter_mut().find(|speaker| speaker.node == *node).unwrap();
                speaker.written.push(edge.task);
            }
        }
        let acks = reports.settled(written, now);
        acknowledge(speakers, &acks);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_is_lost_repeated_or_acknowledged_too_early(
            ops in proptest::collection::vec(op(), 1..200),
        ) {
            let world = World::with_tasks(3, 20);
            let mut speakers: Vec<_> = world.state.nodes().map(|node| Speaker {
                node: node.id,
                tasks: world.state.tasks_on(node.id).map(|task| task.id).collect(),
                session: node.id.0,
                seq: 0,
                said: Vec::new(),
                edges: Vec::new(),
                written: Vec::new(),
            }).collect();
            let mut reports = Reports::default();
            let mut now = Instant::now();
            for op in ops {
                now += Duration::from_millis(20);
                match op {
                    Op::Say(nth, task) => {
                        let speaker = &mut speakers[nth];
                        let task = speaker.tasks[task % speaker.tasks.len()];
                        speaker.seq += 1;
                        let (node, session, seq) = (speaker.node, speaker.session, speaker.seq);
                        prop_assert!(reports.is_new(node, 1, seq));
                        let status = crate::tests::agent::status(Phase::Running, true);
                        reports.add(&world.state, node, (task, status), now);
                        speaker.edges.push(task);
                        speaker.said.push(speaker.edges.len());
                        reports.acknowledge(Ack { node, session, seq });
                    }
                    Op::Repeat(nth, anew) => {
                        let speaker = &mut speakers[nth];
                        speaker.session += u64::from(anew) * 10;
                        let (node, session, seq) = (speaker.node, speaker.session, speaker.seq);
                        if seq > 0 {
                            prop_assert!(!reports.is_new(node, 1, seq));
                            reports.acknowledge(Ack { node, session, seq });
                        }
                    }
                    Op::Flush => {
                        let flushed = reports.flush(now);
                        check(&mut reports, &mut speakers, flushed);
                    }
                    Op::Settle(written) => settle(&mut reports, &mut speakers, written, now),
                }
            }
            for _ in 0..10 {
                now += Duration::from_secs(1);
                settle(&mut reports, &mut speakers, true, now);
                let flushed = reports.flush(now);
                check(&mut reports, &mut speakers, flushed);
            }
            for speaker in &speakers {
                prop_assert_eq!(&speaker.written, &speaker.edges);
            }
            prop_assert!(reports.waiting.acks.is_empty() && reports.due().is_none());
        }
    }

    #[test]
    fn an_agent_that_started_anew_counts_from_one_again() {
        let mut reports = Reports::default();
        assert!(reports.is_new(NodeId(1), 1, 5));
        assert!(!reports.is_new(NodeId(1), 1, 5));
        assert!(reports.is_new(NodeId(1), 2, 1));
    }

    #[test]
    fn what_the_leader_alone_may_say_is_not_taken_from_a_node() {
        let world = World::with_tasks(1, 1);
        let task = world.state.tasks().next().unwrap();
        let mut reports = Reports::default();
        let lost = crate::tests::agent::status(Phase::Lost, false);
        reports.add(&world.state, task.node, (task.id, lost), Instant::now());
        let foreign = crate::tests::agent::status(Phase::Failed, false);
        reports.add(&world.state, NodeId(99), (task.id, foreign), Instant::now());
        assert_eq!(reports.flush(Instant::now() + GATHER), Flush::Nothing);
    }
}
