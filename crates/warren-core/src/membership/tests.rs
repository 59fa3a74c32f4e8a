//! Changes of the voters, one by one and as a property of any cluster.

use super::*;
use proptest::prelude::*;

fn n(id: u64) -> NodeId {
    NodeId(id)
}

fn set(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn named(ids: &[u64]) -> BTreeMap<NodeId, String> {
    ids.iter().map(|id| (n(*id), format!("at-{id}"))).collect()
}

fn managers(up: &[u64], down: &[u64]) -> Vec<Candidate> {
    let of = |ids: &[u64], up| {
        let all = ids.iter().map(move |id| Candidate {
            node: n(*id),
            address: format!("at-{id}"),
            up,
            role: Role::Manager,
        });
        all.collect::<Vec<_>>()
    };
    [of(up, true), of(down, false)].concat()
}

fn seen(voters: &[u64], learners: &[u64], caught_up: &[u64]) -> Seen {
    Seen {
        voters: named(voters),
        learners: named(learners),
        changing: None,
        leader: n(voters[0]),
        caught_up: set(caught_up),
    }
}

#[test]
fn a_second_manager_follows_and_a_third_makes_three_voters() {
    let two = managers(&[1, 2], &[]);
    let add = Change::AddLearner { node: n(2), address: "at-2".to_owned() };
    assert_eq!(next(&two, &seen(&[1], &[], &[])), Some(add));
    assert_eq!(next(&two, &seen(&[1], &[2], &[2])), None, "two voters are worse than one");
    let three = managers(&[1, 2, 3], &[]);
    assert_eq!(next(&three, &seen(&[1], &[2, 3], &[2])), None, "n3 has not caught up");
    let all = Change::SetVoters(set(&[1, 2, 3]));
    assert_eq!(next(&three, &seen(&[1], &[2, 3], &[2, 3])), Some(all));
    assert_eq!(next(&three, &seen(&[1, 2, 3], &[], &[])), None);
}

#[test]
fn a_voter_that_is_down_stays_until_a_spare_can_take_its_place() {
    let without = managers(&[1, 2], &[3]);
    assert_eq!(next(&without, &seen(&[1, 2, 3], &[], &[])), None);
    let with = managers(&[1, 2, 4], &[3]);
    assert_eq!(next(&with, &seen(&[1, 2, 3], &[4], &[])), None, "it has not caught up");
    let replaced = Change::SetVoters(set(&[1, 2, 4]));
    assert_eq!(next(&with, &seen(&[1, 2, 3], &[4], &[4])), Some(replaced));
    let back = managers(&[1, 2, 3, 4], &[]);
    assert_eq!(next(&back, &seen(&[1, 2, 4], &[3], &[3])), None, "the spare is now the other one");
}

#[test]
fn nothing_is_changed_that_could_not_be_agreed() {
    let alone = managers(&[1, 4], &[2, 3]);
    assert_eq!(next(&alone, &seen(&[1, 2, 3], &[4], &[4])), None);
    let mut half_way = seen(&[1, 2, 3], &[], &[]);
    half_way.changing = Some(set(&[1, 2, 3]));
    let end = Change::SetVoters(set(&[1, 2, 3]));
    assert_eq!(next(&managers(&[1, 2, 3], &[]), &half_way), Some(end), "ended first");
}

#[test]
fn seven_vote_at_most_and_the_rest_wait() {
    let nine = managers(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[]);
    let some = seen(&[1], &[2, 3, 4, 5, 6, 7, 8, 9], &[2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(next(&nine, &some), Some(Change::SetVoters(set(&[1, 2, 3, 4, 5, 6, 7]))));
    assert_eq!(next(&nine, &seen(&[1, 2, 3, 4, 5, 6, 7], &[8, 9], &[8, 9])), None);
}

#[test]
fn a_leader_that_is_to_go_hands_over_first() {
    let mut candidates = managers(&[1, 2, 3, 4], &[]);
    candidates[0].role = Role::Worker;
    let mut raft = seen(&[1, 2, 3], &[4], &[4]);
    let handed = Change::HandOver { to: set(&[2, 3]) };
    assert_eq!(next(&candidates, &raft), Some(handed));
    raft.leader = n(2);
    assert_eq!(next(&candidates, &raft), Some(Change::SetVoters(set(&[2, 3, 4]))));
    // The only voter first makes one that can take over.
    let mut two = managers(&[1, 2], &[]);
    two[0].role = Role::Worker;
    let both = Change::SetVoters(set(&[1, 2]));
    assert_eq!(next(&two, &seen(&[1], &[2], &[2])), Some(both));
    let handed = Change::HandOver { to: set(&[2]) };
    assert_eq!(next(&two, &seen(&[1, 2], &[], &[])), Some(handed));
    assert_eq!(next(&two, &seen(&[1], &[2], &[])), None, "nobody can yet");
}

#[test]
fn members_that_moved_are_told_and_those_that_left_forgotten() {
    let mut candidates = managers(&[1, 2, 3], &[]);
    candidates[1].address = "elsewhere".to_owned();
    let moved = Change::Move { node: n(2), address: "elsewhere".to_owned() };
    assert_eq!(next(&candidates, &seen(&[1, 2, 3], &[], &[])), Some(moved));
    let learner_left = managers(&[1], &[]);
    let forgotten = Change::Remove { node: n(2) };
    assert_eq!(next(&learner_left, &seen(&[1], &[2], &[2])), Some(forgotten));
}

// Which managers may go, in the words that people read.
#[test]
fn a_leave_that_would_break_the_majority_is_refused_by_name() {
    let names = |ids: &[u64]| ids.iter().map(|id| (n(*id), format!("m{id}"))).collect();
    let three: BTreeMap<NodeId, String> = names(&[1, 2, 3]);
    assert_eq!(quorum_after(&three, &set(&[1, 2, 3]), n(9)), Verdict::NoVoter);
    assert_eq!(quorum_after(&three, &set(&[1, 2, 3]), n(3)), Verdict::Safe { spare: 0 });
    assert_eq!(quorum_after(&three, &set(&[1, 2]), n(3)), Verdict::Safe { spare: 0 });
    assert_eq!(
        quorum_after(&names(&[1, 2, 3, 4]), &set(&[1, 2, 3, 4]), n(4)),
        Verdict::Safe { spare: 1 }
    );
    let breaks = quorum_after(&three, &set(&[1, 2]), n(2));
    assert!(!breaks.is_safe());
    assert_eq!(
        breaks.to_string(),
        "without m2 (n2) only 1 of 2 managers would be up (m1 (n1)), which is no majority; \
         bring m3 (n3) back or remove it first"
    );
    let lost = quorum_after(&three, &set(&[1]), n(3));
    assert!(!lost.is_safe());
    assert_eq!(
        lost.to_string(),
        "2 of 3 managers are down (m2 (n2), m3 (n3)), so nothing can be agreed; bring them back, \
         or recover the cluster from one that is up"
    );
    let last = quorum_after(&names(&[1]), &set(&[1]), n(1));
    assert!(!last.is_safe() && last.to_string().starts_with("m1 (n1) is the only manager"));
    let nameless = BTreeMap::from([(n(1), String::new())]);
    assert!(quorum_after(&nameless, &set(&[1]), n(1)).to_string().starts_with("n1 is"));
}

/// A cluster in which changes take effect and learners catch up.
#[derive(Clone, Debug)]
struct World {
    candidates: Vec<Candidate>,
    raft: Seen,
}

impl World {
    /// A member that is no node any more runs until it is forgotten.
    fn up(&self, node: NodeId) -> bool {
        node == self.raft.leader || !self.candidates.iter().any(|c| c.node == node && !c.up)
    }

    fn manages(&self, node: NodeId) -> bool {
        self.candidates.iter().any(|c| c.node == node && c.role == Role::Manager)
    }

    fn has_majority(&self) -> bool {
        let up = self.raft.voters.keys().filter(|node| self.up(**node)).count();
        up * 2 > self.raft.voters.len()
    }

    fn apply(&mut self, change: Change) {
        let raft = &mut self.raft;
        match change {
            Change::AddLearner { node, address } => {
                let known = raft.voters.contains_key(&node) || raft.learners.contains_key(&node);
                assert!(!known, "{node} is a member already");
                raft.learners.insert(node, address);
            }
            Change::Remove { node } => assert!(raft.learners.remove(&node).is_some()),
            Change::Move { node, address } => {
                let all = raft.voters.get_mut(&node).or_else(|| raft.learners.get_mut(&node));
                *all.expect("a member") = address;
            }
            Change::SetVoters(voters) => {
                assert!(voters.contains(&raft.leader), "the leader does not remove itself");
                let mut members = std::mem::take(&mut raft.learners);
                let before = std::mem::take(&mut raft.voters);
                for node in &voters {
                    let address = members.remove(node).or_else(|| before.get(node).cloned());
                    raft.voters.insert(*node, address.expect("a member"));
                }
                raft.learners = members;
                raft.changing = None;
            }
            Change::HandOver { to } => {
                assert!(
                    to.iter().all(|node| raft.voters.contains_key(node) && *node != raft.leader)
                );
                raft.leader = *to.last().expect("an heir");
            }
        }
    }

    /// Whether some learner has caught up that had not.
    fn catch_up(&mut self) -> bool {
        let learners = self.raft.learners.keys().copied();
        let caught_up: BTreeSet<NodeId> = learners.filter(|node| self.up(*node)).collect();
        let more = !caught_up.is_subset(&self.raft.caught_up);
        self.raft.caught_up = caught_up;
        more
    }
}

prop_compose! {
    fn world()(
        nodes in proptest::collection::vec((any::<bool>(), 0_u8..10, 0_u8..10, 0_u8..4), 1..12),
        first in 1_u64..12,
    ) -> World {
        let mut candidates = Vec::new();
        let (mut voters, mut learners, mut caught_up) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for (id, (up, role, member, more)) in (1..).zip(nodes) {
            let node = NodeId(id);
            let role = if role < 8 { Role::Manager } else { Role::Worker };
            let address = format!("at-{id}");
            let known = if more == 0 { "elsewhere".to_owned() } else { address.clone() };
            match member {
                0..=4 if voters.len() < VOTERS_MAX => { voters.insert(node, known); }
                5..=7 => {
                    learners.insert(node, known);
                    if more > 1 { caught_up.insert(node); }
                }
                _ => {}
            }
            // Some members are no nodes any more.
            if member != 4 || more != 1 {
                candidates.push(Candidate { node, address, up, role });
            }
        }
        if voters.is_empty() {
            learners.remove(&NodeId(first));
            voters.insert(NodeId(first), "first".to_owned());
        }
        let up = |node: &NodeId| candidates.iter().any(|c| c.node == *node && c.up);
        let leader = voters.keys().copied().find(up).or_else(|| voters.keys().next().copied()).unwrap();
        // Who leads is up.
        candidates.iter_mut().filter(|c| c.node == leader).for_each(|c| c.up = true);
        World { candidates, raft: Seen { voters, learners, changing: None, leader, caught_up } }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn changes_end_where_they_should_and_never_lose_the_majority(mut world in world()) {
        let begun_with = world.has_majority();
        let begun = world.clone();
        let mut steps = 0;
        loop {
            let Some(change) = next(&world.candidates, &world.raft) else {
                if world.catch_up() { continue } else { break }
            };
            prop_assert!(begun_with, "without a majority nothing can be agreed: {change:?}");
            steps += 1;
            prop_assert!(steps < 40, "no end: {begun:?}");
            let before = world.raft.voters.len();
            let leaves = !world.manages(world.raft.leader);
            world.apply(change);
            prop_assert!(world.has_majority(), "the majority is lost: {begun:?} to {world:?}");
            let now = world.raft.voters.len();
            prop_assert!(now % 2 == 1 || now == before || leaves, "an even number: {world:?}");
            prop_assert!(now <= VOTERS_MAX + 1);
        }
        if !begun_with {
            return Ok(());
        }
        let managers = || world.candidates.iter().filter(|c| c.role == Role::Manager);
        let up: Vec<_> = managers().filter(|c| world.up(c.node)).collect();
        if up.is_empty() {
            return Ok(());
        }
        let voters = &world.raft.voters;
        prop_assert!(voters.len() % 2 == 1, "{world:?}");
        prop_assert!(voters.len() >= odd(up.len()).min(VOTERS_MAX), "{world:?}");
        prop_assert!(voters.keys().all(|node| world.manages(*node)), "{world:?}");
        for manager in up {
            let member = voters.get(&manager.node).or_else(|| world.raft.learners.get(&manager.node));
            prop_assert_eq!(member, Some(&manager.address));
        }
        prop_assert!(world.raft.learners.keys().all(|node| world.manages(*node)));
    }

    #[test]
    fn a_voter_that_goes_down_and_comes_back_changes_nothing_without_a_spare(count in 1_u64..4, down in 1_usize..8) {
        let all: Vec<u64> = (1..=count * 2 + 1).collect();
        let raft = seen(&all, &[], &[]);
        let mut candidates = managers(&all, &[]);
        if let Some(candidate) = candidates.get_mut(down) {
            candidate.up = false;
        }
        prop_assert_eq!(next(&candidates, &raft), None);
    }

    #[test]
    fn who_may_go_leaves_a_majority(voters in 1_u64..8, up_bits in any::<u8>(), leaving in 1_u64..9) {
        let all: Vec<u64> = (1..=voters).collect();
        let up: BTreeSet<NodeId> = all.iter().filter(|id| up_bits >> *id & 1 == 1).copied().map(NodeId).collect();
        let verdict = quorum_after(&named(&all), &up, NodeId(leaving));
        let left = all.iter().filter(|id| **id != leaving);
        let left_up = left.clone().filter(|id| up.contains(&NodeId(**id))).count();
        if verdict.is_safe() && leaving <= voters {
            prop_assert!(left_up * 2 > left.count());
        }
        prop_assert!(!verdict.to_string().is_empty());
    }
}
