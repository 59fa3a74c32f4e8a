//! How services change.

use super::queue::Update;
use super::rollouts::Begin;
use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::{EventKind, ServiceChange};
use crate::id::{Generation, RevisionNumber, RolloutId, ServiceId};
use crate::rollout::{Kind, Outcome, Rollout};
use crate::service::{Actor, REVISIONS_KEPT, Revision, Service, Split};
use crate::spec::{LABELS_MAX, Mode, REPLICAS_MAX, SERVICES_MAX, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl State {
    pub(super) fn create_service(
        &mut self,
        now: Now,
        mut spec: ServiceSpec,
        by: Actor,
    ) -> Result<Applied, Rejection> {
        if let Some(existing) = self.service_named(&spec.name) {
            return Err(if existing.deleting {
                Rejection::Deleting(spec.name)
            } else {
                Rejection::NameTaken { name: spec.name, id: existing.id }
            });
        }
        if self.stored.services.len() >= SERVICES_MAX {
            return Err(too_many("services", self.stored.services.len() + 1, SERVICES_MAX));
        }
        spec.check_strategy()?;
        self.pin_files(&mut spec.template)?;
        debug_assert!(spec.labels.len() <= LABELS_MAX, "checked where the spec was parsed");
        let id = ServiceId(self.next_id());
        let number = RevisionNumber(1);
        let first = revision(number, &spec, now, by.clone(), String::new());
        let service = Service {
            id,
            generation: Generation(1),
            changed_by: by.clone(),
            revisions: BTreeMap::from([(number, first)]),
            current: number,
            stable: None,
            accepted: Vec::new(),
            rollout: None,
            past: Vec::new(),
            queued: None,
            frozen: None,
            round: 0,
            deleting: false,
            failures: BTreeMap::new(),
            split: Split::default(),
            moves: BTreeMap::new(),
            created: now.at,
            created_wall: now.wall,
            changed: now.at,
            spec,
        };
        self.names.insert(service.spec.name.clone(), id);
        self.stored.traffic_epoch += 1;
        self.record(now, service_event(&service, by, ServiceChange::Created));
        let applied = applied(&service, true);
        let begin = Begin {
            reserved: None,
            kind: Kind::Deploy,
            to: number,
            settings: service.spec.update.clone(),
            strategy: service.spec.update.strategy,
            by: service.changed_by.clone(),
            cause: String::new(),
            freeze_override: None,
        };
        self.stored.services.insert(id, Arc::new(service));
        self.begin_rollout(now, id, begin);
        Ok(applied)
    }

    pub(super) fn update_service(
        &mut self,
        now: Now,
        id: ServiceId,
        expect: Generation,
        mut update: Update,
    ) -> Result<Applied, Rejection> {
        self.writable(id, Some(expect))?;
        self.pin_files(&mut update.spec.template)?;
        let service = self.writable(id, Some(expect))?;
        if update.spec.name != service.spec.name {
            return Err(Rejection::NameFixed(service.spec.name.clone()));
        }
        if update.spec == service.spec {
            return Ok(applied(service, false));
        }
        update.spec.check_strategy()?;
        if update.spec.template == service.spec.template {
            service.spec = update.spec;
            touch(service, now, &update.by);
            let change = ServiceChange::Updated(service.current);
            let event = service_event(service, update.by, change);
            let applied = applied(service, true);
            self.record(now, event);
            return Ok(applied);
        }
        update.spec.check_replacing()?;
        let live = service.rollout.clone().filter(|live| !live.phase.is_accepted());
        match live.filter(|live| live.from.is_some()) {
            Some(live) => self.update_in_release(now, id, &live, update),
            None => self.bring_in(now, id, update, None),
        }
    }

    /// Makes the update's revision, or finds it, and begins its release; as `reserved`, where it has waited.
    pub(super) fn bring_in(
        &mut self,
        now: Now,
        id: ServiceId,
        update: Update,
        reserved: Option<RolloutId>,
    ) -> Result<Applied, Rejection> {
        self.drop_queued(now, id, &update.by, "another update took its place");
        let in_use: BTreeSet<_> = self.tasks_of(id).map(|task| task.revision).collect();
        let service = self.service_mut(id)?;
        let Update { spec, by, cause, freeze_override } = update;
        let hash = spec.template.hash();
        let known = service.revisions.values().find(|revision| revision.hash == hash);
        let number = known.map_or_else(|| RevisionNumber(last_number(service) + 1), |r| r.number);
        if known.is_none() {
            let made = revision(number, &spec, now, by.clone(), cause.clone());
            service.revisions.insert(number, made);
        }
        service.failures.clear();
        service.spec = spec;
        touch(service, now, &by);
        let begin = Begin {
            reserved,
            kind: if service.stable.is_some() { Kind::Update } else { Kind::Deploy },
            to: number,
            settings: service.spec.update.clone(),
            strategy: service.spec.update.strategy,
            by: by.clone(),
            cause,
            freeze_override,
        };
        let event = service_event(service, by, ServiceChange::Updated(number));
        self.record(now, event);
        self.begin_rollout(now, id, begin);
        let service = self.service_mut(id)?;
        prune_revisions(service, &in_use);
        Ok(applied(service, true))
    }

    pub(super) fn scale_service(
        &mut self,
        now: Now,
        id: ServiceId,
        expect: Option<Generation>,
        replicas: u32,
        by: Actor,
    ) -> Result<Applied, Rejection> {
        let service = self.writable(id, expect)?;
        let Mode::Replicated { replicas: from } = service.spec.mode else {
            return Err(Rejection::NotScalable(service.spec.name.clone()));
        };
        if replicas > REPLICAS_MAX {
            return Err(Rejection::TooMany {
                what: "replicas".to_owned(),
                count: u64::from(replicas),
                max: u64::from(REPLICAS_MAX),
            });
        }
        if from == replicas {
            return Ok(applied(service, false));
        }
        service.spec.mode = Mode::Replicated { replicas };
        service.failures.retain(|(_, slot), _| slot.0 <= replicas);
        touch(service, now, &by);
        let event = service_event(service, by, ServiceChange::Scaled { from, to: replicas });
        let applied = applied(service, true);
        self.record(now, event);
        Ok(applied)
    }

    pub(super) fn restart_service(
        &mut self,
        now: Now,
        id: ServiceId,
        by: Actor,
    ) -> Result<Applied, Rejection> {
        let service = self.writable(id, None)?;
        if let Some(live) = service.rollout.clone().filter(|live| live.from.is_some()) {
            return Err(busy(service, &live, "wait for its end, then restart"));
        }
        service.round += 1;
        service.failures.clear();
        touch(service, now, &by);
        let event = service_event(service, by, ServiceChange::Restarted);
        let applied = applied(service, true);
        self.record(now, event);
        Ok(applied)
    }

    pub(super) fn delete_service(
        &mut self,
        now: Now,
        id: ServiceId,
        by: Actor,
    ) -> Result<Applied, Rejection> {
        let service = self.service_mut(id)?;
        if service.deleting {
            return Ok(applied(service, false));
        }
        self.drop_queued(now, id, &by, "the service is being deleted");
        self.end_rollout(
            now,
            id,
            Outcome::Cancelled,
            "the service is being deleted".to_owned(),
            &by,
        );
        let service = self.service_mut(id)?;
        service.deleting = true;
        touch(service, now, &by);
        let event = service_event(service, by, ServiceChange::Deleted);
        let applied = applied(service, true);
        self.stored.traffic_epoch += 1;
        self.record(now, event);
        Ok(applied)
    }

    pub(super) fn accept_revision(
        &mut self,
        now: Now,
        id: ServiceId,
        expect: Generation,
        number: RevisionNumber,
    ) -> Result<Applied, Rejection> {
        let service = self.planned(id, expect)?;
        if service.current != number {
            return Err(Rejection::Stale(format!("{} is not current", number)));
        }
        if service.stable == Some(number) {
            return Ok(applied(service, false));
        }
        if service.rollout.is_some() {
            return Err(Rejection::Stale("a release is under way".to_owned()));
        }
        service.accept(number, Kind::Deploy, now.at);
        let by = service.changed_by.clone();
        let event = service_event(service, by, ServiceChange::Accepted(number));
        let applied = applied(service, true);
        self.record(now, event);
        Ok(applied)
    }

    pub(super) fn forget_service(&mut self, now: Now, id: ServiceId) -> Result<Applied, Rejection> {
        let service = self.service(id).ok_or(Rejection::NoService(id))?;
        if !service.deleting || self.tasks_of(id).any(|task| task.is_live()) {
            return Err(Rejection::Stale("the service still has tasks".to_owned()));
        }
        let event = service_event(service, service.changed_by.clone(), ServiceChange::Removed);
        self.names.remove(&service.spec.name.clone());
        let tasks: Vec<_> = self.tasks_of(id).map(|task| task.id).collect();
        for task in tasks {
            self.drop_task(task);
        }
        self.stored.services.remove(&id);
        self.stored.traffic_epoch += 1;
        self.record(now, event);
        Ok(Applied::Done)
    }

    pub(super) fn service_mut(&mut self, id: ServiceId) -> Result<&mut Service, Rejection> {
        let service = self.stored.services.get_mut(&id);
        service.map(Arc::make_mut).ok_or(Rejection::NoService(id))
    }

    /// The service, for a writer who read generation `expect` (a user).
    pub(super) fn writable(
        &mut self,
        id: ServiceId,
        expect: Option<Generation>,
    ) -> Result<&mut Service, Rejection> {
        let service = self.service_mut(id)?;
        if service.deleting {
            return Err(Rejection::Deleting(service.spec.name.clone()));
        }
        match expect {
            Some(expected) if expected != service.generation => Err(Rejection::Conflict {
                name: service.spec.name.clone(),
                expected,
                found: service.generation,
                by: service.changed_by.clone(),
            }),
            Some(_) | None => Ok(service),
        }
    }

    /// The service, for a plan that was made at generation `expect`.
    pub(super) fn planned(
        &mut self,
        id: ServiceId,
        expect: Generation,
    ) -> Result<&mut Service, Rejection> {
        let service = self.service_mut(id)?;
        if service.generation != expect {
            let found = service.generation;
            return Err(Rejection::Stale(format!("{id} is at generation {found}, not {expect}")));
        }
        Ok(service)
    }
}

pub(super) fn touch(service: &mut Service, now: Now, by: &Actor) {
    service.generation.0 += 1;
    service.changed_by = by.clone();
    service.changed = now.at;
}

fn last_number(service: &Service) -> u32 {
    service.revisions.keys().next_back().map_or(0, |number| number.0)
}

fn revision(
    number: RevisionNumber,
    spec: &ServiceSpec,
    now: Now,
    by: Actor,
    cause: String,
) -> Arc<Revision> {
    Arc::new(Revision {
        number,
        hash: spec.template.hash(),
        template: spec.template.clone(),
        created: now.at,
        created_wall: now.wall,
        by,
        cause,
        last_good: None,
    })
}

/// Keeps the newest [`REVISIONS_KEPT`], and beyond them what tasks run and what is current or stable.
fn prune_revisions(service: &mut Service, in_use: &BTreeSet<RevisionNumber>) {
    let surplus = service.revisions.len().saturating_sub(REVISIONS_KEPT);
    let (current, stable) = (service.current, service.stable);
    let live = service.rollout.as_ref().map(|live| (live.from, live.to));
    let moving = |number| live.is_some_and(|(from, to)| from == Some(number) || to == number);
    let old: Vec<_> = service.revisions.keys().copied().take(surplus).collect();
    for number in old {
        let held = moving(number) || number == current || Some(number) == stable;
        if !held && !in_use.contains(&number) {
            service.revisions.remove(&number);
            service.accepted.retain(|accepted| *accepted != number);
        }
    }
}

pub(super) fn applied(service: &Service, changed: bool) -> Applied {
    Applied::Service {
        id: service.id,
        generation: service.generation,
        revision: service.current,
        changed,
    }
}

pub(super) fn service_event(service: &Service, by: Actor, change: ServiceChange) -> EventKind {
    EventKind::Service { id: service.id, name: service.spec.name.clone(), by, change }
}

pub(super) fn busy(service: &Service, live: &Rollout, instead: &str) -> Rejection {
    Rejection::Busy {
        name: service.spec.name.clone(),
        rollout: live.id,
        from: live.from.map_or_else(|| "nothing".to_owned(), |from| from.to_string()),
        to: live.to,
        phase: live.phase,
        by: Box::new(live.by.clone()),
        instead: instead.to_owned(),
    }
}

fn too_many(what: &str, count: usize, max: usize) -> Rejection {
    Rejection::TooMany { what: what.to_owned(), count: count as u64, max: max as u64 }
}
