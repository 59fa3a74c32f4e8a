//! What is shown of a state that a few commands have made.

use super::*;
use warren_core::command::{Applied, Command, Entry, Placing, TaskEdge};
use warren_core::id::{Generation, LogIndex, RevisionNumber, ServiceId, Slot, TaskId};
use warren_core::observed::{Run, TaskObserved};
use warren_core::report::{Status, WaitReason};
use warren_core::service::Actor;
use warren_core::task::{End, StopReason};
use warren_core::time::WallTime;

/// A node, and a service with one task on it that is being prepared.
struct Scene {
    state: State,
    node: NodeId,
    service: ServiceId,
    task: TaskId,
}

impl Scene {
    fn new() -> Self {
        let node = NodeId(0);
        let mut scene =
            Self { state: State::default(), node, service: ServiceId(0), task: TaskId(0) };
        let pool = "10.210.0.0/16".parse().unwrap();
        let id = warren_core::ClusterId(7);
        scene.apply(Command::InitCluster { id, zone: "warren".to_owned(), pool });
        let hello = v1::Hello {
            key: "k".into(),
            hostname: "one".into(),
            address: "127.0.0.1".into(),
            platform: "linux/amd64".into(),
            runtime: "played".into(),
            version: "1".into(),
            feature_level: warren_core::level::Level::OURS.0,
            ..Default::default()
        };
        let registration = crate::convert::node::registration(hello).unwrap();
        let Applied::Node { id } = scene.apply(registration) else { panic!("no node") };
        scene.node = id;
        let resources = v1::Resources {
            memory_limit_bytes: 64 << 20,
            cpu_limit_milli: 250,
            ..Default::default()
        };
        let template = v1::TaskTemplate {
            image: "web:v1".into(),
            resources: Some(resources),
            ..Default::default()
        };
        let wanted =
            v1::ServiceSpec { name: "web".into(), template: Some(template), ..Default::default() };
        let spec = Box::new(spec::parse(wanted).unwrap());
        let made =
            scene.apply(Command::CreateService { spec, by: Actor::named("test".to_owned()) });
        let Applied::Service { id, .. } = made else { panic!("no service") };
        scene.service = id;
        let placing = Placing { slot: Slot(1), revision: RevisionNumber(1), node: scene.node };
        let expect = Generation(1);
        let placements = vec![placing];
        let placed = scene.apply(Command::PlaceTasks { service: id, expect, placements });
        let Applied::Tasks(tasks) = placed else { panic!("no task") };
        scene.task = tasks[0];
        scene.reach(Phase::Preparing, None);
        scene
    }

    fn apply(&mut self, command: Command) -> Applied {
        let index = LogIndex(self.state.applied().0 + 1);
        let at = ClusterTime::from_ms(index.0 * 1000);
        self.state.apply(Entry { index, at, wall: WallTime(5), command }).unwrap()
    }

    fn reach(&mut self, phase: Phase, end: Option<End>) {
        let edge = TaskEdge { task: self.task, phase, end };
        self.apply(Command::ReportTasks { node: self.node, edges: vec![edge] });
    }

    fn heard(&self, phase: Phase, ready: bool, detail: &str) -> Observed {
        let heard = TaskObserved {
            phase,
            ready_since: ready.then_some(ClusterTime::START),
            unready_since: None,
            unseen: false,
            healthy: Some(ready),
            restarts: 2,
            detail: detail.to_owned(),
        };
        let mut observed = Observed::default();
        observed.tasks.insert(self.task, heard);
        observed
    }

    fn show<T>(&self, observed: &Observed, report: &Report, show: impl Fn(Sources<'_>) -> T) -> T {
        let now = self.state.time().after(std::time::Duration::from_millis(1500));
        show(Sources { state: &self.state, observed, report, now })
    }

    fn task(&self, observed: &Observed) -> v1::Task {
        let task = self.state.task(self.task).unwrap();
        self.show(observed, &Report::default(), |sources| sources.task(task))
    }

    fn service(&self, observed: &Observed, report: &Report) -> v1::Service {
        let service = self.state.service(self.service).unwrap();
        self.show(observed, report, |sources| sources.service(service))
    }
}

#[test]
fn a_task_shows_the_furthest_phase_that_is_known() {
    let scene = Scene::new();
    let quiet = scene.task(&Observed::default());
    assert_eq!((quiet.phase.as_str(), quiet.phase_age_ms), ("preparing", 1500));
    assert_eq!((quiet.service.as_str(), quiet.node.as_str()), ("web", "one"));
    assert_eq!((quiet.image.as_str(), quiet.health.as_str()), ("web:v1", ""));
    let ahead = scene.task(&scene.heard(Phase::Starting, false, "pulling 40 %"));
    assert_eq!((ahead.phase.as_str(), ahead.detail.as_str()), ("starting", "pulling 40 %"));
    // What is only heard makes no task ready: it serves once its running is agreed.
    assert!(!scene.task(&scene.heard(Phase::Running, true, "")).ready);
}

#[test]
fn a_task_that_waits_for_its_restart_shows_so_and_since_when() {
    let mut scene = Scene::new();
    scene.reach(Phase::Running, None);
    let mut observed = scene.heard(Phase::Running, false, "exit code 1: restart 2 of 5 after 2s");
    let since = scene.state.time().after(std::time::Duration::from_millis(500));
    observed.runs.insert(scene.task, Run { waiting: true, since });
    let shown = scene.task(&observed);
    assert_eq!(
        (shown.phase.as_str(), shown.restarting, shown.phase_age_ms),
        ("running", true, 1000)
    );
    observed.runs.insert(scene.task, Run { waiting: false, since });
    let shown = scene.task(&observed);
    assert_eq!((shown.restarting, shown.phase_age_ms), (false, 1000));
    scene.reach(Phase::Failed, None);
    let shown = scene.task(&observed);
    assert_eq!((shown.restarting, shown.phase_age_ms), (false, 1500), "an end is agreed");
}

#[test]
fn a_task_that_has_ended_shows_its_end_and_not_what_was_heard_before() {
    let mut scene = Scene::new();
    let end = End { code: Some(137), out_of_memory: true, message: "out of memory".to_owned() };
    scene.reach(Phase::Failed, Some(end));
    let task = scene.task(&scene.heard(Phase::Running, true, "fine"));
    assert_eq!((task.phase.as_str(), task.detail.as_str()), ("failed", "out of memory"));
    assert_eq!((task.exit_code, task.ready), (Some(137), false));
}

#[test]
fn a_task_on_its_way_out_says_why() {
    let mut scene = Scene::new();
    scene.reach(Phase::Running, None);
    let observed = scene.heard(Phase::Running, true, "");
    assert!(scene.task(&observed).ready);
    let tasks = vec![scene.task];
    scene.apply(Command::StopTasks { tasks, reason: StopReason::ScaledIn });
    let task = scene.task(&observed);
    assert_eq!((task.desired.as_str(), task.detail.as_str()), ("stop", "scaled in"));
    assert!(!task.ready);
}

#[test]
fn a_service_shows_the_plan_and_before_the_first_one_what_is_plain() {
    let mut scene = Scene::new();
    let before = scene.service(&Observed::default(), &Report::default());
    assert_eq!((before.status.as_str(), before.desired, before.ready), ("pending", 1, 0));
    assert_eq!((before.created_unix_ms, before.generation), (5, 1));
    scene.reach(Phase::Running, None);
    let ready = scene.heard(Phase::Running, true, "");
    let plain = scene.service(&ready, &Report::default());
    assert_eq!((plain.status.as_str(), plain.running, plain.ready), ("running", 1, 1));
    let planned = ServiceReport { status: Status::CrashLooping, desired: 9, ..Default::default() };
    let report = Report { services: [(scene.service, planned)].into() };
    let shown = scene.service(&ready, &report);
    assert_eq!((shown.status.as_str(), shown.desired, shown.ready), ("crash-looping", 9, 0));
}

#[test]
fn waits_name_their_slot_and_their_times_and_what_is_left_out() {
    let scene = Scene::new();
    let now = scene.state.time();
    let wait = Wait {
        slot: Some(Slot(1)),
        reason: WaitReason::MinReady { task: scene.task },
        since: Some(now),
        until: Some(now.after(std::time::Duration::from_secs(10))),
    };
    let planned = ServiceReport { waits: vec![wait], more: 4, ..Default::default() };
    let report = Report { services: [(scene.service, planned)].into() };
    let service = scene.state.service(scene.service).unwrap();
    let waits = scene.show(&Observed::default(), &report, |sources| sources.waits(service));
    assert_eq!((waits[0].subject.as_str(), waits[0].waited_ms), ("web.1", 1500));
    assert_eq!(waits[0].due_ms, Some(8500));
    assert_eq!(waits[1].reason, "and 4 more waits that are not listed");
}

#[test]
fn a_node_counts_what_its_live_tasks_reserve() {
    let mut scene = Scene::new();
    let shown = |scene: &Scene| {
        let node = scene.state.node(scene.node).unwrap();
        let (observed, report) = (Observed::default(), Report::default());
        scene.show(&observed, &report, |sources| sources.node(node, Some(scene.node)))
    };
    let busy = shown(&scene);
    let counted = (busy.tasks, busy.cpu_reserved_milli, busy.memory_reserved_bytes);
    assert_eq!(counted, (1, 250, 64 << 20));
    assert!(busy.leader);
    scene.reach(Phase::Failed, None);
    let idle = shown(&scene);
    assert_eq!((idle.tasks, idle.cpu_reserved_milli, idle.memory_reserved_bytes), (0, 0, 0));
}

#[test]
fn what_is_left_of_a_hold_runs_down_between_two_plans() {
    use warren_core::report::WaitReason;
    use warren_core::rollout::{Move, Phase as Step, RolloutWait};
    let mut scene = Scene::new();
    let begin = |scene: &mut Scene, to| {
        let live = scene.state.service(scene.service).unwrap().rollout.clone().unwrap();
        let (service, rollout, seq) = (scene.service, live.id, live.seq);
        scene.apply(Command::MoveRollout { service, rollout, seq, to });
    };
    // A first release has no step, so its hold is that of its monitoring.
    let service = scene.state.service(scene.service).unwrap().clone();
    let mut spec = Box::new(service.spec.clone());
    spec.update.monitor = Some(std::time::Duration::from_secs(60));
    spec.template.image = "web:v2".parse().unwrap();
    let (expect, cause, by) = (service.generation, String::new(), Actor::named("test".to_owned()));
    let service = scene.service;
    scene.apply(Command::UpdateService { service, expect, spec, by, cause, freeze_override: None });
    begin(&mut scene, Move::Enter(Step::Monitoring));
    begin(&mut scene, Move::Clock { running: true });
    let stale =
        RolloutWait::Hold { phase: Step::Monitoring, left: std::time::Duration::from_secs(60) };
    let wait = Wait { slot: None, reason: WaitReason::Release(stale), since: None, until: None };
    let planned = ServiceReport { waits: vec![wait], ..Default::default() };
    let report = Report { services: [(scene.service, planned)].into() };
    let service = scene.state.service(scene.service).unwrap();
    let (waits, live) = scene.show(&Observed::default(), &report, |sources| {
        (sources.waits(service), sources.live_or_last(service).unwrap())
    });
    assert_eq!(waits[0].reason, "release: monitoring for another 59 s");
    assert_eq!(live.waits, ["monitoring for another 59 s"]);
}
