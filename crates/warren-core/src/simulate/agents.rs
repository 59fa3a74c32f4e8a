//! What agents do: start and stop containers as assigned, and tell how they are.

use super::cluster::{Cluster, Event};
use super::fault::Behaviour;
use super::machine::{Container, Turn};
use crate::assignment::{Want, want};
use crate::command::{Command, TaskEdge};
use crate::id::{NodeId, RevisionNumber, TaskId};
use crate::lease::LEASES;
use crate::observed::TaskObserved;
use crate::spec::RestartPolicy;
use crate::task::{End, Phase};
use crate::traffic;
use std::collections::BTreeMap;
use std::time::Duration;

impl Cluster {
    /// Agents with a session will look at their assignments.
    pub(super) fn tell_agents(&mut self) {
        let nodes: Vec<_> = self.sessions().collect();
        for node in nodes {
            let wait = self.chance.span(5, 40);
            self.later(wait, Event::Assign(node));
        }
    }

    /// An agent brings its containers to what is assigned to its node.
    pub(super) fn assign(&mut self, node: NodeId) {
        if !self.leads || !self.machines.get(&node).is_some_and(|m| m.session) {
            return;
        }
        let wanted = self.state.tasks_on(node).map(|t| (t.id, want(t))).collect();
        self.bring(node, &wanted);
    }

    /// Brings the containers of a node to what is wanted of it.
    pub(super) fn bring(&mut self, node: NodeId, wanted: &BTreeMap<TaskId, Want>) {
        let gone = |container: &&Container| {
            container.node == node && !wanted.contains_key(&container.task)
        };
        let gone: Vec<_> = self.containers.values().filter(gone).map(|c| c.task).collect();
        for task in gone {
            self.give_up(task);
        }
        for (&task, &want) in wanted {
            match (want, self.containers.get_mut(&task)) {
                (Want::Run, None) => self.create(task),
                (Want::Run, Some(container)) => {
                    if container.given_up.take().is_some() {
                        self.say(task);
                    }
                }
                (Want::Stop, None) => {
                    self.create(task);
                    self.stop(task);
                }
                (Want::Stop, Some(_)) => self.stop(task),
                (Want::Keep, Some(container)) if !container.phase.is_final() => self.give_up(task),
                (Want::Keep, Some(_) | None) => {}
            }
        }
    }

    /// Nobody has asked for the end of this container, and nobody wants it any more: one that runs goes on as long as
    /// somebody may be led to it.
    fn give_up(&mut self, id: TaskId) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        if container.phase != Phase::Running {
            self.containers.remove(&id);
        } else if container.given_up.is_none() {
            let span = traffic::forgotten_within(LEASES.lease);
            container.given_up = Some(self.now);
            self.later(span, Event::Leave(id, self.now));
        }
    }

    /// A container that was given up at `since` goes, unless it is wanted again.
    pub(super) fn leave(&mut self, id: TaskId, since: u64) {
        let given_up = self.containers.get(&id).and_then(|container| container.given_up);
        if given_up == Some(since) {
            if let Err(broken) = self.check_left(id) {
                self.broken.get_or_insert(broken);
            }
            self.containers.remove(&id);
        }
    }

    fn create(&mut self, id: TaskId) {
        let Some(task) = self.state.task(id).cloned() else { return };
        let (how, percent) = self.behaviours.get(&task.revision).copied().unwrap_or_default();
        // Every so many slots in a hundred, and the same ones each time.
        let odd = u64::from(task.slot.0) * 61 % 100 < u64::from(percent);
        // A container that takes the place of a lost one makes none of its turns.
        let first = self.events << 16;
        let container = Container {
            task: id,
            service: task.service,
            revision: task.revision,
            node: task.node,
            how: if odd { how } else { Behaviour::Healthy },
            phase: Phase::Preparing,
            ready: false,
            unready_at: self.now,
            restarts: 0,
            stopping: false,
            given_up: None,
            detail: String::new(),
            turns: first,
        };
        self.containers.insert(id, container);
        let wait = self.chance.span(100, 600);
        self.later(wait, Event::Turn(id, first, Turn::Pulled));
        self.say(id);
    }

    fn stop(&mut self, id: TaskId) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        if !container.stopping && !container.phase.is_final() {
            container.stopping = true;
            container.turns += 1;
            let turns = container.turns;
            let wait = self.chance.span(50, 1_500);
            self.later(wait, Event::Turn(id, turns, Turn::Stopped));
        }
    }

    /// A container makes a turn, unless it has made another since.
    pub(super) fn turn(&mut self, id: TaskId, turns: u64, turn: Turn) {
        let Some(container) = self.containers.get_mut(&id).filter(|c| c.turns == turns) else {
            return;
        };
        if container.phase.is_final() {
            return;
        }
        let service = self.state.service(container.service);
        let policy = service.map_or_else(RestartPolicy::default, |s| s.spec.restart.clone());
        let next = container.turn(turn, &policy, &mut self.chance, self.now);
        let turns = container.turns;
        if let Some((next, wait)) = next {
            self.later(wait, Event::Turn(id, turns, next));
        }
        self.say(id);
    }

    fn say(&mut self, id: TaskId) {
        let Some(node) = self.containers.get(&id).map(|container| container.node) else { return };
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.unsaid.insert(id);
        if machine.session {
            let wait = self.chance.span(5, 40);
            self.later(wait, Event::Report(node));
        }
    }

    /// The leader hears what an agent has to tell.
    pub(super) fn hear(&mut self, node: NodeId) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        if !self.leads || !machine.session {
            return;
        }
        let unsaid = std::mem::take(&mut machine.unsaid);
        let now = self.time();
        let mut edges = Vec::new();
        for id in unsaid {
            let Some(container) = self.containers.get(&id) else { continue };
            let Some(task) = self.state.task(id).filter(|task| task.node == node) else { continue };
            if container.phase > task.phase {
                let end = container.phase.is_final().then(|| End {
                    code: (container.phase == Phase::Failed).then_some(1),
                    out_of_memory: false,
                    message: container.detail.clone(),
                });
                edges.push(TaskEdge { task: id, phase: container.phase, end });
            }
            let before = self.observed.tasks.get(&id);
            let (was_ready, was_unready) =
                (before.and_then(|b| b.ready_since), before.and_then(|b| b.unready_since));
            let is_ready = container.ready && container.phase == Phase::Running;
            let heard = TaskObserved {
                phase: container.phase,
                ready_since: is_ready.then(|| was_ready.unwrap_or(now)),
                unready_since: (!is_ready).then(|| was_unready.unwrap_or(now)),
                unseen: false,
                healthy: None,
                restarts: container.restarts,
                detail: container.detail.clone(),
            };
            if before != Some(&heard) {
                self.readiness += u64::from(was_ready.is_some() != is_ready);
                self.observed.tasks.insert(id, heard);
                self.dirty = true;
            }
        }
        if !edges.is_empty() {
            let _reported = self.apply(Command::ReportTasks { node, edges });
        }
        self.tell_resolvers();
    }

    /// How tasks of a revision behave that start now.
    #[must_use]
    pub fn behaviour(&self, revision: RevisionNumber) -> Behaviour {
        self.behaviours.get(&revision).map(|(how, _)| *how).unwrap_or_default()
    }

    /// How tasks of a revision behave that start from now on.
    pub(super) fn behave(&mut self, revision: RevisionNumber, how: Behaviour, percent: u8) {
        self.behaviours.insert(revision, (how, percent));
    }

    /// Tasks of `revision` that run are as they start from now on: those that fail start behaving so at once.
    pub fn turn_tasks(&mut self, revision: RevisionNumber, how: Behaviour) {
        self.behave(revision, how, 100);
        let of = |container: &&mut Container| {
            container.revision == revision && container.phase == Phase::Running
        };
        let mut turns = Vec::new();
        for container in self.containers.values_mut().filter(of) {
            container.how = how;
            if container.stopping {
                continue;
            }
            let turn = match (how, container.ready) {
                (Behaviour::Crash { .. }, _) => Turn::Ended,
                (Behaviour::Flap { .. } | Behaviour::NeverReady, true) => Turn::Unready,
                (Behaviour::Healthy | Behaviour::Slow { .. }, false) => Turn::Ready,
                (Behaviour::Flap { .. } | Behaviour::NeverReady, false)
                | (Behaviour::Healthy | Behaviour::Slow { .. } | Behaviour::NoImage, true)
                | (Behaviour::NoImage, false) => {
                    // What it was about to do is off.
                    container.turns += 1;
                    continue;
                }
            };
            turns.push((container.task, container.turns, turn));
        }
        for (task, made, turn) in turns {
            let wait = self.chance.between(10, 2_000);
            self.later(Duration::from_millis(wait), Event::Turn(task, made, turn));
        }
    }
}
