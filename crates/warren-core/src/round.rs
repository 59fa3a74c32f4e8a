//! One round of a leader: who is missed, what is to be done, and what of both is proposed.

use crate::command::Command;
use crate::lease::{self, Leases, Verdict};
use crate::observed::Observed;
use crate::plan::{Plan, plan};
use crate::state::State;
use crate::time::ClusterTime;
use std::time::Duration;

/// The longest that cluster time goes unrecorded while something waits on it: what a failover may add to a wait.
pub const CHECKPOINT: Duration = Duration::from_secs(5);

/// What one round came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Round {
    /// When it was.
    pub now: ClusterTime,
    /// Who is missed.
    pub verdict: Verdict,
    /// What is to be done.
    pub plan: Plan,
}

/// Looks at what is agreed and what was heard, at `now`. `leases` are those of a small cluster.
#[must_use]
pub fn decide(state: &State, observed: &Observed, now: ClusterTime, leases: Leases) -> Round {
    let leases = leases.for_nodes(state.nodes().len());
    let verdict = lease::judge(state, observed, now, leases);
    // What goes down or comes back in this round is planned with as it will be: a node that is lost gets no tasks, and
    // what ran there does not count for those that others may miss.
    let after = state.foresee(&verdict.commands, now);
    let plan = plan(after.as_ref().unwrap_or(state), observed, now);
    Round { now, verdict, plan }
}

/// The same, a moment after `last`, of the same state. A plan looks at every task; where nodes only said meanwhile that
/// they live, the last one is still right.
#[must_use]
pub fn decide_again(
    last: (&Observed, &Round),
    state: &State,
    observed: &Observed,
    now: ClusterTime,
    leases: Leases,
) -> Round {
    let (heard, round) = last;
    if !round.is_at_rest() || observed.differs_from(heard) {
        return decide(state, observed, now, leases);
    }
    let verdict = lease::judge(state, observed, now, leases.for_nodes(state.nodes().len()));
    if !verdict.commands.is_empty() {
        return decide(state, observed, now, leases);
    }
    Round { now, verdict, plan: round.plan.clone() }
}

impl Round {
    /// Whether there was nothing to do and nothing is waited for, be it a time or people: then the plan is the same at
    /// any later time.
    fn is_at_rest(&self) -> bool {
        let plan = &self.plan;
        let waits = plan.report.services.values().any(|service| !service.waits.is_empty());
        plan.commands.is_empty() && plan.wake_at.is_none() && !waits
    }

    /// What is proposed, in this order: leases first. A checkpoint where nothing else moves time that something waits
    /// on, unless the last rounds `failed`.
    #[must_use]
    pub fn commands(&self, state: &State, failed: bool) -> Vec<Command> {
        let mut commands = self.verdict.commands.clone();
        commands.extend(self.plan.commands.iter().cloned());
        let waits = self.plan.wake_at.is_some();
        let stale = self.now.since(state.time()) >= CHECKPOINT;
        if commands.is_empty() && waits && stale && !failed {
            commands.push(Command::Checkpoint);
        }
        commands
    }

    /// When to look again though nothing else happens: as the plan or a lease asks for, or to record time that the plan
    /// waits on.
    #[must_use]
    pub fn wake_at(&self, state: &State) -> Option<ClusterTime> {
        let checkpoint = self.plan.wake_at.map(|_| state.time().after(CHECKPOINT));
        [self.plan.wake_at, self.verdict.wake_at, checkpoint].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LEASES;
    use crate::node::Availability;
    use crate::observed::{NodeObserved, TaskObserved};
    use crate::service::Actor;
    use crate::state::tests::Feed;
    use crate::task::Phase;

    /// Three nodes with a ready task each; one falls silent for good while another is drained.
    #[test]
    fn what_goes_down_in_a_round_is_not_planned_with_as_if_it_were_up() {
        let mut feed = Feed::cluster();
        let nodes = ["a", "b", "c"].map(|name| feed.node(name));
        let web = feed.create("web", 3);
        let mut observed = Observed::default();
        let mut now = ClusterTime::from_ms(100_000);
        for node in nodes {
            let heard = NodeObserved { connected: true, heard: now, ..NodeObserved::default() };
            observed.nodes.insert(node, heard);
        }
        while feed.state.tasks().len() < 3 {
            for command in decide(&feed.state, &observed, now, LEASES).plan.commands {
                feed.apply(command).unwrap();
            }
        }
        for task in feed.state.tasks().cloned().collect::<Vec<_>>() {
            let edge = crate::command::TaskEdge { task: task.id, phase: Phase::Running, end: None };
            feed.apply(Command::ReportTasks { node: task.node, edges: vec![edge] }).unwrap();
            let ready = TaskObserved {
                phase: Phase::Running,
                ready_since: Some(ClusterTime::START),
                unready_since: None,
                healthy: None,
                restarts: 0,
                unseen: false,
                detail: String::new(),
            };
            observed.tasks.insert(task.id, ready);
        }
        // Its first release comes to its end, so that nothing but nodes is planned about.
        while feed.state.service(web).is_some_and(|service| service.rollout.is_some()) {
            now = now.after(Duration::from_secs(1));
            let epoch = feed.state.traffic_epoch();
            for node in nodes {
                let heard = observed.nodes.entry(node).or_default();
                heard.heard = now;
                heard.acks.add(epoch, now);
            }
            feed.clock = Some(now);
            for command in decide(&feed.state, &observed, now, LEASES).plan.commands {
                feed.apply(command).unwrap();
            }
        }
        let (availability, by) = (Availability::Drain, Actor::named("test"));
        let node = nodes[0];
        feed.apply(Command::SetAvailability { node, availability, within: None, by }).unwrap();
        now = now.after(LEASES.lease.saturating_mul(LEASES.grace));
        for node in &nodes[..2] {
            observed.nodes.entry(*node).or_default().heard = now;
        }
        let round = decide(&feed.state, &observed, now, LEASES);
        let down = Command::SetNodeUp { node: nodes[2], up: false };
        assert_eq!(round.verdict.commands, [down]);
        for command in round.commands(&feed.state, false) {
            feed.apply(command).expect("the plan fits the state that it comes to");
        }
        let placed = feed.state.tasks_of(web).filter(|task| task.phase == Phase::Assigned);
        assert!(placed.count() > 0, "what is lost is placed in the same round");
        assert!(feed.state.tasks_on(nodes[2]).all(|task| !task.is_live()));
    }
}
