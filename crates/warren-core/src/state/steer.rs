//! What people do with releases.

use super::rollouts::Begin;
use super::services::touch;
use super::{Now, State};
use crate::command::{Applied, Rejection, Steer};
use crate::id::{RevisionNumber, ServiceId};
use crate::rollout::{Approval, Happened, Haste, Pause, Phase, Promotion, Rollout};
use crate::service::{Actor, Service};
use crate::spec::RoleName;
use crate::units::Weight;

impl State {
    pub(super) fn steer(
        &mut self,
        now: Now,
        id: ServiceId,
        steer: Steer,
        by: Actor,
    ) -> Result<Applied, Rejection> {
        let service = self.writable(id, None)?;
        let Some(live) = service.rollout.clone() else {
            return self.steer_the_ended(now, id, &steer, by);
        };
        match steer {
            Steer::Pause { reason } => {
                if live.phase.is_back() {
                    return Err(not_now(&live, "a rollback is never held"));
                }
                self.pause(now, id, Pause::User, reason, by.clone());
            }
            Steer::Resume => self.resume(now, id, &live, &by)?,
            Steer::Promote(how) => self.promote(now, id, &live, how, &by)?,
            Steer::Retry => {
                if live.phase.is_back() {
                    let why = "it goes back: once it has, `service update` begins another attempt";
                    return Err(not_now(&live, why));
                }
                self.retry(now, id, &by);
            }
            Steer::Approve { roles, comment, step } => {
                expect_step(&live, step)?;
                self.approve(now, id, &live, &roles, comment, &by)?;
            }
        }
        self.edit(id, |rollout| rollout.seq += 1);
        touch(self.service_mut(id)?, now, &by);
        self.rollout_applied(id)
    }

    /// There is no release under way; a failed one may be tried again.
    fn steer_the_ended(
        &mut self,
        now: Now,
        id: ServiceId,
        steer: &Steer,
        by: Actor,
    ) -> Result<Applied, Rejection> {
        let service = self.service_mut(id)?;
        let last = service.past.last().cloned();
        let failed = last.as_ref().filter(|last| service.stable != Some(last.to));
        let (Steer::Retry, Some(failed)) = (steer, failed) else {
            return Err(Rejection::NoRollout {
                name: service.spec.name.clone(),
                last: last.as_deref().map(last_words).unwrap_or_default(),
                instead: "begin one with `warren service update`".to_owned(),
            });
        };
        if !service.revisions.contains_key(&failed.to) {
            return Err(pruned(service, failed.to));
        }
        if let Some(queued) = &service.queued {
            let why = format!("an update by {} begins now, release {}", queued.by, queued.id);
            return Err(Rejection::NotNow(why));
        }
        service.failures.retain(|(revision, _), _| *revision != failed.to);
        let begin = Begin {
            reserved: None,
            kind: failed.kind,
            to: failed.to,
            settings: service.spec.update.clone(),
            strategy: service.spec.update.strategy,
            by: by.clone(),
            cause: format!("another attempt after {}", failed.id),
            freeze_override: None,
        };
        touch(service, now, &by);
        self.begin_rollout(now, id, begin);
        self.rollout_applied(id)
    }

    pub(super) fn rollout_applied(&self, id: ServiceId) -> Result<Applied, Rejection> {
        let service = self.service(id).ok_or(Rejection::NoService(id))?;
        let live = service.rollout.as_ref().or_else(|| service.past.last());
        Ok(match live {
            Some(live) => {
                let (rollout, generation) = (live.id, service.generation);
                Applied::Rollout { id: rollout, service: id, generation, dropped: None }
            }
            None => Applied::Done,
        })
    }

    fn resume(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        by: &Actor,
    ) -> Result<(), Rejection> {
        if live.pauses.is_empty() {
            let why = "it is not paused: see what it waits for with `warren rollout status`";
            return Err(not_now(live, why));
        }
        self.edit(id, |rollout| {
            if rollout.pauses.contains_key(&Pause::FailureAction) {
                rollout.tolerated = u32::try_from(rollout.failed_slots.len()).unwrap_or(u32::MAX);
                rollout.called = None;
            }
            rollout.pauses.clear();
            rollout.progress_at = now.at;
        });
        self.happened(now, id, by.clone(), Happened::Resumed);
        Ok(())
    }

    fn promote(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        how: Promotion,
        by: &Actor,
    ) -> Result<(), Rejection> {
        if let Some(freeze) = self.freeze_of(id).filter(|_| live.freeze_override.is_none()) {
            let (by, reason) = (freeze.by.clone(), freeze.reason.clone());
            let own = self.service(id).filter(|service| service.frozen.is_some());
            let service = own.map(|service| service.spec.name.clone());
            return Err(Rejection::Frozen { service, by, reason });
        }
        check_promotable(live)?;
        match how {
            Promotion::Next => self.edit(id, |rollout| rollout.haste = Haste::Step),
            Promotion::Full => self.edit(id, |rollout| rollout.haste = Haste::Full),
            Promotion::To(weight) => self.promote_to(now, id, live, weight)?,
        }
        self.happened(now, id, by.clone(), Happened::Promoted { how });
        Ok(())
    }

    /// To a share between the steps: the step is the last one that asks for no more.
    fn promote_to(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        weight: Weight,
    ) -> Result<(), Rejection> {
        if !live.is_beside() {
            let why = "a rolling update has no shares: it gives each new task an equal part";
            return Err(not_now(live, why));
        }
        if weight <= live.weight {
            let share = self.service(id).and_then(|service| service.split.weight_of(live.to));
            let there = share.is_some_and(|share| share >= live.weight);
            let weight = live.weight;
            let stands = if there {
                format!("it has {weight} already")
            } else {
                format!("it is on its way to {weight}, once enough tasks are ready")
            };
            let why =
                format!("{stands}: name a larger share, or go back with `warren service rollback`");
            return Err(not_now(live, &why));
        }
        let reached = live.steps.iter().rposition(|step| step.weight.is_some_and(|w| w <= weight));
        let step = reached.and_then(|at| u32::try_from(at).ok()).unwrap_or(0).max(live.step);
        let full = weight == Weight::FULL;
        self.edit(id, |rollout| {
            rollout.step = step;
            rollout.weight = weight;
            rollout.available = 0;
            rollout.haste = Haste::None;
        });
        self.enter(now, id, if full { Phase::Promoting } else { Phase::Scaling });
        Ok(())
    }

    fn retry(&mut self, now: Now, id: ServiceId, by: &Actor) {
        let mut attempt = 0;
        if let Ok(service) = self.service_mut(id) {
            let to = service.current;
            service.failures.retain(|(revision, _), _| *revision != to);
        }
        self.edit(id, |rollout| {
            rollout.attempt += 1;
            attempt = rollout.attempt;
            rollout.attempt_at = now.at;
            rollout.progress_at = now.at;
            rollout.failed_slots.clear();
            rollout.tolerated = 0;
            rollout.pauses.clear();
            rollout.called = None;
            rollout.available = 0;
            rollout.eligible_ms = 0;
            rollout.eligible_since = None;
            rollout.haste = Haste::None;
        });
        self.happened(now, id, by.clone(), Happened::Retried { attempt });
    }

    fn approve(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        roles: &[RoleName],
        comment: String,
        by: &Actor,
    ) -> Result<(), Rejection> {
        let Some((step, rule)) = live.approval_wanted() else {
            return Err(not_now(live, "nothing in it waits for an approval"));
        };
        let role = rule.roles.iter().find(|role| roles.contains(role)).cloned();
        if !rule.roles.is_empty() && role.is_none() {
            let names: Vec<_> = rule.roles.iter().map(ToString::to_string).collect();
            return Err(Rejection::NotYours { by: by.clone(), roles: names.join(" or ") });
        }
        if live.approvals.iter().any(|given| given.step == step && given.by == *by) {
            return Err(not_now(
                live,
                &format!("{by} has approved it already: it waits for others"),
            ));
        }
        let approval = Approval {
            by: by.clone(),
            role: role.clone(),
            comment: comment.clone(),
            step,
            at: now.at,
            wall: now.wall,
        };
        self.edit(id, |rollout| {
            rollout.approvals.push(approval);
            rollout.progress_at = now.at;
        });
        self.happened(now, id, by.clone(), Happened::Approved { role, comment });
        Ok(())
    }
}

fn check_promotable(live: &Rollout) -> Result<(), Rejection> {
    match live.phase {
        Phase::Queued | Phase::Preparing => Err(not_now(
            live,
            "it has not begun: see what it waits for with `warren rollout status`",
        )),
        Phase::Updating => Err(not_now(
            live,
            "a rolling update has no steps to skip; see what it waits for with `warren rollout status`",
        )),
        Phase::RollingBack | Phase::RollbackStalled => {
            Err(not_now(live, "it goes back, and a rollback is never turned round"))
        }
        Phase::Finalizing => Err(not_now(live, "it is done: only old tasks are left to stop")),
        Phase::Scaling
        | Phase::Promoting
        | Phase::Shifting
        | Phase::Holding
        | Phase::Gating
        | Phase::Monitoring
        | Phase::Standby => Ok(()),
    }
}

/// Refuses an approval of another step than the one that waits. Where none waits, the approval itself is refused.
fn expect_step(live: &Rollout, expected: Option<u32>) -> Result<(), Rejection> {
    let (Some(expected), Some((step, _))) = (expected, live.approval_wanted()) else {
        return Ok(());
    };
    if expected == step {
        return Ok(());
    }
    let words = |step| if step == 0 { "the start".to_owned() } else { format!("step {step}") };
    let (now, meant) = (words(step), words(expected));
    let why = format!("{now} waits for approval now, not {meant}: look at it, then approve it");
    Err(not_now(live, &why))
}

pub(super) fn not_now(live: &Rollout, why: &str) -> Rejection {
    Rejection::NotNow(format!("release {} is {}: {why}", live.id, live.phase))
}

fn last_words(last: &Rollout) -> String {
    let end = last.end.as_ref().map(|end| end.outcome.to_string()).unwrap_or_default();
    format!(" (the last, {} to {}, is {end})", last.id, last.to)
}

pub(super) fn pruned(service: &Service, to: RevisionNumber) -> Rejection {
    let kept: Vec<_> = service.revisions.keys().map(ToString::to_string).collect();
    let name = &service.spec.name;
    Rejection::NothingBefore(format!(
        "service {name} has no {to}, or no longer: kept are {}",
        kept.join(", ")
    ))
}
