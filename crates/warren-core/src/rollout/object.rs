//! The object that a release is, as the managers agree on it.

use super::{Back, Kind, MOMENTS_KEPT, Moment, Outcome, Pause, Phase, Trigger};
use crate::id::{NoticeId, RevisionNumber, RolloutId, Slot};
use crate::service::{Actor, Service};
use crate::spec::{HookPoint, Image, PinnedImage, RoleName, Step, Strategy, UpdateSettings};
use crate::time::{ClusterTime, WallTime};
use crate::units::Weight;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Ended rollouts kept with their service.
pub const ROLLOUTS_KEPT: usize = 20;
/// The longest reason or comment of a person.
pub const REASON_BYTES_MAX: usize = 1024;

/// A pause, with who made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Paused {
    /// Who.
    pub by: Actor,
    /// Since when.
    pub since: ClusterTime,
    /// Why, in words.
    pub reason: String,
}

/// A decision to go back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Abort {
    /// What set it off.
    pub trigger: Trigger,
    /// The same in words.
    pub reason: String,
    /// How.
    pub back: Back,
    /// Who.
    pub by: Actor,
    /// When.
    pub at: ClusterTime,
}

/// One person's word for one step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: Actor,
    /// In which role; absent where any would do.
    pub role: Option<RoleName>,
    /// What they said.
    pub comment: String,
    /// For which step; 0 for the start of the rollout.
    pub step: u32,
    /// When.
    pub at: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub wall: WallTime,
}

/// Hooks that were called at a gate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Called {
    /// Which gate.
    pub on: HookPoint,
    /// The calls without an answer.
    pub pending: BTreeSet<NoticeId>,
    /// Why the first one that failed did.
    pub failed: Option<String>,
}

/// What a person asked of the next moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Haste {
    /// Nothing: every step takes its time.
    #[default]
    None,
    /// This step's hold and its verdict are skipped.
    Step,
    /// All that remain are.
    Full,
}

/// What the tasks of a revision run, for a history that outlives the revision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Runs {
    /// The image.
    pub image: Image,
    /// What its name meant, where that was resolved.
    pub pinned: Option<PinnedImage>,
}

impl Runs {
    /// What tasks of `revision` run; absent where it is not kept.
    pub(crate) fn of(service: &Service, revision: RevisionNumber) -> Option<Self> {
        let template = &service.revisions.get(&revision)?.template;
        Some(Self { image: template.image.clone(), pinned: template.pinned.clone() })
    }
}

/// A move of a service from one revision to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// What it is for.
    pub kind: Kind,
    /// Counts `retry`, from 1.
    pub attempt: u32,
    /// When this attempt began.
    pub attempt_at: ClusterTime,
    /// The stable revision when it started; absent in a first deployment.
    pub from: Option<RevisionNumber>,
    /// The revision that comes in.
    pub to: RevisionNumber,
    /// The settings as they were when it started.
    pub settings: UpdateSettings,
    /// The shape that it has, which is `settings.strategy` but for a straight rollback.
    pub strategy: Strategy,
    /// Its steps, ramps written out. Empty for rolling and recreate.
    pub steps: Vec<Step>,
    /// How far it is; how far it came, once it has ended.
    pub phase: Phase,
    /// When it came there.
    pub since: ClusterTime,
    /// The step it is in, as an index into `steps`.
    pub step: u32,
    /// The share that the new revision is to have in this step.
    pub weight: Weight,
    /// Counts what happened to it: the guard of the moves.
    pub seq: u64,
    /// Eligible time of this hold that is past, in milliseconds.
    pub eligible_ms: u64,
    /// Since when the hold counts; absent while it does not.
    pub eligible_since: Option<ClusterTime>,
    /// The most tasks of the new revision that were available at once in this step.
    pub available: u32,
    /// When something moved last: what the progress deadline counts from.
    pub progress_at: ClusterTime,
    /// Why it stands still.
    pub pauses: BTreeMap<Pause, Paused>,
    /// The slots of the new revision that failed in this attempt, each with how it did first.
    pub failed_slots: BTreeMap<Slot, String>,
    /// Failed slots that a person has resumed after.
    pub tolerated: u32,
    /// Who agreed to what.
    pub approvals: Vec<Approval>,
    /// The hooks of the gate that it is at.
    pub called: Option<Called>,
    /// What a person asked of the next moves.
    pub haste: Haste,
    /// Whether a freeze does not hold it, and why a person said so.
    pub freeze_override: Option<String>,
    /// Why it goes back, once it does.
    pub abort: Option<Abort>,
    /// What the tasks of `from` run.
    pub from_runs: Option<Runs>,
    /// What the tasks of `to` run.
    pub to_runs: Option<Runs>,
    /// Who started it.
    pub by: Actor,
    /// Why, in their words.
    pub cause: String,
    /// When it started.
    pub started: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub started_wall: WallTime,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// What happened to it, oldest first, [`MOMENTS_KEPT`] at most.
    pub timeline: Vec<Moment>,
}

/// The end of a rollout.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// Why, where it did not complete.
    pub reason: String,
    /// When.
    pub at: ClusterTime,
    /// The same on the wall clock of the leader, for people.
    pub wall: WallTime,
}

impl Rollout {
    /// Writes into the timeline.
    pub(crate) fn note(&mut self, moment: Moment) {
        if self.timeline.len() == MOMENTS_KEPT {
            self.timeline.remove(MOMENTS_KEPT / 2);
        }
        self.timeline.push(moment);
    }

    /// Why it goes on in spite of a freeze, in the words of who said so. Ways back are never held and need none.
    #[must_use]
    pub fn overrides_freeze(&self) -> Option<&str> {
        self.freeze_override.as_deref().filter(|_| self.kind != Kind::Rollback)
    }

    /// The step it is in; absent for a strategy without steps.
    #[must_use]
    pub fn current_step(&self) -> Option<&Step> {
        self.steps.get(self.step as usize)
    }

    /// Whether this is its last step, or it has none.
    #[must_use]
    pub fn is_last_step(&self) -> bool {
        self.step as usize + 1 >= self.steps.len()
    }

    /// Whether both revisions are kept beside each other, with shares of the traffic.
    #[must_use]
    pub fn is_beside(&self) -> bool {
        match self.strategy {
            Strategy::Canary | Strategy::BlueGreen => self.from.is_some(),
            Strategy::Rolling | Strategy::Recreate => false,
        }
    }

    /// How long a task must have been ready before it counts. On a way back, which leads to what has proved itself,
    /// ready is enough.
    #[must_use]
    pub fn min_ready(&self) -> Duration {
        if self.phase.is_back() || self.kind == Kind::Rollback {
            Duration::ZERO
        } else {
            self.settings.min_ready
        }
    }

    /// The eligible time of this hold at `now`, in milliseconds.
    #[must_use]
    pub fn eligible_at(&self, now: ClusterTime) -> u64 {
        let running =
            self.eligible_since.map_or(0, |since| now.as_ms().saturating_sub(since.as_ms()));
        self.eligible_ms + running
    }

    /// How it ends where nothing more is to be done, and why; `None` before it goes back or is accepted.
    #[must_use]
    pub fn outcome(&self) -> Option<(Outcome, String)> {
        match &self.abort {
            Some(abort) => Some((Outcome::RolledBack, abort.reason.clone())),
            None => self.phase.is_accepted().then(|| (Outcome::Completed, String::new())),
        }
    }

    /// How far it is, 0 to 100: the share of the new revision for a strategy with steps, else the share of its tasks.
    #[must_use]
    pub fn progress(&self, replicas: u32) -> u32 {
        let share = |part: u32| (part * 100).checked_div(replicas.max(1)).unwrap_or(100).min(100);
        match (&self.end, self.phase) {
            (Some(end), _) if end.outcome == Outcome::Completed => 100,
            (Some(_), _) => 0,
            (None, Phase::Standby | Phase::Finalizing) => 100,
            (None, _) if self.is_beside() => u32::from(self.weight.per_mille()) / 10,
            (None, _) => share(self.available),
        }
    }
}
