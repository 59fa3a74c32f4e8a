//! Forecasts of a service with one stable revision.

use super::*;
use crate::command::Command;
use crate::id::ServiceId;
use crate::rollout::Move;
use crate::service::Actor;
use crate::spec::{ApprovalRule, Hook, HookUrl, PinnedImage, Port, Protocol, Quantity, profile};
use crate::spec::{FailureAction, ProfileName};
use crate::state::tests::Feed;
use std::sync::Arc;

struct Scene {
    feed: Feed,
    id: ServiceId,
}

impl Scene {
    /// A service of four tasks whose first revision is stable.
    fn stable() -> Self {
        let mut scene = Self::first();
        scene.go(Move::Accept);
        scene.go(Move::Finish);
        scene
    }

    fn first() -> Self {
        let mut feed = Feed::cluster();
        let id = feed.create("web", 4);
        Self { feed, id }
    }

    fn service(&self) -> Arc<Service> {
        Arc::clone(self.feed.state.service(self.id).unwrap())
    }

    fn go(&mut self, to: Move) {
        let live = self.service().rollout.clone().unwrap();
        let (service, rollout, seq) = (self.id, live.id, live.seq);
        self.feed.apply(Command::MoveRollout { service, rollout, seq, to }).unwrap();
    }

    /// The intent with another image and what `change` makes of it.
    fn next(&self, image: &str, change: impl FnOnce(&mut ServiceSpec)) -> ServiceSpec {
        let mut spec = self.service().spec.clone();
        spec.template.image = image.parse().unwrap();
        spec.template.pinned = Some(PinnedImage(format!("sha256:{image}")));
        change(&mut spec);
        spec
    }

    fn update(&mut self, spec: ServiceSpec) {
        let expect = self.service().generation;
        self.feed
            .apply(Command::UpdateService {
                service: self.id,
                expect,
                spec: Box::new(spec),
                by: Actor::named("alice".to_owned()),
                cause: String::new(),
                freeze_override: None,
            })
            .unwrap();
    }

    fn forecast(&self, spec: &ServiceSpec) -> Forecast {
        forecast(&self.feed.state, &self.service(), spec, false).unwrap()
    }
}

fn texts(forecast: &Forecast) -> Vec<&str> {
    forecast.steps.iter().map(|step| step.text.as_str()).collect()
}

#[test]
fn a_rolling_update_takes_its_batches_and_their_readiness() {
    let scene = Scene::stable();
    let spec = scene.next("web:v2", |spec| {
        spec.update.parallelism = 2;
        spec.update.max_surge = Quantity::Percent(50);
        spec.update.delay = Duration::from_secs(30);
        spec.update.max_failure_percent = 25;
    });
    let seen = scene.forecast(&spec);
    assert!(seen.changes);
    assert_eq!((seen.from, seen.to), (Some(RevisionNumber(1)), None));
    assert_eq!(
        texts(&seen),
        [
            "4 tasks of v2 replace those of v1, 2 at a time, new before old, each ready for 10 s before it counts, \
             30 s between batches",
            "v2 becomes the stable revision"
        ]
    );
    assert_eq!(seen.at_least(), Duration::from_secs(2 * 10 + 30));
    assert_eq!((seen.tasks_max, seen.replicas), (6, 4));
    assert_eq!(
        seen.triggers,
        [
            "more than 1 of 4 tasks of v2 end, or are not ready within 5 min",
            "nothing moves for 10 min while tasks are waited for",
            "a person: warren service rollback web"
        ]
    );
    assert!(seen.notes.is_empty(), "{:?}", seen.notes);
}

// req: B10
#[test]
fn a_canary_shows_each_step_with_its_tasks_and_gates() {
    let scene = Scene::stable();
    let spec = scene.next("web:v2", |spec| {
        let url = HookUrl::parse("http://gate/ok").unwrap();
        let hooks = vec![Hook::new(HookPoint::PrePromote, url)];
        let approve = Some(ApprovalRule { roles: Vec::new(), min: 2 });
        spec.update = UpdateSettings { strategy: Strategy::Canary, hooks, ..spec.update.clone() };
        spec.update.steps = UpdateSettings::default_steps(Duration::from_secs(90));
        spec.update.steps[2].approve = approve;
    });
    let seen = scene.forecast(&spec);
    assert_eq!(
        texts(&seen),
        [
            "step 1 of 4: 1 task of v2, 10% of the traffic, kept for 1 min 30 s",
            "step 2 of 4: 1 task of v2, 25% of the traffic, kept for 1 min 30 s",
            "step 3 of 4: 2 tasks of v2, 50% of the traffic, kept for 1 min 30 s, then 2 approvals",
            "ask 1 hook at pre_promote: each must answer 2xx",
            "step 4 of 4: 4 tasks of v2, 100% of the traffic, kept for 1 min 30 s",
            "v2 becomes the stable revision",
            "v1 is kept without traffic for 30 s, then its tasks stop",
        ]
    );
    assert_eq!(seen.at_least(), Duration::from_secs(4 * 90 + 3 * 10 + 30));
    assert_eq!(seen.tasks_max, 8);
    let hook = "a hook at pre_promote answers other than 2xx, or not at all";
    assert!(seen.triggers.contains(&hook.to_owned()), "{:?}", seen.triggers);
}

#[test]
fn blue_green_and_recreate_say_what_they_cost() {
    let scene = Scene::stable();
    let strategy = |strategy| scene.next("web:v2", |spec| spec.update.strategy = strategy);
    let blue = scene.forecast(&strategy(Strategy::BlueGreen));
    assert_eq!(
        texts(&blue),
        [
            "step 1 of 2: 4 tasks of v2, without traffic",
            "step 2 of 2: 4 tasks of v2, 100% of the traffic, kept for 5 min",
            "v2 becomes the stable revision",
            "v1 stays at full size, one switch away, for 5 min, then its tasks stop",
        ]
    );
    assert_eq!((blue.at_least(), blue.tasks_max), (Duration::from_secs(610), 8));
    let recreate = scene.forecast(&strategy(Strategy::Recreate));
    assert_eq!(recreate.tasks_max, 4);
    let downtime = "downtime: nothing serves from the stop of v1 until v2 is ready";
    assert_eq!(recreate.notes, [downtime]);
}

#[test]
fn what_changes_nothing_says_so() {
    let scene = Scene::stable();
    let same = scene.service().spec.clone();
    let seen = scene.forecast(&same);
    assert!(!seen.changes && seen.steps.is_empty());
    assert_eq!(seen.notes, ["nothing differs from v1: no task is replaced"]);
    let mut settings = same;
    settings.update = profile(ProfileName::Llm);
    let seen = scene.forecast(&settings);
    assert!(!seen.changes);
    assert!(seen.notes[0].starts_with("only settings differ from v1"), "{:?}", seen.notes);
}

#[test]
fn what_is_under_way_and_frozen_is_told() {
    let mut scene = Scene::stable();
    let canary = |spec: &mut ServiceSpec| spec.update.strategy = Strategy::Canary;
    scene.update(scene.next("web:v2", canary));
    scene.go(Move::Step(0));
    let on = |word| scene.next("web:v3", |spec| spec.update.on_update = word);
    let note = |word| scene.forecast(&on(word)).notes.concat();
    let live = format!(
        "release {} (v1 to v2, scaling, begun by alice)",
        scene.service().rollout.as_ref().unwrap().id
    );
    assert_eq!(
        note(OnUpdate::Replace),
        format!("{live} ends, superseded: this one starts from v1")
    );
    assert_eq!(note(OnUpdate::Queue), format!("it waits for the end of {live}"));
    let refused = format!("refused now: {live} is under way, and on_update is reject");
    assert_eq!(note(OnUpdate::Reject), refused);

    let mut old = scene.service().spec.clone();
    old.template = scene.service().revisions[&RevisionNumber(1)].template.clone();
    let back = scene.forecast(&old);
    assert!(back.changes);
    assert_eq!((back.from, back.to), (Some(RevisionNumber(2)), Some(RevisionNumber(1))));
    assert!(back.notes[0].starts_with("v1 is the stable revision: this takes release"));

    let by = Actor::named("bob".to_owned());
    let freeze =
        Command::SetFreeze { service: None, reason: Some("fair".to_owned()), by, seen: None };
    scene.feed.apply(freeze).unwrap();
    let spec = scene.next("web:v3", |_| ());
    let frozen = "releases are frozen by bob: fair. It waits for the end of the freeze";
    assert_eq!(scene.forecast(&spec).notes[0], frozen);
    let overridden = forecast(&scene.feed.state, &scene.service(), &spec, true).unwrap();
    assert!(!overridden.notes.contains(&frozen.to_owned()));
}

#[test]
fn a_first_deployment_has_no_steps_and_no_way_back() {
    let scene = Scene::first();
    let spec = scene.next("web:v2", |spec| spec.update.strategy = Strategy::Canary);
    let seen = scene.forecast(&spec);
    assert_eq!(texts(&seen), ["4 tasks of v2 start, and must be ready for 10 s"]);
    assert!(seen.triggers.is_empty(), "{:?}", seen.triggers);
    assert!(seen.notes.concat().contains("nothing to go back to"));
}

#[test]
fn what_the_update_would_be_refused_for_the_forecast_is_too() {
    let scene = Scene::stable();
    let spec = scene.next("web:v2", |spec| {
        let (name, container, protocol, host) = (None, 80, Protocol::Tcp, Some(8080));
        spec.template.ports = vec![Port { name, container, protocol, host }];
        spec.update.failure_action = FailureAction::Pause;
    });
    let refused = forecast(&scene.feed.state, &scene.service(), &spec, false).unwrap_err();
    assert!(refused.to_string().starts_with("max_unavailable: host port 8080"), "{refused}");
    let mut spec = spec;
    spec.update.max_unavailable = Quantity::Count(1);
    let seen = scene.forecast(&spec);
    assert!(texts(&seen)[0].contains("1 at a time, old before new"), "{seen:?}");
    assert_eq!(seen.tasks_max, 4);
    assert_eq!(seen.triggers, ["a person: warren service rollback web"]);
    let paused = "a failure pauses the release: a person resumes it or takes it back";
    assert_eq!(seen.notes, [paused]);
}

#[test]
fn a_service_without_tasks_replaces_none_and_no_task_of_it_can_fail() {
    let scene = Scene::stable();
    let spec = scene.next("web:v2", |spec| spec.mode = Mode::Replicated { replicas: 0 });
    let seen = scene.forecast(&spec);
    assert_eq!(
        texts(&seen),
        ["no tasks are wanted: none is replaced", "v2 becomes the stable revision"]
    );
    assert_eq!((seen.tasks_max, seen.replicas), (0, 0));
    assert_eq!(seen.triggers, ["a person: warren service rollback web"]);
    assert!(seen.notes[0].contains("nothing of this version is tried"), "{:?}", seen.notes);
}
