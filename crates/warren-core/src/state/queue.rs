//! Updates that wait for the end of the release under way.

use super::services::{applied, busy, service_event, touch};
use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::ServiceChange;
use crate::id::{Generation, RolloutId, ServiceId};
use crate::rollout::{Back, Happened, Moment, Rollout, Trigger};
use crate::service::{Actor, QueuedUpdate, Service};
use crate::spec::{OnUpdate, ServiceSpec};

/// An update as somebody wrote it.
pub(super) struct Update {
    pub(super) spec: ServiceSpec,
    pub(super) by: Actor,
    pub(super) cause: String,
    pub(super) freeze_override: Option<String>,
}

impl State {
    /// An update while a release is under way.
    pub(super) fn update_in_release(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        update: Update,
    ) -> Result<Applied, Rejection> {
        let service = self.service_mut(id)?;
        let stable = service.stable.and_then(|stable| service.revisions.get(&stable));
        let reverts = stable.is_some_and(|stable| stable.hash == update.spec.template.hash());
        if reverts {
            return self.revert(now, id, live, update);
        }
        match update.spec.update.on_update {
            OnUpdate::Reject => Err(busy(
                service,
                live,
                "wait for its end, or take it back with `warren service rollback`",
            )),
            OnUpdate::Replace if !live.phase.is_back() => self.bring_in(now, id, update, None),
            OnUpdate::Replace | OnUpdate::Queue => self.queue(now, id, live, update),
        }
    }

    /// The update asks for the stable revision: the release goes back to it.
    fn revert(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        update: Update,
    ) -> Result<Applied, Rejection> {
        let Update { spec, by, .. } = update;
        self.drop_queued(now, id, &by, "the stable revision was asked for again");
        if !live.phase.is_back() {
            let reason = format!("{by} asked for the stable revision again");
            self.abort(now, id, live, Trigger::Reverted, reason, Back::Immediate, by.clone())?;
            self.edit(id, |rollout| rollout.seq += 1);
        }
        let service = self.service_mut(id)?;
        service.spec = spec;
        touch(service, now, &by);
        Ok(applied(service, true))
    }

    /// Keeps the update for the end of the release under way. The id of its release is taken now, so that whoever waits
    /// for it knows it from others.
    fn queue(
        &mut self,
        now: Now,
        id: ServiceId,
        live: &Rollout,
        update: Update,
    ) -> Result<Applied, Rejection> {
        self.drop_queued(now, id, &update.by, "another update waits in its place");
        let release = RolloutId(self.next_id());
        let service = self.service_mut(id)?;
        let Update { spec, by, cause, freeze_override } = update;
        touch(service, now, &by);
        let base = Box::new(service.spec.clone());
        let (since, behind) = (now.at, live.id);
        let waits =
            QueuedUpdate { id: release, spec, base, by: by.clone(), cause, freeze_override, since };
        service.queued = Some(Box::new(waits));
        let generation = service.generation;
        let event = service_event(service, by, ServiceChange::Queued);
        self.record(now, event);
        Ok(Applied::Queued { id, generation, behind, release })
    }

    /// Begins the update that waited for the end of another.
    pub(super) fn start_queued(
        &mut self,
        now: Now,
        id: ServiceId,
        expect: Generation,
    ) -> Result<Applied, Rejection> {
        let service = self.planned(id, expect)?;
        if service.rollout.as_ref().is_some_and(|live| !live.phase.is_accepted()) {
            return Err(Rejection::Stale("the release under way has not ended".to_owned()));
        }
        let Some(queued) = service.queued.take() else {
            return Err(Rejection::Stale("no update waits".to_owned()));
        };
        let reserved = Some(queued.id);
        let update = Update {
            spec: laid_over(&queued, service),
            by: queued.by,
            cause: queued.cause,
            freeze_override: queued.freeze_override,
        };
        if update.spec.template == service.spec.template {
            service.spec = update.spec;
            touch(service, now, &update.by);
            return Ok(applied(service, true));
        }
        self.bring_in(now, id, update, reserved)
    }

    /// Drops the update that waits, and says so among the events and in the timeline of the release under way. Returns
    /// whose it was.
    pub(super) fn drop_queued(
        &mut self,
        now: Now,
        id: ServiceId,
        by: &Actor,
        why: &str,
    ) -> Option<Actor> {
        let service = self.service_mut(id).ok()?;
        let QueuedUpdate { id: release, by: whose, .. } = *service.queued.take()?;
        let why = why.to_owned();
        let change = ServiceChange::Unqueued { of: whose.clone(), why: why.clone() };
        let event = service_event(service, by.clone(), change);
        self.record(now, event);
        let what = Happened::Unqueued { release, of: whose.clone(), why };
        let moment = Moment { at: now.at, wall: now.wall, by: by.clone(), what };
        self.edit(id, |rollout| rollout.note(moment));
        Some(whose)
    }
}

/// The intent of an update that waited: what it changed, and for the rest what the service has by now. A number of
/// replicas that somebody set meanwhile stays, unless the update sets one itself.
fn laid_over(queued: &QueuedUpdate, service: &Service) -> ServiceSpec {
    let (asked, base, now) = (&queued.spec, &queued.base, &service.spec);
    let spec = ServiceSpec {
        name: asked.name.clone(),
        mode: newest(&asked.mode, &base.mode, &now.mode),
        template: asked.template.clone(),
        placement: newest(&asked.placement, &base.placement, &now.placement),
        restart: newest(&asked.restart, &base.restart, &now.restart),
        update: newest(&asked.update, &base.update, &now.update),
        labels: newest(&asked.labels, &base.labels, &now.labels),
    };
    // Each of two changes was valid; where both together are not, the update stays as it was written.
    let fits = spec.check_strategy().is_ok() && spec.clone().checked().is_ok();
    if fits { spec } else { asked.clone() }
}

fn newest<T: Clone + PartialEq>(asked: &T, base: &T, now: &T) -> T {
    if asked == base { now.clone() } else { asked.clone() }
}
