//! One random history: what people do and what goes wrong, drawn from a seed.

use std::time::Duration;
use warren_core::State;
use warren_core::command::{Command, Steer};
use warren_core::event::Event;
use warren_core::id::{NodeId, RevisionNumber, TaskId};
use warren_core::node::Availability;
use warren_core::report::Report;
use warren_core::rollout::{Back, Outcome, Pause, Promotion, Rollout};
use warren_core::service::{Actor, Freeze, Service};
use warren_core::simulate::{Behaviour, Chance, Cluster, Disturbance, Fault};
use warren_core::spec::{
    ApprovalRule, FailureAction, Hook, HookPoint, HookUrl, Image, Mode, OnUpdate, Order, Placement,
    Quantity, RestartPolicy, ServiceName, ServiceSpec, Step, Strategy, Template, UpdateSettings,
};
use warren_core::units::Weight;

/// One thing that happens in a history.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create {
        replicas: u32,
        update: Box<UpdateSettings>,
    },
    /// A new image; the settings stay where there are none.
    Update {
        image: u64,
        update: Option<Box<UpdateSettings>>,
    },
    Rollback {
        to: Option<u32>,
        careful: bool,
        gradual: bool,
    },
    Pause,
    Resume,
    Promote(Promotion),
    Retry,
    Approve,
    Scale(u32),
    Restart,
    Freeze(bool),
    Delete,
    Drain(u32, bool),
    Kill(u64),
    Behave(u64, Behaviour),
    Turn(u64, Behaviour),
    Fault(Fault),
    Return,
    Replay(u64),
    LoseRounds(u32),
    Snapshot,
    Wait(Duration),
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn one_of<T: Clone>(chance: &mut Chance, of: &[T]) -> T {
    of[usize::try_from(chance.between(0, of.len() as u64 - 1)).unwrap()].clone()
}

/// The history of a seed.
pub(crate) fn draw(seed: u64) -> Vec<Op> {
    let mut chance = Chance::new(seed);
    let replicas = u32::try_from(chance.between(1, 5)).unwrap();
    let update = Box::new(settings(&mut chance));
    let mut ops = vec![Op::Create { replicas, update }];
    if !chance.one_in(5) {
        ops.push(Op::Wait(secs(chance.between(5, 40))));
    }
    for _ in 0..chance.between(2, 18) {
        ops.push(op(&mut chance));
        if !chance.one_in(4) {
            let longest = one_of(&mut chance, &[300, 2_000, 10_000, 30_000]);
            ops.push(Op::Wait(Duration::from_millis(chance.between(10, longest))));
        }
    }
    ops
}

pub(crate) fn op(chance: &mut Chance) -> Op {
    match chance.between(0, 99) {
        0..24 => {
            let new = chance.one_in(2);
            let update = new.then(|| Box::new(settings(chance)));
            Op::Update { image: chance.between(1, 4), update }
        }
        24..34 => Op::Rollback {
            to: chance.one_in(4).then(|| u32::try_from(chance.between(1, 4)).unwrap()),
            careful: chance.one_in(4),
            gradual: chance.one_in(3),
        },
        34..37 => Op::Pause,
        37..40 => Op::Resume,
        40..46 => {
            let to = Weight::from_per_mille(u16::try_from(chance.between(1, 1000)).unwrap());
            Op::Promote(one_of(
                chance,
                &[Promotion::Next, Promotion::Full, Promotion::To(to.unwrap())],
            ))
        }
        46..49 => Op::Retry,
        49..52 => Op::Approve,
        52..57 => Op::Scale(u32::try_from(chance.between(0, 6)).unwrap()),
        57..58 => Op::Restart,
        58..61 => Op::Freeze(chance.one_in(2)),
        61..62 => Op::Delete,
        62..65 => Op::Drain(u32::try_from(chance.between(1, 3)).unwrap(), chance.one_in(2)),
        65..69 => Op::Kill(chance.draw()),
        69..76 => Op::Behave(chance.between(1, 4), behaviour(chance)),
        76..79 => Op::Turn(chance.between(1, 4), behaviour(chance)),
        79..88 => Op::Fault(fault(chance)),
        88..90 => Op::Return,
        90..95 => Op::Replay(chance.draw()),
        95..97 => Op::LoseRounds(u32::try_from(chance.between(1, 3)).unwrap()),
        _ => Op::Snapshot,
    }
}

pub(crate) fn behaviour(chance: &mut Chance) -> Behaviour {
    one_of(
        chance,
        &[
            Behaviour::Healthy,
            Behaviour::Crash { after: secs(1) },
            Behaviour::Crash { after: secs(7) },
            Behaviour::NeverReady,
            Behaviour::Slow { by: secs(10) },
            Behaviour::Flap { every: secs(2) },
            Behaviour::NoImage,
        ],
    )
}

fn fault(chance: &mut Chance) -> Fault {
    let node = Some(format!("node-{}", chance.between(1, 3)));
    let length = chance.one_in(2).then(|| secs(chance.between(1, 20)));
    let disturbance = Disturbance { node, at: Duration::ZERO, length };
    match chance.between(0, 9) {
        0..3 => Fault::NodeLoss(disturbance),
        3..6 => Fault::Partition(disturbance),
        6..8 => Fault::LeaderChange { at: Duration::from_millis(chance.between(0, 3_000)) },
        8 => Fault::QuorumLoss { at: Duration::ZERO, length: secs(chance.between(2, 30)) },
        _ => Fault::HookFails { url: "gate".to_owned() },
    }
}

pub(crate) fn settings(chance: &mut Chance) -> UpdateSettings {
    let strategy = one_of(
        chance,
        &[
            Strategy::Rolling,
            Strategy::Rolling,
            Strategy::Canary,
            Strategy::Canary,
            Strategy::BlueGreen,
            Strategy::Recreate,
        ],
    );
    let rule = ApprovalRule { roles: Vec::new(), min: 1 };
    let mut weights: Vec<_> = (0..chance.between(0, 3))
        .map(|_| u16::try_from(chance.between(0, 100) * 10).unwrap())
        .collect();
    weights.sort_unstable();
    weights.dedup();
    let step = |chance: &mut Chance, weight| Step {
        approve: chance.one_in(6).then(|| rule.clone()),
        scale: chance.one_in(6).then_some(Quantity::Percent(50)),
        ..Step::weight(Weight::from_per_mille(weight).unwrap(), secs(chance.between(0, 8)))
    };
    let steps: Vec<_> = if strategy == Strategy::Canary && weights.is_empty() {
        [200, 1000].map(|weight| step(chance, weight)).into()
    } else {
        weights.into_iter().map(|weight| step(chance, weight)).collect()
    };
    let hook = || Hook::new(HookPoint::PrePromote, HookUrl::parse("http://gate/").unwrap());
    let unavailable = u32::try_from(chance.between(0, 2)).unwrap();
    let surge = u32::try_from(chance.between(u64::from(unavailable == 0), 2)).unwrap();
    UpdateSettings {
        strategy,
        steps,
        parallelism: u32::try_from(chance.between(0, 2)).unwrap(),
        delay: secs(one_of(chance, &[0, 0, 3])),
        order: one_of(chance, &[Order::StartFirst, Order::StartFirst, Order::StopFirst]),
        max_surge: Quantity::Count(surge),
        max_unavailable: Quantity::Count(unavailable),
        min_ready: secs(chance.between(0, 5)),
        healthy_deadline: secs(20),
        progress_deadline: secs(45),
        failure_action: one_of(
            chance,
            &[
                FailureAction::Rollback,
                FailureAction::Rollback,
                FailureAction::Rollback,
                FailureAction::Pause,
                FailureAction::Continue,
            ],
        ),
        max_failure_percent: one_of(chance, &[0, 0, 0, 40]),
        on_update: one_of(
            chance,
            &[OnUpdate::Replace, OnUpdate::Replace, OnUpdate::Queue, OnUpdate::Reject],
        ),
        monitor: chance.one_in(2).then(|| secs(chance.between(0, 10))),
        standby: secs(chance.between(0, 10)),
        scale_down_delay: secs(chance.between(0, 6)),
        drain: secs(one_of(chance, &[0, 0, 2])),
        approve: chance.one_in(12).then(|| rule.clone()),
        hooks: if chance.one_in(5) { vec![hook()] } else { Vec::new() },
        ..UpdateSettings::default()
    }
}

/// How a history ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The promise that was broken, if one was.
    pub(crate) broken: Option<String>,
    /// Entries that were applied or refused.
    pub(crate) steps: u64,
    /// What happened, where a promise was broken.
    pub(crate) tale: Vec<String>,
}

/// Lives through a history: what happens in it, then peace, then what must be so in the end.
pub(crate) fn live(seed: u64, ops: &[Op]) -> Ended {
    let mut cluster = Cluster::new(3, seed ^ 0x5eed);
    for op in ops {
        perform(&mut cluster, op);
        if cluster.broken().is_some() {
            break;
        }
    }
    let broken = cluster.broken().map(ToString::to_string);
    let broken = broken.or_else(|| settle(&mut cluster).err());
    let tell =
        |event: &std::sync::Arc<Event>| format!("{:>9} {}", event.at.to_string(), event.kind);
    let tale =
        if broken.is_some() { cluster.state().events().map(tell).collect() } else { Vec::new() };
    Ended { broken, steps: cluster.steps(), tale }
}

fn web(cluster: &Cluster) -> Option<std::sync::Arc<Service>> {
    cluster.state().services().next().cloned()
}

pub(crate) fn by() -> Actor {
    Actor::named("ann")
}

fn perform(cluster: &mut Cluster, op: &Op) {
    if let Op::Wait(span) = op {
        cluster.advance(*span);
        return;
    }
    if let Op::Create { replicas, update } = op {
        cluster.request(create(*replicas, update)).unwrap();
        return;
    }
    if disturb(cluster, op) {
        return;
    }
    let freeze = cluster.state().freeze().cloned();
    if let Some(command) = web(cluster).and_then(|service| command(&service, freeze.as_ref(), op)) {
        // A refusal is a normal answer.
        let _answer = cluster.request(command);
    }
}

/// A service of so many replicas.
pub(crate) fn create(replicas: u32, update: &UpdateSettings) -> Command {
    let spec = ServiceSpec {
        name: ServiceName::parse("web").unwrap(),
        mode: Mode::Replicated { replicas },
        template: Template::new(Image::parse("web:1").unwrap()),
        placement: Placement::default(),
        restart: RestartPolicy::default(),
        update: update.clone(),
        labels: std::collections::BTreeMap::new(),
    };
    Command::CreateService { spec: Box::new(spec.checked().unwrap()), by: by() }
}

fn disturb(cluster: &mut Cluster, op: &Op) -> bool {
    match op {
        Op::Kill(nth) => {
            let live: Vec<TaskId> = cluster.state().tasks().map(|task| task.id).collect();
            if !live.is_empty() {
                cluster.kill(live[usize::try_from(nth % live.len() as u64).unwrap()]);
            }
        }
        Op::Behave(nth, how) => {
            let revision = RevisionNumber(u32::try_from(*nth).unwrap());
            cluster.disturb(&Fault::Behave { revision, how: *how, percent: 100 }).unwrap();
        }
        Op::Turn(nth, how) => {
            cluster.turn_tasks(RevisionNumber(u32::try_from(*nth).unwrap()), *how)
        }
        Op::Fault(fault) => cluster.disturb(fault).unwrap(),
        Op::Return => cluster.mend_machines(),
        Op::Replay(nth) => cluster.replay(usize::try_from(nth % 1_000).unwrap()),
        Op::LoseRounds(count) => cluster.lose_rounds(*count),
        Op::Snapshot => {
            let bytes = postcard::to_stdvec(cluster.state()).unwrap();
            let restored: State = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(&restored, cluster.state(), "a snapshot holds everything");
            cluster.restore(restored);
        }
        Op::Drain(node, drain) => {
            let nodes: Vec<NodeId> = cluster.state().nodes().map(|node| node.id).collect();
            let within = (*drain && *node == 2).then_some(secs(20));
            let node = nodes[*node as usize - 1];
            let availability = if *drain { Availability::Drain } else { Availability::Active };
            let _answer = cluster.request(Command::SetAvailability {
                node,
                availability,
                within,
                by: Actor::named("test"),
            });
        }
        _ => return false,
    }
    true
}

pub(crate) fn command(service: &Service, freeze: Option<&Freeze>, op: &Op) -> Option<Command> {
    let id = service.id;
    let steer = |steer| Command::SteerRollout { service: id, steer, by: by() };
    Some(match op {
        Op::Update { image, update } => {
            let mut spec = service.spec.clone();
            spec.template.image = Image::parse(&format!("web:{image}")).unwrap();
            if let Some(update) = update {
                spec.update = update.as_ref().clone();
            }
            let spec = Box::new(spec.checked().ok()?);
            let (expect, cause) = (service.generation, "a change".to_owned());
            Command::UpdateService {
                service: id,
                expect,
                spec,
                by: by(),
                cause,
                freeze_override: None,
            }
        }
        Op::Rollback { to, careful, gradual } => Command::RollbackService {
            service: id,
            to: to.map(RevisionNumber),
            careful: *careful,
            back: if *gradual { Back::Gradual } else { Back::Immediate },
            by: by(),
            reason: String::new(),
        },
        Op::Pause => steer(Steer::Pause { reason: "wait".to_owned() }),
        Op::Resume => steer(Steer::Resume),
        Op::Promote(how) => steer(Steer::Promote(*how)),
        Op::Retry => steer(Steer::Retry),
        Op::Approve => {
            steer(Steer::Approve { roles: Vec::new(), comment: String::new(), step: None })
        }
        Op::Scale(replicas) => {
            Command::ScaleService { service: id, expect: None, replicas: *replicas, by: by() }
        }
        Op::Restart => Command::RestartService { service: id, by: by() },
        Op::Freeze(on) => {
            let reason = on.then(|| "holidays".to_owned());
            let seen = freeze.cloned();
            Command::SetFreeze { service: None, reason, by: by(), seen }
        }
        Op::Delete => Command::DeleteService { service: id, by: by() },
        _ => return None,
    })
}

/// Faults stop and people answer what waits for them. L1 and L2: every release comes to its end; I17: then nothing is
/// left to plan.
fn settle(cluster: &mut Cluster) -> Result<(), String> {
    cluster.lose_rounds(0);
    cluster.mend_hooks();
    cluster.mend_machines();
    cluster.advance(secs(60));
    let nodes: Vec<NodeId> = cluster.state().nodes().map(|node| node.id).collect();
    for node in nodes {
        let _answer = cluster.request(Command::SetAvailability {
            node,
            availability: Availability::Active,
            within: None,
            by: Actor::named("test"),
        });
    }
    // What was stable keeps working; what came after is as the history left it.
    let stable = web(cluster).and_then(|service| service.stable.or(Some(service.current)));
    if let Some(stable) = stable {
        cluster.turn_tasks(stable, Behaviour::Healthy);
    }
    let seen = cluster.state().freeze().cloned();
    let thaw = Command::SetFreeze { service: None, reason: None, by: by(), seen };
    let _answer = cluster.request(thaw);
    for round in 0..60 {
        if let Some(broken) = cluster.broken() {
            return Err(broken.to_string());
        }
        let service = web(cluster);
        let live = service.as_ref().and_then(|service| service.rollout.clone().zip(Some(service)));
        if let Some(command) =
            live.and_then(|(live, service)| word_of_a_person(&live, service, round))
        {
            let _answer = cluster.request(command);
        }
        cluster.advance(secs(20));
        if is_done(cluster) {
            break;
        }
    }
    in_the_end(cluster)
}

/// What people do about a release that waits for them; what never comes to an end by itself they take back.
pub(crate) fn word_of_a_person(live: &Rollout, service: &Service, round: u32) -> Option<Command> {
    let steer = |steer| Some(Command::SteerRollout { service: service.id, steer, by: by() });
    if live.phase.is_back() {
        return None;
    }
    let failed = live.pauses.contains_key(&Pause::FailureAction);
    if live.from.is_some() && (round >= 20 || failed) {
        let (service, back) = (service.id, Back::Immediate);
        return Some(Command::RollbackService {
            service,
            to: None,
            careful: false,
            back,
            by: by(),
            reason: String::new(),
        });
    }
    if !live.pauses.is_empty() {
        return steer(Steer::Resume);
    }
    live.approval_wanted()?;
    steer(Steer::Approve { roles: Vec::new(), comment: String::new(), step: None })
}

fn is_done(cluster: &Cluster) -> bool {
    let released =
        web(cluster).is_none_or(|service| service.rollout.is_none() && service.queued.is_none());
    let settled = cluster.report().services.values().all(|report| report.waits.is_empty());
    released && settled
}

fn in_the_end(cluster: &Cluster) -> Result<(), String> {
    if let Some(broken) = cluster.broken() {
        return Err(broken.to_string());
    }
    let behaves = |revision| cluster.behaviour(revision);
    ended_well(cluster.state(), cluster.report(), behaves)
}

/// Every release has come to its end, and what behaves well runs.
pub(crate) fn ended_well(
    state: &State,
    report: &Report,
    behaves: impl Fn(RevisionNumber) -> Behaviour,
) -> Result<(), String> {
    let Some(service) = state.services().next() else { return Ok(()) };
    let report = report.services.get(&service.id).cloned().unwrap_or_default();
    let words: Vec<_> = report.waits.iter().map(|wait| wait.reason.to_string()).collect();
    let waits = words.join("; ");
    if service.deleting {
        return Err(format!("a deleted service is still there: {waits}"));
    }
    let behaves = behaves(service.current);
    if let Some(live) = &service.rollout {
        if behaves != Behaviour::Healthy && live.from.is_none() {
            return Ok(());
        }
        let (id, phase) = (live.id, live.phase);
        return Err(format!("L1, L2: {id} does not end, it is {phase}: {waits}"));
    }
    let well = behaves == Behaviour::Healthy || matches!(behaves, Behaviour::Slow { .. });
    if well && (report.ready != report.desired || !report.waits.is_empty()) {
        return Err(format!(
            "{} of {} tasks are ready in the end: {waits}",
            report.ready, report.desired
        ));
    }
    if well && service.stable != Some(service.current) {
        return Err(format!("{} runs and was never accepted", service.current));
    }
    let lasts = service.past.last().and_then(|last| last.end.as_ref()).map(|end| end.outcome);
    if lasts == Some(Outcome::RolledBack) && service.stable != Some(service.current) {
        return Err("a release was rolled back and its revision is still wanted".to_owned());
    }
    Ok(())
}
