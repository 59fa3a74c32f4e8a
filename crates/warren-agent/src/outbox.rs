//! What the leader is to hear of this node's tasks. At least once: a status is sent again until it is acknowledged, and
//! to every new leader.

use std::collections::BTreeMap;
use std::time::Duration;
use warren_core::converge::Status;
use warren_core::id::TaskId;
use warren_core::time::Tick;
use warren_wire::convert::task::render;
use warren_wire::v1;

/// So long changes are gathered before they are sent. An edge of readiness does not wait.
pub(crate) const COALESCE: Duration = Duration::from_millis(200);
/// So long an acknowledgement may take before everything unacknowledged is sent again.
pub(crate) const RESEND: Duration = Duration::from_secs(5);
/// Tasks in one message: some 200 bytes each, well below any limit of messages.
const TASKS_PER_MESSAGE: usize = 1_000;

/// The statuses of all assigned tasks and what the leader knows of them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    statuses: BTreeMap<TaskId, Status>,
    /// What was sent last in this session, with the message that carried it.
    sent: BTreeMap<TaskId, (Status, u64)>,
    acked: u64,
    seq: u64,
    /// When the changes so far are to be sent.
    due: Option<Tick>,
    /// When what is unacknowledged is to be sent again.
    resend: Option<Tick>,
}

impl Outbox {
    /// Takes over how the tasks are at `now`.
    pub(crate) fn update(&mut self, statuses: BTreeMap<TaskId, Status>, now: Tick) {
        if self.statuses != statuses {
            let ready = |all: &BTreeMap<TaskId, Status>, task| {
                all.get(task).is_some_and(|status: &Status| status.ready)
            };
            let edge = statuses.keys().any(|t| ready(&statuses, t) != ready(&self.statuses, t));
            let due = if edge { now } else { now.after(COALESCE) };
            self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
            self.statuses = statuses;
            self.sent.retain(|task, _| self.statuses.contains_key(task));
        }
    }

    /// How the tasks are.
    pub(crate) const fn statuses(&self) -> &BTreeMap<TaskId, Status> {
        &self.statuses
    }

    /// A session began: its leader has heard nothing yet.
    pub(crate) fn connected(&mut self, now: Tick) {
        self.sent.clear();
        self.resend = None;
        self.due = Some(now);
    }

    /// The leader has what was sent up to `seq`.
    pub(crate) fn acknowledged(&mut self, seq: u64) {
        self.acked = self.acked.max(seq.min(self.seq));
        if self.unacknowledged() == 0 {
            self.resend = None;
        }
    }

    /// Tasks of whose last status the leader has not said that it knows it.
    pub(crate) fn unacknowledged(&self) -> usize {
        let known = |task: &TaskId, status: &Status| {
            self.sent.get(task).is_some_and(|(sent, seq)| sent == status && *seq <= self.acked)
        };
        self.statuses.iter().filter(|(task, status)| !known(task, status)).count()
    }

    /// When to call [`next`](Self::next) again.
    pub(crate) fn wake_at(&self) -> Option<Tick> {
        self.due.into_iter().chain(self.resend).min()
    }

    /// The next message to send at `now`, until there is none. `send` takes it or says that it cannot now.
    pub(crate) fn flush(&mut self, now: Tick, mut send: impl FnMut(v1::Status) -> bool) {
        if self.resend.is_some_and(|resend| resend <= now) {
            self.sent.retain(|_, (_, seq)| *seq <= self.acked);
            self.due = Some(now);
            self.resend = None;
        }
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        let known = |task: &TaskId, status: &Status| {
            self.sent.get(task).is_some_and(|(sent, _)| sent == status)
        };
        let news = self.statuses.iter().filter(|(task, status)| !known(task, status));
        let news: Vec<_> = news.map(|(task, status)| (*task, status.clone())).collect();
        for part in news.chunks(TASKS_PER_MESSAGE) {
            let seq = self.seq + 1;
            let tasks = part.iter().map(|(task, status)| render(*task, status)).collect();
            if !send(v1::Status { seq, tasks }) {
                self.due = Some(now.after(COALESCE));
                return;
            }
            self.seq = seq;
            self.sent.extend(part.iter().map(|(task, status)| (*task, (status.clone(), seq))));
            self.resend.get_or_insert_with(|| now.after(RESEND));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use warren_core::task::Phase;

    fn status(restarts: u32, ready: bool) -> Status {
        Status {
            phase: Phase::Running,
            ready,
            healthy: None,
            restarts,
            waiting: false,
            unseen: false,
            detail: String::new(),
            end: None,
        }
    }

    fn flush(outbox: &mut Outbox, now: Tick) -> Vec<v1::Status> {
        let mut sent = Vec::new();
        outbox.flush(now, |message| {
            sent.push(message);
            true
        });
        sent
    }

    #[test]
    fn changes_are_gathered_and_readiness_is_not() {
        let mut outbox = Outbox::default();
        let now = Tick::from_ms(1000);
        outbox.update(BTreeMap::from([(TaskId(1), status(1, false))]), now);
        outbox.update(BTreeMap::from([(TaskId(1), status(2, false))]), now);
        assert_eq!(flush(&mut outbox, now), []);
        assert_eq!(outbox.wake_at(), Some(now.after(COALESCE)));
        let sent = flush(&mut outbox, now.after(COALESCE));
        assert_eq!((sent.len(), sent[0].tasks[0].restarts), (1, 2));

        outbox.update(BTreeMap::from([(TaskId(1), status(2, true))]), now);
        let sent = flush(&mut outbox, now);
        assert!(sent[0].tasks[0].ready, "at once");
        outbox.update(BTreeMap::from([(TaskId(1), status(2, false))]), now);
        assert!(!flush(&mut outbox, now)[0].tasks[0].ready, "at once");
    }

    #[test]
    fn large_nodes_speak_in_parts() {
        let mut outbox = Outbox::default();
        let many = (0..2_500).map(|id| (TaskId(id), status(0, true)));
        outbox.update(many.collect(), Tick::from_ms(1));
        let sent = flush(&mut outbox, Tick::from_ms(1));
        let sizes: Vec<_> = sent.iter().map(|message| message.tasks.len()).collect();
        assert_eq!(sizes, [1000, 1000, 500]);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again() {
        let mut outbox = Outbox::default();
        let mut now = Tick::from_ms(1);
        outbox.update(BTreeMap::from([(TaskId(1), status(0, true))]), now);
        let first = flush(&mut outbox, now);
        assert_eq!(outbox.wake_at(), Some(now.after(RESEND)));
        now = now.after(RESEND);
        let again = flush(&mut outbox, now);
        assert_eq!(again[0].tasks, first[0].tasks);
        outbox.acknowledged(again[0].seq);
        assert_eq!((outbox.unacknowledged(), outbox.wake_at()), (0, None));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Change(u64, u32, bool),
        Forget(u64),
        Reconnect,
        Break,
        Block(bool),
        Advance(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..4_u64, 0..3_u32, any::<bool>()).prop_map(|(t, n, ready)| Op::Change(t, n, ready)),
            (0..4_u64).prop_map(Op::Forget),
            Just(Op::Reconnect),
            Just(Op::Break),
            any::<bool>().prop_map(Op::Block),
            (0..3_000_u64).prop_map(Op::Advance),
        ]
    }

    proptest! {
        /// Whatever is blocked, or lost with its session: in the end the leader knows every status.
        #[test]
        fn the_leader_comes_to_know_everything(ops in prop::collection::vec(op(), 0..60)) {
            let (mut outbox, mut now) = (Outbox::default(), Tick::from_ms(1));
            let mut heard: BTreeMap<String, v1::TaskStatus> = BTreeMap::new();
            let mut statuses: BTreeMap<TaskId, Status> = BTreeMap::new();
            let (mut blocked, mut broken) = (false, false);
            let calm = [Op::Block(false), Op::Reconnect, Op::Advance(1_000)];
            for op in ops.into_iter().chain(calm) {
                match op {
                    Op::Change(task, n, ready) => {
                        statuses.insert(TaskId(task), status(n, ready));
                        outbox.update(statuses.clone(), now);
                    }
                    Op::Forget(task) => {
                        statuses.remove(&TaskId(task));
                        outbox.update(statuses.clone(), now);
                    }
                    Op::Reconnect => {
                        heard.clear();
                        broken = false;
                        outbox.connected(now);
                    }
                    Op::Break => broken = true,
                    Op::Block(now_blocked) => blocked = now_blocked,
                    Op::Advance(ms) => now = now.after(Duration::from_millis(ms)),
                }
                let mut acks = Vec::new();
                outbox.flush(now, |message| {
                    if !blocked && !broken {
                        acks.push(message.seq);
                        let known = message.tasks.into_iter().map(|t| (t.task_id.clone(), t));
                        heard.extend(known);
                    }
                    !blocked
                });
                for ack in acks {
                    outbox.acknowledged(ack);
                }
            }
            for (task, status) in &statuses {
                prop_assert_eq!(heard.get(&task.to_string()), Some(&render(*task, status)));
            }
            prop_assert_eq!(outbox.unacknowledged(), 0);
        }
    }
}
