//! Every deed is kept, and whatever is done to the chain afterwards is seen.

use super::*;
use crate::command::{Command, Entry, Witnessed};
use crate::id::{NodeId, ServiceId};
use crate::node::Role;
use crate::simulate::{Behaviour, Cluster, Fault};
use crate::spec::tests::service;
use crate::spec::{FailureAction, Hash, Image};
use crate::state::State;
use crate::time::ClusterTime;
use proptest::prelude::*;

fn entry(index: u64, command: Command) -> Entry {
    let (at, wall) = (ClusterTime::from_ms(index), WallTime(1_000 + index));
    Entry { index: LogIndex(index), at, wall, command }
}

fn by(name: &str) -> Actor {
    Actor { name: name.to_owned(), from: "198.51.100.7".to_owned() }
}

/// Commands that somebody sends; whether each is a deed of theirs.
fn command() -> impl Strategy<Value = (Command, bool)> {
    let service = (0_u64..3).prop_map(ServiceId);
    prop_oneof![
        service
            .clone()
            .prop_map(|id| (Command::DeleteService { service: id, by: by("ann") }, true)),
        service.prop_map(|id| (Command::RestartService { service: id, by: by("bob") }, true)),
        Just((Command::RevokeJoinTokens { role: Role::Worker, by: by("ann") }, true)),
        Just((Command::RemoveNode { node: NodeId(9), force: true, by: by("eve") }, true)),
        "[ -~]{0,2000}".prop_map(|detail| {
            let (action, target) = (Witnessed::Exec, "web.1".to_owned());
            (Command::Witness { by: by("ann"), action, target, detail }, true)
        }),
        Just((Command::Checkpoint, false)),
        Just((Command::ForgetTasks { tasks: Vec::new() }, false)),
    ]
}

proptest! {
    #[test]
    fn every_deed_is_kept_once_refused_ones_too_and_the_chain_holds(
        commands in proptest::collection::vec(command(), 0..60)
    ) {
        let mut state = State::default();
        let mut deeds = 0;
        for (at, (command, is_deed)) in commands.into_iter().enumerate() {
            let refused = state.apply(entry(at as u64 + 1, command)).is_err();
            deeds += u64::from(is_deed);
            prop_assert_eq!(state.audit().count(), deeds);
            if is_deed {
                let last = state.audit().entries().next_back().unwrap();
                prop_assert_eq!(!last.refused.is_empty(), refused);
                prop_assert_eq!(last.by.from.as_str(), "198.51.100.7");
            }
        }
        let kept = state.audit().entries().map(AsRef::as_ref);
        prop_assert_eq!(broken(*state.audit().before(), kept), None);
    }

    #[test]
    fn whatever_is_changed_or_left_out_is_seen(count in 2_u64..30, at in any::<prop::sample::Index>(), way in 0..4) {
        let mut log = AuditLog::default();
        for index in 1..=count {
            log.add(deed("ann"), LogIndex(index), WallTime(index), String::new());
        }
        let mut kept: Vec<AuditEntry> = log.entries().map(|entry| (**entry).clone()).collect();
        let at = at.index(kept.len() - 1);
        match way {
            0 => kept[at].by.name = "bob".to_owned(),
            1 => kept[at].refused = "no".to_owned(),
            2 => { kept.remove(at); }
            _ => kept.swap(at, at + 1),
        }
        prop_assert!(broken(*log.before(), &kept).is_some());
    }
}

fn deed(name: &str) -> Deed {
    let (by, target) = (by(name), "web".to_owned());
    Deed { by, action: "service scale".to_owned(), target, detail: "to 3".to_owned() }
}

#[test]
fn the_oldest_go_and_the_chain_goes_on_from_their_hash() {
    let mut log = AuditLog::default();
    let count = AUDIT_KEPT as u64 + 5;
    for index in 1..=count {
        log.add(deed("ann"), LogIndex(index), WallTime(index), String::new());
    }
    assert_eq!(log.entries().len(), AUDIT_KEPT);
    assert_eq!((log.count(), log.entries().next().unwrap().number), (count, 6));
    assert_eq!(broken(*log.before(), log.entries().map(AsRef::as_ref)), None);
    assert_eq!(log.from(0).next().unwrap().number, 6);
    assert_eq!(log.from(count).map(|entry| entry.number).collect::<Vec<_>>(), [count]);
    assert_eq!(log.from(count + 1).count(), 0);
}

/// The bytes that are hashed are a promise to whoever checks the chain without Warren.
#[test]
fn the_chain_begins_as_it_always_did() {
    let mut log = AuditLog::default();
    log.add(deed("ann"), LogIndex(1), WallTime(2), String::new());
    let first = log.entries().next().unwrap();
    let mut bytes = vec![0; 32];
    for number in [1_u64, 1, 2] {
        bytes.extend(number.to_be_bytes());
    }
    for text in ["ann", "198.51.100.7", "service scale", "web", "to 3", ""] {
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    assert_eq!(Hash(first.hash), Hash(Sha256::digest(bytes).into()));
}

/// Whoever reads the audit a month later asks first how a release went.
#[test]
fn the_end_of_a_release_is_told_with_its_outcome() {
    let minute = std::time::Duration::from_secs(60);
    let mut cluster = Cluster::new(2, 1);
    let mut spec = service("web", 2);
    spec.update.failure_action = FailureAction::Rollback;
    let make = Command::CreateService { spec: Box::new(spec.clone()), by: by("ann") };
    let Ok(crate::command::Applied::Service { id, .. }) = cluster.request(make) else { panic!() };
    cluster.advance(minute);
    let last = |cluster: &Cluster| {
        let mut entries = cluster.state().audit().entries().rev();
        entries.find(|entry| entry.action == "release").map(|entry| entry.detail.clone()).unwrap()
    };
    assert_eq!(last(&cluster), "ended: completed");
    let (revision, how) = (crate::id::RevisionNumber(2), Behaviour::NoImage);
    cluster.disturb(&Fault::Behave { revision, how, percent: 100 }).unwrap();
    spec.template.image = Image::parse("web:v2").unwrap();
    let expect = cluster.state().service(id).unwrap().generation;
    let (spec, cause) = (Box::new(spec), String::new());
    let update = Command::UpdateService {
        service: id,
        expect,
        spec,
        by: by("ann"),
        cause,
        freeze_override: None,
    };
    cluster.request(update).unwrap();
    cluster.advance(10 * minute);
    assert!(last(&cluster).starts_with("ended: rolled-back: "), "{}", last(&cluster));
}
