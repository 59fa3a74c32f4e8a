//! How a release would go: [`Simulation::play`] lets it run in a model of the cluster, from the stable revision at rest
//! to the end of the release, and tells what an operator would see.

mod begin;
mod risk;

pub use risk::Risk;

use super::cluster::Cluster;
use super::fault::Fault;
use crate::command::{Command, Steer};
use crate::event::EventKind;
use crate::id::{LogIndex, RevisionNumber, RolloutId, ServiceId};
use crate::report::WaitReason;
use crate::rollout::{Outcome, Phase, Rollout};
use crate::service::{Actor, Service};
use crate::spec::{ServiceSpec, Strategy};
use crate::task::Desired;
use crate::units::Weight;
use risk::Account;
use std::time::Duration;

/// Scenes that are kept: what a person can read, and twice what a release of 100 steps has.
const SCENES_MAX: usize = 1_000;
/// The most machines of a model: enough for a third of them to go, and a matter of seconds.
pub const NODES_MAX: u32 = 100;
/// The most tasks of a model: every promise is checked over all of them after every entry.
pub const TASKS_MAX: u32 = 500;
/// Entries that a model applies: a release of [`TASKS_MAX`] tasks has fewer than a tenth of them.
const ENTRIES_MAX: u64 = 200_000;
/// How long nothing has to happen, while a person is waited for, until it is clear that nothing will.
const STILL: Duration = Duration::from_secs(3_600);
/// The longest between two looks.
const GLANCE: Duration = Duration::from_secs(1);

/// A release to be played.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// What runs.
    pub stable: ServiceSpec,
    /// What is asked for. Where its tasks would run the same, another version of it is taken.
    pub next: ServiceSpec,
    /// The number of the stable revision, and the highest that there is.
    pub numbers: (RevisionNumber, RevisionNumber),
    /// How many machines there are, 1 to [`NODES_MAX`].
    pub nodes: u32,
    /// Where latencies are drawn from.
    pub seed: u64,
    /// What goes wrong, each in the words of who asked for it. Times count from the update.
    pub faults: Vec<(String, Fault)>,
    /// Whether people agree as soon as they are asked; else nobody does.
    pub approve: bool,
    /// When to give up.
    pub longest: Duration,
}

/// How a release went.
#[derive(Clone, PartialEq, Debug)]
pub struct Course {
    /// The stable revision.
    pub from: RevisionNumber,
    /// The one that came in.
    pub to: RevisionNumber,
    /// The shape.
    pub strategy: Strategy,
    /// Tasks wanted.
    pub replicas: u32,
    /// What happened, oldest first.
    pub scenes: Vec<Scene>,
    /// Scenes that are not kept, because there were too many.
    pub more: u32,
    /// How it ended.
    pub finish: Finish,
    /// How long it took.
    pub lasted: Duration,
    /// What clients would have felt.
    pub risk: Risk,
}

/// One moment of a release.
#[derive(Clone, PartialEq, Debug)]
pub struct Scene {
    /// How long after the update.
    pub after: Duration,
    /// How far the release is; absent once it has ended.
    pub phase: Option<Phase>,
    /// The step, from 1; 0 for a strategy without steps.
    pub step: u32,
    /// How many there are.
    pub steps: u32,
    /// The new revision's share of the traffic.
    pub share: Weight,
    /// Tasks of the stable revision.
    pub old: Tasks,
    /// Tasks of the new one.
    pub new: Tasks,
    /// What happened; empty where only tasks came or went.
    pub what: String,
    /// What the release waits for from here on.
    pub waits: Vec<String>,
}

/// Tasks of one revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tasks {
    /// That get traffic.
    pub ready: u32,
    /// That there are, without those that are leaving.
    pub live: u32,
}

/// How the play ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Finish {
    /// The release ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// Why, where it did not complete.
        reason: String,
    },
    /// It waits for a person.
    Waits(Vec<String>),
    /// It had not ended when the time was up.
    TimeUp(Vec<String>),
    /// It had not ended after as many entries as a model applies.
    TooMuch,
    /// A promise of Warren was broken: a bug.
    Broken(String),
}

impl Simulation {
    /// Plays the release.
    ///
    /// # Errors
    /// The service does not come up in the model, or the update is refused; with the reason.
    pub fn play(&self) -> Result<Course, String> {
        let (mut cluster, service) = self.begin()?;
        for (_, fault) in &self.faults {
            cluster.disturb(fault)?;
        }
        let begun = cluster.elapsed();
        let told = cluster.state().applied();
        let live = self.update(&mut cluster, service)?;
        let replicas = cluster.report_now().services.get(&service).map_or(0, |now| now.desired);
        let mut play = Play {
            simulation: self,
            service,
            rollout: live.id,
            begun,
            told,
            done: 0,
            at_task: None,
            last_scene: begun,
            account: Account::default(),
            course: Course {
                from: live.from.unwrap_or(live.to),
                to: live.to,
                strategy: live.strategy,
                replicas,
                scenes: Vec::new(),
                more: 0,
                finish: Finish::TooMuch,
                lasted: Duration::ZERO,
                risk: Risk::default(),
            },
            cluster,
        };
        play.run();
        Ok(play.course)
    }
}

/// A release that is being played.
struct Play<'a> {
    simulation: &'a Simulation,
    cluster: Cluster,
    service: ServiceId,
    rollout: RolloutId,
    begun: Duration,
    /// The last entry whose events were told.
    told: LogIndex,
    /// Faults that have come and were told.
    done: usize,
    /// The ready tasks of the new revision at the last scene of a phase without steps.
    at_task: Option<u32>,
    last_scene: Duration,
    account: Account,
    course: Course,
}

impl Play<'_> {
    fn run(&mut self) {
        let first = self.cluster.steps();
        let finish = loop {
            self.tell();
            self.agree();
            if let Some(finish) = self.finished() {
                break finish;
            }
            if self.cluster.steps() - first > ENTRIES_MAX {
                break Finish::TooMuch;
            }
            let before = self.cluster.elapsed();
            let now = self.account.of(&self.cluster, self.course.to);
            self.cluster.advance_to_next(GLANCE);
            self.account.add(now, self.cluster.elapsed() - before);
        };
        // The time in which nothing happened any more is not the release's.
        self.course.lasted = match finish {
            Finish::Waits(_) => self.last_scene - self.begun,
            Finish::Ended { .. } | Finish::TimeUp(_) | Finish::TooMuch | Finish::Broken(_) => {
                self.after()
            }
        };
        self.course.finish = finish;
        self.course.risk = self.account.risk();
    }

    fn after(&self) -> Duration {
        self.cluster.elapsed() - self.begun
    }

    /// People agree to what they are asked for.
    fn agree(&mut self) {
        let Some(live) = self.live().filter(|_| self.simulation.approve) else { return };
        let asked = matches!(live.phase, Phase::Preparing | Phase::Gating);
        let Some((_, rule)) = live.approval_wanted().filter(|_| asked) else { return };
        let roles = rule.roles.clone();
        let by = Actor::named(format!("approver-{}", live.approvals.len() + 1));
        let comment = String::new();
        let steer = Steer::Approve { roles, comment, step: None };
        let _agreed =
            self.cluster.request(Command::SteerRollout { service: self.service, steer, by });
    }

    fn service(&self) -> Option<&Service> {
        self.cluster.state().service(self.service).map(AsRef::as_ref)
    }

    fn live(&self) -> Option<&Rollout> {
        let live = self.service().and_then(|service| service.rollout.as_deref());
        live.filter(|live| live.id == self.rollout)
    }

    fn finished(&self) -> Option<Finish> {
        if let Some(broken) = self.cluster.broken() {
            return Some(Finish::Broken(broken.to_string()));
        }
        if self.live().is_none() {
            let past = self.service()?.past.iter().find(|past| past.id == self.rollout)?;
            let end = past.end.as_ref()?;
            let (outcome, reason) = (end.outcome, end.reason.clone());
            return Some(Finish::Ended { outcome, reason });
        }
        if self.after() >= self.simulation.longest {
            return Some(Finish::TimeUp(self.waits()));
        }
        let still = self.cluster.elapsed() - self.last_scene >= STILL;
        let nothing_comes = self.simulation.faults.iter().all(|(_, f)| f.at() <= self.after());
        (still && nothing_comes && self.needs_a_person()).then(|| Finish::Waits(self.waits()))
    }

    fn needs_a_person(&self) -> bool {
        self.live().is_some_and(|live| {
            let asked = matches!(live.phase, Phase::Preparing | Phase::Gating);
            let refused = asked && live.approval_wanted().is_some();
            !live.pauses.is_empty() || live.phase == Phase::RollbackStalled || refused
        })
    }

    fn waits(&self) -> Vec<String> {
        let report = self.cluster.report_now();
        let waits = report.services.get(&self.service).map(|report| &report.waits);
        let of_release = |reason: &WaitReason| match reason {
            WaitReason::Release(wait) => Some(wait.to_string()),
            WaitReason::NoNode { .. }
            | WaitReason::BackOff { .. }
            | WaitReason::Starting { .. }
            | WaitReason::CutOff { .. }
            | WaitReason::NotReady { .. }
            | WaitReason::MinReady { .. }
            | WaitReason::Replacing { .. }
            | WaitReason::Listening
            | WaitReason::Queued { .. }
            | WaitReason::Draining { .. }
            | WaitReason::Stopping { .. }
            | WaitReason::Held { .. } => None,
        };
        waits.into_iter().flatten().filter_map(|wait| of_release(&wait.reason)).collect()
    }

    /// Makes scenes of what happened since the last look.
    fn tell(&mut self) {
        let after = self.after();
        let mut news = Vec::new();
        let faults = &self.simulation.faults;
        let mut come: Vec<_> = faults.iter().filter(|(_, f)| f.at() <= after).collect();
        come.sort_by_key(|(_, fault)| fault.at());
        news.extend(come.iter().skip(self.done).map(|(text, _)| format!("fault: {text}")));
        self.done = come.len();
        for event in self.cluster.state().events().filter(|event| event.index > self.told) {
            match &event.kind {
                EventKind::Rollout { id, what, by, .. } if *id == self.rollout => {
                    let by = if by.name.starts_with("approver") { " (as assumed)" } else { "" };
                    news.push(format!("{what}{by}"));
                }
                EventKind::Node { .. } => news.push(event.kind.to_string()),
                EventKind::ClusterCreated
                | EventKind::EpochBegan { .. }
                | EventKind::LevelRaised { .. }
                | EventKind::Service { .. }
                | EventKind::Task { .. }
                | EventKind::Rollout { .. }
                | EventKind::Freeze { .. }
                | EventKind::File { .. } => {}
            }
        }
        self.told = self.cluster.state().applied();
        let scene = self.scene();
        let batch = matches!(scene.phase, Some(Phase::Updating | Phase::RollingBack))
            && self.at_task.is_some_and(|ready| ready != scene.new.ready);
        if news.is_empty() && batch {
            news.push(String::new());
        }
        if news.is_empty() {
            return;
        }
        self.at_task = Some(scene.new.ready);
        self.last_scene = self.cluster.elapsed();
        // What is waited for stands with the last of what came at once.
        let waits = self.waits();
        let last = news.len() - 1;
        for (index, what) in news.into_iter().enumerate() {
            let waits = if index == last { waits.clone() } else { Vec::new() };
            self.keep(Scene { what, waits, ..scene.clone() });
        }
    }

    fn keep(&mut self, scene: Scene) {
        if self.course.scenes.len() < SCENES_MAX {
            self.course.scenes.push(scene);
        } else {
            self.course.more += 1;
        }
    }

    fn scene(&self) -> Scene {
        let live = self.live();
        let (old, new) = (self.tasks(self.course.from), self.tasks(self.course.to));
        let split = self.service().and_then(|service| service.split.weight_of(self.course.to));
        let equal = || match old.ready + new.ready {
            0 => Weight::ZERO,
            all => Weight::carried_by(new.ready, all),
        };
        let steps = live.map_or(0, |live| live.steps.len());
        Scene {
            after: self.after(),
            phase: live.map(|live| live.phase),
            step: live.filter(|_| steps > 0).map_or(0, |live| live.step + 1),
            steps: u32::try_from(steps).unwrap_or(u32::MAX),
            share: split.unwrap_or_else(equal),
            old,
            new,
            what: String::new(),
            waits: Vec::new(),
        }
    }

    fn tasks(&self, revision: RevisionNumber) -> Tasks {
        let mut count = Tasks::default();
        for task in self.cluster.state().tasks_of(self.service) {
            if task.revision == revision && task.is_live() {
                count.live += u32::from(task.desired == Desired::Run);
                let ready = task.serves() && self.cluster.observed().is_ready(task.id);
                count.ready += u32::from(ready);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests;
