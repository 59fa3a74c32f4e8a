//! One random history with several managers: what people do, and what goes wrong between managers, agents and disks.

use crate::history::{
    self, Ended, Op, by, command, create, ended_well, one_of, secs, word_of_a_person,
};
use std::time::Duration;
use warren_core::command::Command;
use warren_core::id::{NodeId, RevisionNumber, TaskId};
use warren_core::node::Availability;
use warren_core::simulate::{Behaviour, Chance, Fault, Fleet, Moment, Trouble};
use warren_core::spec::{Order, Quantity, UpdateSettings};

/// One thing that happens in a history.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// As with one manager.
    Op(Op),
    Trouble(Trouble),
}

/// How many managers there are in the history of a seed: as many as somebody says, else three, and five in one of five.
pub(crate) fn managers(seed: u64) -> usize {
    let said = std::env::var("WARREN_SIM_MANAGERS").ok().and_then(|text| text.parse().ok());
    let drawn = if seed.is_multiple_of(5) { 5 } else { 3 };
    said.unwrap_or(drawn)
}

/// The history of a seed.
pub(crate) fn draw(seed: u64) -> Vec<Happening> {
    let mut chance = Chance::new(seed ^ 0x3a9e5);
    let replicas = u32::try_from(chance.between(1, 5)).unwrap();
    let update = Box::new(history::settings(&mut chance));
    let mut all = vec![Happening::Op(Op::Create { replicas, update })];
    if !chance.one_in(5) {
        all.push(wait(&mut chance, 5_000, 20_000));
    }
    for _ in 0..chance.between(1, 6) {
        all.push(Happening::Op(draw_op(&mut chance)));
        // As long as it takes to place tasks, to shift traffic, or to drain.
        let longest = one_of(&mut chance, &[100, 1_000, 5_000, 15_000]);
        all.push(wait(&mut chance, 5, longest));
        // Troubles seldom come alone.
        for _ in 0..chance.between(1, 3) {
            all.push(Happening::Trouble(draw_trouble(&mut chance)));
            let longest = one_of(&mut chance, &[20, 600, 3_000]);
            all.push(wait(&mut chance, 5, longest));
        }
        if !chance.one_in(3) {
            all.push(wait(&mut chance, 1_000, 25_000));
        }
    }
    all
}

fn wait(chance: &mut Chance, low: u64, high: u64) -> Happening {
    Happening::Op(Op::Wait(Duration::from_millis(chance.between(low, high))))
}

/// What people do, and tasks; what goes wrong otherwise has more ways here.
fn draw_op(chance: &mut Chance) -> Op {
    if chance.one_in(2) {
        let update = chance.one_in(2).then(|| Box::new(history::settings(chance)));
        return Op::Update { image: chance.between(1, 4), update };
    }
    loop {
        let op = history::op(chance);
        let hooks = matches!(op, Op::Fault(Fault::HookFails { .. }));
        let other = matches!(op, Op::Fault(_) | Op::Return | Op::Replay(_) | Op::LoseRounds(_));
        if hooks || !other {
            return op;
        }
    }
}

/// Half of them strike in the moments that count.
fn draw_trouble(chance: &mut Chance) -> Trouble {
    let trouble = draw_plain(chance);
    if chance.one_in(2) {
        return trouble;
    }
    let moments = [Moment::Drain, Moment::Drain, Moment::Stop, Moment::Place, Moment::Move];
    Trouble::Ambush { moment: one_of(chance, &moments), trouble: Box::new(trouble) }
}

fn draw_plain(chance: &mut Chance) -> Trouble {
    let number = |chance: &mut Chance| usize::try_from(chance.between(0, 4)).unwrap();
    let leader = chance.one_in(2);
    let nth = number(chance);
    let manager = (!leader).then_some(nth);
    let node = number(chance);
    let back = Duration::from_millis(chance.between(200, 15_000));
    match chance.between(0, 99) {
        0..18 => Trouble::Crash { manager, torn: chance.one_in(2), back },
        18..30 => Trouble::Machine { manager, back },
        30..35 => Trouble::CrashAll { back },
        35..50 => Trouble::Cut { manager, length: back },
        50..56 => Trouble::HandOver,
        56..66 => Trouble::Stall { manager, length: back / 2 },
        66..74 => Trouble::Silence(u32::try_from(chance.between(1, 4)).unwrap()),
        74..84 => Trouble::Lose { node, up: chance.one_in(2), down: chance.one_in(2) },
        84..88 => Trouble::Divide { node, manager, length: back },
        88..92 => Trouble::Lag { node, length: back * 2 },
        _ => Trouble::Gone { node, power: chance.one_in(2), length: back },
    }
}

/// Lives through a history: what happens in it, then peace, then what must be so in the end.
pub(crate) fn live(seed: u64, all: &[Happening]) -> Ended {
    let mut fleet = Fleet::new(managers(seed), 3, seed ^ 0x5eed);
    for one in all {
        match one {
            Happening::Op(op) => perform(&mut fleet, op),
            Happening::Trouble(trouble) => fleet.trouble(trouble),
        }
        if fleet.broken().is_some() {
            break;
        }
    }
    let broken = fleet.broken().map(ToString::to_string);
    let broken = broken.or_else(|| settle(&mut fleet).err());
    let tell = |event: &std::sync::Arc<warren_core::event::Event>| {
        format!("{:>9} {}", event.at.to_string(), event.kind)
    };
    let tale = match broken {
        Some(_) => fleet.state().events().map(tell).collect(),
        None => Vec::new(),
    };
    Ended { broken, steps: fleet.steps(), tale }
}

pub(crate) fn perform(fleet: &mut Fleet, op: &Op) {
    let revision = |nth: &u64| RevisionNumber(u32::try_from(*nth).unwrap());
    match op {
        Op::Wait(span) => fleet.advance(*span),
        Op::Create { replicas, update } => fleet.request(create(*replicas, update)),
        Op::Kill(nth) => {
            let live: Vec<TaskId> = fleet.state().tasks().map(|task| task.id).collect();
            if !live.is_empty() {
                fleet.kill(live[usize::try_from(nth % live.len() as u64).unwrap()]);
            }
        }
        Op::Behave(nth, how) => fleet.behave(revision(nth), *how),
        Op::Fault(Fault::HookFails { url }) => fleet.refuse_hooks(Some(url)),
        Op::Turn(nth, how) => fleet.turn_tasks(revision(nth), *how),
        Op::Snapshot => fleet.snapshot(|state| {
            let bytes = postcard::to_stdvec(state).unwrap();
            postcard::from_bytes(&bytes).unwrap()
        }),
        Op::Drain(node, drain) => {
            let nodes: Vec<NodeId> = fleet.state().nodes().map(|node| node.id).collect();
            let node = nodes[*node as usize - 1];
            let availability = if *drain { Availability::Drain } else { Availability::Active };
            let within = (*drain && node.0 == 2).then_some(secs(20));
            fleet.request(Command::SetAvailability { node, availability, within, by: by() });
        }
        other => {
            let service = fleet.state().services().next().cloned();
            let freeze = fleet.state().freeze().cloned();
            let asked = service.and_then(|service| command(&service, freeze.as_ref(), other));
            if let Some(command) = asked {
                fleet.request(command);
            }
        }
    }
}

/// Faults stop and people answer what waits for them: every release comes to its end, and all agree.
fn settle(fleet: &mut Fleet) -> Result<(), String> {
    fleet.refuse_hooks(None);
    fleet.mend();
    fleet.advance(secs(60));
    let nodes: Vec<NodeId> = fleet.state().nodes().map(|node| node.id).collect();
    for node in nodes {
        fleet.request(Command::SetAvailability {
            node,
            availability: Availability::Active,
            within: None,
            by: by(),
        });
    }
    let service = fleet.state().services().next().cloned();
    if let Some(stable) = service.and_then(|service| service.stable.or(Some(service.current))) {
        fleet.turn_tasks(stable, Behaviour::Healthy);
    }
    let seen = fleet.state().freeze().cloned();
    fleet.request(Command::SetFreeze { service: None, reason: None, by: by(), seen });
    for round in 0..60 {
        let service = fleet.state().services().next().cloned();
        let live = service.as_ref().and_then(|s| s.rollout.clone().zip(Some(s)));
        if let Some(word) = live.and_then(|(live, s)| word_of_a_person(&live, s, round)) {
            fleet.request(word);
        }
        fleet.advance(secs(20));
        if let Some(broken) = fleet.broken() {
            return Err(broken.to_string());
        }
        if is_done(fleet) {
            break;
        }
    }
    fleet.advance(secs(5));
    ended_well(fleet.state(), fleet.report(), |revision| fleet.behaviour(revision))?;
    if is_calm(fleet) { fleet.converged() } else { Ok(()) }
}

fn is_done(fleet: &Fleet) -> bool {
    let idle = |s: &std::sync::Arc<warren_core::service::Service>| {
        s.rollout.is_none() && s.queued.is_none()
    };
    let released = fleet.state().services().next().is_none_or(idle);
    released && fleet.report().services.values().all(|report| report.waits.is_empty())
}

/// Whether what is to run behaves well, so that nothing goes on by itself.
fn is_calm(fleet: &Fleet) -> bool {
    let well =
        |revision| matches!(fleet.behaviour(revision), Behaviour::Healthy | Behaviour::Slow { .. });
    fleet.state().services().all(|service| well(service.current))
}

/// A service that runs, an update of it, and troubles that lie in wait for its first drain.
fn drained_into(update: UpdateSettings, troubles: Vec<Trouble>) -> Vec<Happening> {
    let ambush = |trouble| Trouble::Ambush { moment: Moment::Drain, trouble: Box::new(trouble) };
    let mut all = vec![
        Happening::Op(Op::Create { replicas: 4, update: Box::new(update) }),
        Happening::Op(Op::Wait(secs(20))),
    ];
    all.extend(troubles.into_iter().map(ambush).map(Happening::Trouble));
    all.push(Happening::Op(Op::Update { image: 2, update: None }));
    all.push(Happening::Op(Op::Wait(secs(40))));
    all
}

fn all_keep_their_promises(happenings: &[Happening]) {
    for seed in 1..=20 {
        let ended = live(seed, happenings);
        assert_eq!(ended.broken, None, "in the history of {seed}: {}", ended.tale.join("\n"));
    }
}

/// Seen on three managers: the leader's machine was lost while tasks drained, and the next leader stopped them before
/// it had told any resolver, since it listened for the lost one.
#[test]
fn tasks_that_drain_when_the_leader_goes_are_stopped_when_resolvers_know() {
    let update = UpdateSettings { min_ready: secs(1), ..UpdateSettings::default() };
    let lost = Trouble::Machine { manager: None, back: secs(15) };
    all_keep_their_promises(&drained_into(update, vec![lost]));
}

/// Found by the random history of seed 163: a release had just begun when all managers went, and a machine. The next
/// leader took the long-lived answers from before it for expired, although resolvers heard of the release from it only.
#[test]
fn answers_from_before_a_release_live_until_a_new_leader_has_told_of_it() {
    let update = UpdateSettings {
        order: Order::StopFirst,
        max_surge: Quantity::Count(0),
        max_unavailable: Quantity::Count(1),
        min_ready: secs(1),
        ..UpdateSettings::default()
    };
    let lost = Trouble::Gone { node: 1, power: true, length: secs(25) };
    let crash = Trouble::CrashAll { back: secs(1) };
    all_keep_their_promises(&drained_into(update, vec![lost, crash]));
}

/// A leader that answers beats has said nothing of what a node has not heard: without the leader's word its resolver is
/// cut off, and tasks need not wait for it for ever.
#[test]
fn a_node_that_hears_late_where_traffic_goes_is_without_the_leaders_word() {
    let update = UpdateSettings { min_ready: secs(1), ..UpdateSettings::default() };
    let mut all = drained_into(update, Vec::new());
    all.insert(2, Happening::Trouble(Trouble::Lag { node: 1, length: secs(40) }));
    all_keep_their_promises(&all);
}

/// A node that was thought lost comes back while its tasks are answered from caches, and others have taken their place.
#[test]
fn tasks_of_a_node_that_was_thought_lost_run_on_until_nobody_is_led_to_them() {
    for length in [10, 12, 20] {
        let update = Box::new(UpdateSettings::default());
        all_keep_their_promises(&[
            Happening::Op(Op::Create { replicas: 4, update }),
            Happening::Op(Op::Wait(secs(20))),
            Happening::Trouble(Trouble::Gone { node: 1, power: false, length: secs(length) }),
            Happening::Op(Op::Wait(secs(40))),
        ]);
    }
}
