//! Managers under load in bad weather: what is acknowledged is kept, once, and in an order that its clients can have
//! seen.

#![expect(clippy::print_stdout, reason = "figures are printed for people, and never asserted")]

use super::support::{ME, Site, set_label, until, write_somewhere};
use crate::election::Chance;
use crate::{Leadership, LocalNetwork, Raft, TIMERS, Weather};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use warren_core::State;
use warren_core::command::{Applied, Command, Rejection};
use warren_core::event::{EventKind, ServiceChange};
use warren_core::id::{Generation, LogIndex, NodeId, ServiceId};
use warren_core::service::Actor;
use warren_core::spec::{
    Image, Mode, Placement, RestartPolicy, ServiceName, ServiceSpec, Template, UpdateSettings,
};

/// Each tries another number of replicas, of which a service may have 50,000.
const TRIES_MAX: u64 = 50_000;

const CLIENTS: u64 = 6;

/// A compare-and-set that was acknowledged.
#[derive(Clone, Debug)]
struct Acknowledged {
    by: String,
    expected: u64,
    to: u32,
    begun: Instant,
    ended: Instant,
    leader: NodeId,
    term: u64,
}

/// What clients and the one who breaks things share.
#[derive(Default)]
struct Run {
    rafts: Mutex<BTreeMap<NodeId, Raft>>,
    history: Mutex<Vec<Acknowledged>>,
    next: AtomicU64,
    over: AtomicBool,
}

impl Run {
    fn acknowledged(&self) -> usize {
        self.history.lock().unwrap().len()
    }

    /// Waits until so many more are acknowledged, whatever is broken at the moment.
    async fn goes_on(&self, more: usize) {
        let wanted = self.acknowledged() + more;
        until("writes go on", || (self.acknowledged() >= wanted).then_some(())).await;
    }
}

fn counter() -> ServiceSpec {
    ServiceSpec {
        name: ServiceName::parse("counter").unwrap(),
        mode: Mode::Replicated { replicas: 0 },
        template: Template::new(Image::parse("web:v1").unwrap()),
        placement: Placement::default(),
        restart: RestartPolicy::default(),
        update: UpdateSettings::default(),
        labels: BTreeMap::new(),
    }
}

async fn make_counter(raft: &Raft) -> ServiceId {
    let spec = Box::new(counter());
    let answers = raft.propose(vec![Command::CreateService { spec, by: Actor::named("test") }]);
    match answers.await.unwrap()[..] {
        [Ok(Applied::Service { id, .. })] => id,
        ref other => panic!("{other:?}"),
    }
}

/// Reads somewhere, perhaps late, and writes where somebody leads, if nobody wrote in between.
async fn client(run: Arc<Run>, service: ServiceId, seed: u64) {
    let mut chance = Chance::seeded(seed);
    let mut told = None;
    while !run.over.load(Ordering::SeqCst) {
        let rafts: Vec<Raft> = run.rafts.lock().unwrap().values().cloned().collect();
        let reader = &rafts[usize::try_from(chance.next()).unwrap_or(0) % rafts.len()];
        let read = reader.state().borrow().service(service).map(|found| found.generation);
        // Or what the last refusal told.
        let read = told.take().or(read);
        let leader = rafts.iter().find_map(|raft| match *raft.leadership().borrow() {
            Leadership::Leader { term } => Some((raft, term)),
            Leadership::Follower { .. } | Leadership::None => None,
        });
        let (Some(Generation(expected)), Some((leader, term))) = (read, leader) else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let number = run.next.fetch_add(1, Ordering::SeqCst);
        assert!(number < TRIES_MAX);
        let (by, to) = (format!("w{number}"), u32::try_from(number).unwrap() + 1);
        let begun = Instant::now();
        let write = Command::ScaleService {
            service,
            expect: Some(Generation(expected)),
            replicas: to,
            by: Actor::named(by.clone()),
        };
        let answers = leader.propose(vec![write]).await;
        let (ended, still) = (Instant::now(), *leader.leadership().borrow());
        match answers.as_deref() {
            Ok([Ok(Applied::Service { generation, changed, .. })]) => {
                assert_eq!((generation.0, *changed), (expected + 1, true));
                // A term is only certain where it was the same before and after.
                let term = if still == (Leadership::Leader { term }) { term } else { 0 };
                let leader = leader.status().node;
                let entry = Acknowledged { by, expected, to, begun, ended, leader, term };
                run.history.lock().unwrap().push(entry);
            }
            Ok([Err(Rejection::Conflict { found, .. })]) => told = Some(*found),
            // Written or not: that is for the history to explain.
            Ok(_) | Err(_) => sleep(chance.below(Duration::from_millis(40))).await,
        }
    }
}

/// What a state says was written: by whom, from what and to what.
fn written(state: &State) -> Vec<(LogIndex, String, u32, u32)> {
    let scaled = state.events().filter_map(|event| match &event.kind {
        EventKind::Service { by, change: ServiceChange::Scaled { from, to }, .. } => {
            Some((event.index, by.name.clone(), *from, *to))
        }
        _ => None,
    });
    scaled.collect()
}

/// Every acknowledged write is in `state` exactly once, after what it was compared with, and in an order in which its
/// clients can have seen it.
fn check(node: NodeId, state: &State, service: ServiceId, history: &[Acknowledged]) {
    let written = written(state);
    let mut value = 0;
    for (index, by, from, to) in &written {
        assert_eq!(*from, value, "{node}: {by} at {index:?} follows what was there");
        value = *to;
    }
    let generation = state.service(service).unwrap().generation.0;
    let first = generation - u64::try_from(written.len()).unwrap();
    let mut places = Vec::new();
    for entry in history {
        let mut places_of = written.iter().enumerate().filter(|(_, write)| write.1 == entry.by);
        let (place, write) = places_of.next().unwrap_or_else(|| panic!("{node} lost {entry:?}"));
        assert!(places_of.next().is_none(), "{node} has {entry:?} twice");
        assert_eq!(write.3, entry.to, "{node}: {entry:?}");
        assert_eq!(u64::try_from(place).unwrap() + first, entry.expected, "{node}: {entry:?}");
        places.push((place, entry));
    }
    places.sort_by_key(|(place, _)| *place);
    let mut latest_begun: Option<(usize, Instant)> = None;
    for (place, entry) in &places {
        if let Some((before, begun)) = latest_begun {
            assert!(begun <= entry.ended, "{node}: {place} ended before {before} began");
        }
        if latest_begun.is_none_or(|(_, begun)| entry.begun > begun) {
            latest_begun = Some((*place, entry.begun));
        }
    }
}

/// In each term one manager acknowledged, and no other.
fn one_leader_per_term(history: &[Acknowledged]) -> usize {
    let mut leaders = BTreeMap::new();
    for entry in history.iter().filter(|entry| entry.term > 0) {
        let leader = leaders.entry(entry.term).or_insert(entry.leader);
        assert_eq!(*leader, entry.leader, "two managers acknowledged in term {}", entry.term);
    }
    leaders.len()
}

/// Breaks `node` in one of several ways, lets writes go on, and mends it.
async fn trouble(site: &mut Site, run: &Run, chance: &mut Chance, node: NodeId) {
    let others: Vec<NodeId> = site.managers.keys().copied().filter(|id| *id != node).collect();
    let cut = |network: &LocalNetwork, deaf: bool, cut: bool| {
        for other in &others {
            let (from, to) = if deaf { (*other, node) } else { (node, *other) };
            network.cut(from, to, cut);
        }
    };
    match chance.next() % 6 {
        0 | 1 => {
            run.rafts.lock().unwrap().remove(&node);
            site.kill(node).await;
            run.goes_on(20).await;
            site.start(node).await;
            run.rafts.lock().unwrap().insert(node, site.raft(node).clone());
        }
        2 => {
            site.network.isolate(node, true);
            run.goes_on(20).await;
            site.network.isolate(node, false);
        }
        way @ (3 | 4) => {
            cut(&site.network, way == 3, true);
            run.goes_on(20).await;
            cut(&site.network, way == 3, false);
        }
        _ => {
            site.network.slow(node, Duration::from_millis(60));
            run.goes_on(20).await;
            site.network.slow(node, Duration::ZERO);
        }
    }
    run.goes_on(5).await;
}

async fn survive(count: u64, seed: u64, troubles: u32) {
    let mut site = Site::cutting(count).await;
    let service = make_counter(site.raft(ME)).await;
    site.agree().await;
    let run = Arc::new(Run::default());
    for (node, manager) in &site.managers {
        run.rafts.lock().unwrap().insert(*node, manager.raft.clone());
    }
    let delay_max = Duration::from_millis(10);
    let weather = Weather { lost_per_mille: 20, twice_per_mille: 20, delay_max };
    site.network.set_weather(weather, seed);
    let mut clients = JoinSet::new();
    for id in 0..CLIENTS {
        clients.spawn(client(Arc::clone(&run), service, seed + 100 + id));
    }
    let mut chance = Chance::seeded(seed);
    for round in 0..troubles {
        // Every second time it befalls whoever leads.
        let node = match round % 2 {
            0 => site.leader().await,
            _ => NodeId(1 + chance.next() % count),
        };
        trouble(&mut site, &run, &mut chance, node).await;
    }
    run.over.store(true, Ordering::SeqCst);
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    site.network.set_weather(Weather::default(), seed);
    let rafts: Vec<Raft> = site.managers.values().map(|manager| manager.raft.clone()).collect();
    write_somewhere(&rafts, &set_label("end", "reached")).await;
    site.agree().await;
    let history = run.history.lock().unwrap().clone();
    for (node, manager) in &site.managers {
        let state = manager.raft.state().borrow().clone();
        check(*node, &state, service, &history);
    }
    assert!(history.len() >= 25 * troubles as usize, "{} acknowledged", history.len());
    let terms = one_leader_per_term(&history);
    let snapshots = site.managers.values().filter(|m| m.raft.status().snapshot.0 > 0).count();
    assert_eq!(snapshots, site.managers.len(), "the log was cut everywhere meanwhile");
    println!("{count} managers, seed {seed}: {} acknowledged in {terms} terms", history.len());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_managers_keep_every_acknowledged_compare_and_set() {
    survive(3, 1, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_managers_keep_every_acknowledged_compare_and_set() {
    survive(5, 3, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_follower_delays_no_writes_and_no_election_follows() {
    let site = Site::new(3).await;
    let (slow, term) = (NodeId(3), site.term(ME));
    site.network.slow(slow, Duration::from_millis(80));
    for count in 0..50 {
        let value = count.to_string();
        site.raft(ME).propose(vec![set_label("count", &value)]).await.unwrap();
    }
    let status = site.raft(ME).status();
    assert_eq!(status.followers[&NodeId(2)].0.max(status.followers[&slow].0), status.last.0);
    site.network.slow(slow, Duration::ZERO);
    site.agree().await;
    until("the leader knows that the slow one has caught up", || {
        let status = site.raft(ME).status();
        let all = status.followers[&slow] == status.last;
        all.then(|| assert!(status.caught_up().contains(&slow)))
    })
    .await;
    assert_eq!(site.term(ME), term);
    assert!(site.raft(NodeId(2)).status().followers.is_empty(), "only the leader knows");
    site.end().await;
}

// One time meant both: how often a leader is heard, and how long an answer may take. Whoever leads, here an answer
// takes longer than a heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_majority_whose_answers_take_longer_than_a_heartbeat_is_waited_for() {
    let mut site = Site::new(3).await;
    site.lose(NodeId(2)).await;
    let left = [ME, NodeId(3)];
    for node in left {
        site.network.slow(node, TIMERS.heartbeat * 3 / 5);
    }
    let rafts = left.map(|node| site.raft(node).clone());
    for count in 0..5 {
        write_somewhere(&rafts, &set_label("count", &format!("{count}"))).await;
    }
    for node in left {
        site.network.slow(node, Duration::ZERO);
    }
    site.agree().await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_installed_while_writes_continue() {
    let mut site = Site::cutting(3).await;
    let three = NodeId(3);
    site.kill(three).await;
    let raft = site.raft(ME).clone();
    let mut count = 0;
    while raft.status().purged < LogIndex(60) {
        count += 1;
        raft.propose(vec![set_label("count", &count.to_string())]).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut writer = JoinSet::new();
    let (writing, stopping) = (raft.clone(), Arc::clone(&stop));
    writer.spawn(async move {
        let mut count = count;
        while !stopping.load(Ordering::SeqCst) {
            count += 1;
            writing.propose(vec![set_label("count", &count.to_string())]).await.unwrap();
        }
        count
    });
    site.start(three).await;
    let snapshots = site.network.sent(ME, crate::Rpc::Snapshot);
    until("it has a snapshot and what came after", || {
        let status = site.raft(three).status();
        (status.snapshot.0 > 0 && status.applied > raft.status().snapshot).then_some(())
    })
    .await;
    assert!(snapshots > 0 || site.network.sent(ME, crate::Rpc::Snapshot) > 0, "it was sent one");
    stop.store(true, Ordering::SeqCst);
    let count = writer.join_next().await.unwrap().unwrap();
    let wanted = count.to_string();
    site.managers[&three]
        .until("the last write", |state| {
            super::support::label(state, "count").as_deref() == Some(&wanted)
        })
        .await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_moves_is_found_at_its_new_address() {
    let site = Site::new(3).await;
    let two = NodeId(2);
    assert_eq!(site.raft(ME).status().voters[&two], "n2");
    site.raft(ME).add_learner(two, "moved").await.unwrap();
    let status = site.raft(ME).status();
    assert_eq!((status.voters[&two].as_str(), status.learners.len()), ("moved", 0), "it votes on");
    site.raft(ME).propose(vec![set_label("after", "the move")]).await.unwrap();
    site.agree().await;
    let error = site.raft(ME).remove(ME).await.unwrap_err();
    assert!(error.to_string().contains("hand over first"), "{error}");
    let new = site.raft(ME).hand_over_to(&BTreeSet::from([two])).await.unwrap();
    assert_eq!(new, two);
    site.raft(new).remove(ME).await.unwrap();
    assert!(!site.raft(new).status().voters.contains_key(&ME));
    site.end().await;
}
