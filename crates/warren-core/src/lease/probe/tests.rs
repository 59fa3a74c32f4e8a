//! What probes change, and what they do not.

use super::*;
use crate::command::{Applied, Command, Placing};
use crate::id::{RevisionNumber, Slot};
use crate::lease::{LEASES, Verdict, judge};
use crate::node::Availability;
use crate::observer::Observer;
use crate::service::Actor;
use crate::spec::OnDisconnect;
use crate::spec::tests::service;
use crate::state::tests::{Feed, facts};
use proptest::prelude::*;

/// A leader on the first of some nodes, which hears all of them but one, the last.
struct Site {
    feed: Feed,
    observer: Observer,
    now: ClusterTime,
    nodes: Vec<NodeId>,
    asks: Vec<(ClusterTime, Ask)>,
}

const STEP: u64 = 250;

impl Site {
    fn new(nodes: usize) -> Self {
        let mut feed = Feed::cluster();
        let nodes = (0..nodes).map(|i| feed.node(&format!("n{i}"))).collect();
        let now = ClusterTime::from_ms(100_000);
        let mut site =
            Self { feed, observer: Observer::new(now, now), now, nodes, asks: Vec::new() };
        for node in site.nodes.clone() {
            site.observer.connected(node, true);
            site.observer.heard(node, now);
        }
        site
    }

    fn silent(&self) -> NodeId {
        self.nodes[self.nodes.len() - 1]
    }

    /// A moment later all but the silent one are heard, and whoever is asked about that one says what `reaches` says.
    fn step(&mut self, reaches: impl Fn(NodeId) -> Option<bool>) -> Verdict {
        self.now = self.now.after(Duration::from_millis(STEP));
        let now = self.now;
        for node in &self.nodes[..self.nodes.len() - 1] {
            self.observer.heard(*node, now);
        }
        let own = self.nodes[0];
        for ask in due(&self.feed.state, self.observer.observed(), now, LEASES, own) {
            self.observer.asked(ask.suspect, ask.peers.clone(), now);
            for peer in &ask.peers {
                if let Some(reached) = reaches(*peer) {
                    assert!(self.observer.probed(ask.suspect, (*peer, now), reached));
                }
            }
            self.asks.push((now, ask));
        }
        judge(&self.feed.state, self.observer.observed(), now, LEASES)
    }

    /// For how long the silent one was silent when it was taken down, in milliseconds; nothing within two minutes.
    fn down_after(&mut self, reaches: impl Fn(NodeId, u64) -> Option<bool>) -> Option<u64> {
        (0..120_000 / STEP).map(|nth| (nth + 1) * STEP).find(|silence| {
            let verdict = self.step(|peer| reaches(peer, *silence));
            let down = Command::SetNodeUp { node: self.silent(), up: false };
            assert!(verdict.commands.iter().all(|command| *command == down));
            !verdict.commands.is_empty()
        })
    }
}

#[test]
fn a_node_that_nobody_reaches_goes_down_as_if_nobody_had_been_asked() {
    let mut site = Site::new(5);
    assert_eq!(site.down_after(|_, _| Some(false)), Some(9_000));
    assert_eq!(site.asks.len(), 3, "at 3 s, 6 s and 9 s");
    assert_eq!(Site::new(5).down_after(|_, _| None), Some(9_000), "nobody answers");
    let mut alone = Site::new(2);
    assert_eq!(alone.down_after(|_, _| Some(true)), Some(9_000), "there is nobody to ask");
    assert_eq!(alone.asks, []);
}

#[test]
fn a_node_that_others_reach_stays_suspect_for_a_minute() {
    let mut site = Site::new(5);
    assert_eq!(site.down_after(|_, _| Some(true)), Some(60_000));
    let mut one = Site::new(5);
    let peer = one.nodes[1];
    for _ in 0..40 {
        one.step(|_| Some(true));
    }
    let verdict = one.step(|asked| Some(asked == peer));
    let told = verdict.suspects[0].to_string();
    assert!(told.starts_with("silent for 10 s, but n") && told.contains(" reach it: "), "{told}");
}

#[test]
fn a_sign_of_life_takes_back_what_others_said() {
    let mut site = Site::new(5);
    for _ in 0..20 {
        site.step(|_| Some(true));
    }
    let silent = site.silent();
    assert_eq!(site.observer.observed().vouched().collect::<Vec<_>>(), [silent]);
    site.observer.heard(silent, site.now);
    assert!(site.observer.observed().probes.is_empty());
    // It dies a moment later: nobody reaches it, and it is given no more time than others.
    assert_eq!(site.down_after(|_, _| Some(false)), Some(9_000));
}

#[test]
fn an_operator_who_drains_a_node_overrules_those_who_reach_it() {
    let mut site = Site::new(5);
    for _ in 0..48 {
        assert_eq!(site.step(|_| Some(true)).commands, []);
    }
    let (node, availability) = (site.silent(), Availability::Drain);
    let by = Actor::named("test");
    site.feed.apply(Command::SetAvailability { node, availability, within: None, by }).unwrap();
    assert_eq!(site.step(|_| Some(true)).commands, [Command::SetNodeUp { node, up: false }]);
}

/// A task that stops because it hears no leader would else be answered for, and nowhere, until the minute is over.
#[test]
fn a_node_is_kept_no_longer_than_its_tasks_run_on() {
    for (span, down) in [(20, 20_000), (5, 9_000), (300, 60_000)] {
        let mut site = Site::new(5);
        let mut spec = Box::new(service("web", 1));
        spec.restart.on_disconnect = OnDisconnect::StopAfter(Duration::from_secs(span));
        let by = Actor::named("test");
        let made = site.feed.apply(Command::CreateService { spec, by });
        let Ok(Applied::Service { id: web, .. }) = made else { panic!("{made:?}") };
        let expect = site.feed.state.service(web).unwrap().generation;
        let revision = RevisionNumber(1);
        let placements = vec![Placing { slot: Slot(1), revision, node: site.silent() }];
        site.feed.apply(Command::PlaceTasks { service: web, expect, placements }).unwrap();
        assert_eq!(site.down_after(|_, _| Some(true)), Some(down), "{span} s");
    }
}

#[test]
fn the_brake_counts_only_those_that_nobody_reaches() {
    let mut site = Site::new(6);
    let late = ClusterTime::from_ms(100_000);
    let two = [site.nodes[4], site.nodes[5]];
    let at = late.after(Duration::from_secs(12));
    for node in &site.nodes[..4] {
        site.observer.heard(*node, at);
    }
    let held = judge(&site.feed.state, site.observer.observed(), at, LEASES);
    assert_eq!(held.held.map(|held| held.nodes), Some(two.to_vec()), "2 of 6 are too many");
    site.observer.asked(two[0], vec![site.nodes[1]], at);
    assert!(site.observer.probed(two[0], (site.nodes[1], at), true));
    let verdict = judge(&site.feed.state, site.observer.observed(), at, LEASES);
    assert_eq!(verdict.held, None);
    assert_eq!(verdict.commands, [Command::SetNodeUp { node: two[1], up: false }]);
    assert_eq!(verdict.suspects.len(), 1);
    assert_eq!(verdict.suspects[0].reached, [site.nodes[1]]);
}

#[test]
fn only_those_who_were_asked_are_heard_and_only_in_time() {
    let (one, other) = (NodeId(1), NodeId(2));
    let [first, second] = [1, 2].map(ClusterTime::from_ms);
    let mut probes = Probes::default();
    assert!(!probes.answer(one, first, true), "nobody was asked");
    probes.ask(vec![one], first);
    assert!(!probes.answer(other, first, true), "another was asked");
    probes.ask(vec![one], second);
    assert!(!probes.answer(one, first, true), "it was asked again since");
    assert!(!probes.is_vouched());
    assert!(probes.answer(one, second, true) && probes.is_vouched());
    probes.ask(vec![other], second);
    assert!(!probes.is_vouched(), "who is asked no more does not vouch");
}

#[test]
fn those_are_asked_who_share_least() {
    let mut feed = Feed::cluster();
    let mut node = |name: &str, address: [u8; 4], rack: &str| {
        let mut facts = facts(name);
        facts.address = address.into();
        let labels = [("rack".parse().unwrap(), rack.to_owned())].into();
        let (key, role) = (name.to_owned(), crate::node::Role::Worker);
        let facts = Box::new(facts);
        let made = Command::RegisterNode { key, role, facts, subnet: None, labels };
        let Ok(Applied::Node { id }) = feed.apply(made) else { panic!("{name}") };
        id
    };
    let suspect = node("s", [10, 0, 0, 1], "a");
    let beside = node("same-machine", [10, 0, 0, 1], "c");
    let in_b = ["b1", "b2", "b3"].map(|name| node(name, [10, 0, 1, name.as_bytes()[1]], "b"));
    let in_d = node("d1", [10, 0, 2, 1], "d");
    let found = |ids: &[NodeId]| {
        let all: Vec<_> = ids.iter().filter_map(|id| feed.state.node(*id)).collect();
        let all: Vec<&Node> = all.into_iter().map(AsRef::as_ref).collect();
        choose(feed.state.node(suspect).unwrap(), &all)
    };
    let mut all = vec![beside, in_d];
    all.extend(in_b);
    let chosen = found(&all);
    assert!(chosen.contains(&in_d), "one of each rack: {chosen:?}");
    assert!(in_b.iter().any(|node| chosen.contains(node)), "one of each rack: {chosen:?}");
    assert_eq!(found(&[beside, in_d]), [in_d, beside], "for want of another");
    assert_eq!(found(&[beside]), [beside]);
    assert_eq!(found(&[]), []);
}

proptest! {
    /// Whoever answers what, and whenever the node dies.
    #[test]
    fn never_earlier_than_the_grace_and_never_longer_than_the_bound(
        nodes in 3_usize..8,
        dies_at in 0_u64..90_000,
        answers in proptest::collection::vec(proptest::option::weighted(0.8, proptest::bool::weighted(0.7)), 64),
    ) {
        let mut site = Site::new(nodes);
        let answer = |peer: NodeId, silence: u64| {
            let nth = usize::try_from(silence / 3_000).unwrap() * 3 + usize::try_from(peer.0).unwrap();
            answers[nth % answers.len()].map(|reached| reached && silence < dies_at)
        };
        let silence = site.down_after(answer).expect("it goes down in the end");
        prop_assert!((9_000..=60_000).contains(&silence));
        prop_assert!(silence <= dies_at.max(3_000) + 6_000 + STEP, "what was said is worth 6 s");
        if silence > 9_000 {
            let vouched = |(at, ask): &(ClusterTime, Ask)| {
                let asked_after = at.as_ms() - 100_000;
                asked_after + 6_000 >= silence - STEP
                    && ask.peers.iter().any(|peer| answer(*peer, asked_after) == Some(true))
            };
            prop_assert!(site.asks.iter().any(vouched), "down at {silence} for no reason");
        }
    }

    /// Of whom, by whom and how often.
    #[test]
    fn suspects_are_asked_about_once_in_a_lease_and_never_asked(
        silences in proptest::collection::vec(0_u64..70_000, 1..40),
        connected in proptest::collection::vec(proptest::bool::ANY, 40),
        later in 0_u64..2_999,
    ) {
        let mut site = Site::new(silences.len());
        let (now, own) = (site.now, site.nodes[0]);
        let heard = |i: usize| ClusterTime::from_ms(now.as_ms() - silences[i]);
        let mut observer = Observer::new(ClusterTime::START, now);
        for (i, node) in site.nodes.iter().enumerate() {
            observer.connected(*node, connected[i]);
            observer.heard(*node, heard(i));
        }
        site.observer = observer;
        let asks = due(&site.feed.state, site.observer.observed(), now, LEASES, own);
        for (i, node) in site.nodes.iter().enumerate() {
            let about = asks.iter().filter(|ask| ask.suspect == *node).count();
            let suspect = (3_000..60_000).contains(&silences[i]);
            prop_assert!(about <= 1 && (suspect || about == 0));
            let able = connected[i] && silences[i] < 3_000 && *node != own;
            prop_assert!(able || asks.iter().all(|ask| !ask.peers.contains(node)));
            let others = (0..silences.len()).any(|j| {
                connected[j] && silences[j] < 3_000 && site.nodes[j] != own
            });
            prop_assert_eq!(about == 1, suspect && others);
        }
        for ask in &asks {
            prop_assert!((1..=PEERS).contains(&ask.peers.len()));
            prop_assert!(ask.peers.len() == 1 || ask.peers[0] != ask.peers[1]);
            site.observer.asked(ask.suspect, ask.peers.clone(), now);
        }
        let soon = now.after(Duration::from_millis(later));
        let again = due(&site.feed.state, site.observer.observed(), soon, LEASES, own);
        prop_assert!(again.iter().all(|ask| asks.iter().all(|before| before.suspect != ask.suspect)));
    }
}

#[test]
fn no_more_are_asked_about_than_is_of_use() {
    let mut site = Site::new(SUSPECTS_MAX * 2 + 2);
    let at = site.now.after(Duration::from_secs(4));
    let own = site.nodes[0];
    site.observer.heard(site.nodes[1], at);
    let ask = |site: &mut Site, at| {
        let asks = due(&site.feed.state, site.observer.observed(), at, LEASES, own);
        for ask in &asks {
            site.observer.asked(ask.suspect, ask.peers.clone(), at);
        }
        asks.len()
    };
    assert_eq!((ask(&mut site, at), ask(&mut site, at)), (SUSPECTS_MAX, 0));
    let next = at.after(LEASES.lease);
    site.observer.heard(site.nodes[1], next);
    let before: Vec<_> = site.observer.observed().probes.keys().copied().collect();
    assert_eq!(ask(&mut site, next), SUSPECTS_MAX);
    let all = site.observer.observed().probes.len();
    assert_eq!(all, before.len() + SUSPECTS_MAX, "those who waited come first");
}
