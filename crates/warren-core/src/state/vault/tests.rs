//! What the vault promises.

use super::*;
use crate::command::Command;
use crate::id::{Generation, RevisionNumber, ServiceId};
use crate::invariant;
use crate::spec::ServiceSpec;
use crate::spec::tests::service;
use crate::state::tests::Feed;
use crate::vault::Body;
use proptest::prelude::*;

const SECRET: FileKind = FileKind::Secret;

fn by() -> Actor {
    Actor::named("root")
}

fn named(name: &str) -> FileName {
    FileName::parse(name).unwrap()
}

fn make(kind: FileKind, name: &str, content: &[u8]) -> Command {
    let (body, bytes) = (Body(content.to_vec()), u32::try_from(content.len()).unwrap());
    let (name, labels) = (named(name), BTreeMap::new());
    Command::CreateFile { file: Fresh { kind, name, body, bytes, by: by() }, labels }
}

fn renew(name: &str, version: u32, content: &[u8]) -> Command {
    let (body, bytes) = (Body(content.to_vec()), u32::try_from(content.len()).unwrap());
    let (name, version) = (named(name), FileVersion(version));
    Command::UpdateFile { file: Fresh { kind: SECRET, name, body, bytes, by: by() }, version }
}

fn remove(name: &str) -> Command {
    Command::RemoveFile { kind: SECRET, name: named(name), by: by() }
}

fn file(name: &str, version: Option<u32>) -> FileRef {
    let name = named(name);
    FileRef {
        kind: SECRET,
        target: FileRef::secret_target(&name),
        name,
        version: version.map(FileVersion),
        mode: FileRef::MODE,
        uid: None,
        gid: None,
    }
}

fn using(files: Vec<FileRef>) -> ServiceSpec {
    let mut spec = service("web", 1);
    spec.template.files = files;
    spec
}

fn created(feed: &mut Feed, spec: ServiceSpec) -> ServiceId {
    match feed.apply(Command::CreateService { spec: Box::new(spec), by: by() }) {
        Ok(Applied::Service { id, .. }) => id,
        other => panic!("{other:?}"),
    }
}

fn update(feed: &mut Feed, id: ServiceId, spec: ServiceSpec) -> Result<Applied, Rejection> {
    let expect: Generation = feed.state.service(id).unwrap().generation;
    let (spec, cause) = (Box::new(spec), String::new());
    let update = Command::UpdateService {
        service: id,
        expect,
        spec,
        by: by(),
        cause,
        freeze_override: None,
    };
    feed.apply(update)
}

fn version_of(feed: &Feed, id: ServiceId, revision: u32) -> FileVersion {
    let service = feed.state.service(id).unwrap();
    service.revisions[&RevisionNumber(revision)].template.files[0].version.unwrap()
}

#[test]
fn a_revision_keeps_the_version_that_was_newest_when_it_was_made() {
    let mut feed = Feed::cluster();
    feed.apply(make(SECRET, "db", b"one")).unwrap();
    let web = created(&mut feed, using(vec![file("db", None)]));
    assert_eq!(version_of(&feed, web, 1), FileVersion(1));
    feed.apply(renew("db", 2, b"two")).unwrap();
    let same = feed.state.service(web).unwrap().spec.clone();
    let applied = update(&mut feed, web, same).unwrap();
    assert!(matches!(applied, Applied::Service { changed: false, .. }), "{applied:?}");
    update(&mut feed, web, using(vec![file("db", None)])).unwrap();
    assert_eq!(version_of(&feed, web, 2), FileVersion(2), "a reference anew means the newest");
    assert_eq!(version_of(&feed, web, 1), FileVersion(1), "the way back has what it had");
    invariant::check(&feed.state).unwrap();
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let mut feed = Feed::cluster();
    let spec = Box::new(using(vec![file("db", None)]));
    let refused = feed.apply(Command::CreateService { spec, by: by() }).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "there is no secret db: make it with `warren secret create db`"
    );
    assert_eq!(feed.state.services().count(), 0);
    feed.apply(make(FileKind::Config, "db", b"a config of that name is no secret")).unwrap();
    let spec = Box::new(using(vec![file("db", None)]));
    feed.apply(Command::CreateService { spec, by: by() }).unwrap_err();
    feed.apply(make(SECRET, "db", b"one")).unwrap();
    let spec = Box::new(using(vec![file("db", Some(7))]));
    let refused = feed.apply(Command::CreateService { spec, by: by() }).unwrap_err();
    assert!(refused.to_string().contains("has no version 7"), "{refused}");
}

#[test]
fn what_is_used_stays_and_who_uses_it_is_named() {
    let mut feed = Feed::cluster();
    feed.apply(make(SECRET, "db", b"one")).unwrap();
    let web = created(&mut feed, using(vec![file("db", None)]));
    let refused = feed.apply(remove("db")).unwrap_err();
    assert!(refused.to_string().starts_with("secret db is used by web (v1)"), "{refused}");
    update(&mut feed, web, using(Vec::new())).unwrap();
    let refused = feed.apply(remove("db")).unwrap_err();
    assert!(refused.to_string().contains("web (v1)"), "a rollback may lead there: {refused}");
    feed.apply(Command::DeleteService { service: web, by: by() }).unwrap();
    feed.apply(Command::ForgetService { service: web }).unwrap();
    feed.apply(remove("db")).unwrap();
    assert_eq!(feed.apply(remove("db")).unwrap_err(), no_item(SECRET, &named("db")));
}

#[test]
fn old_versions_go_unless_a_revision_uses_them() {
    let mut feed = Feed::cluster();
    feed.apply(make(SECRET, "db", b"one")).unwrap();
    created(&mut feed, using(vec![file("db", None)]));
    let last = u32::try_from(VERSIONS_KEPT).unwrap() + 5;
    for version in 2..=last {
        feed.apply(renew("db", version, b"next")).unwrap();
    }
    let item = feed.state.item(SECRET, &named("db")).unwrap();
    let kept: Vec<u32> = item.versions.keys().map(|version| version.0).collect();
    assert_eq!(kept[0], 1, "the version in use stays");
    assert_eq!((kept.len(), kept[kept.len() - 1]), (VERSIONS_KEPT + 1, last));
    invariant::check(&feed.state).unwrap();
}

#[test]
fn sizes_and_counts_have_limits_and_versions_are_taken_in_turn() {
    let mut feed = Feed::cluster();
    let large = vec![0; SECRET_BYTES_MAX + 1];
    let refused = feed.apply(make(SECRET, "large", &large)).unwrap_err();
    assert!(refused.to_string().starts_with("bytes of a secret: 65537"), "{refused}");
    feed.apply(make(FileKind::Config, "large", &large)).unwrap();
    feed.apply(make(SECRET, "db", b"one")).unwrap();
    assert!(matches!(feed.apply(make(SECRET, "db", b"")), Err(Rejection::FileTaken { .. })));
    assert!(matches!(feed.apply(renew("db", 3, b"")), Err(Rejection::Stale(_))));
    assert!(matches!(feed.apply(renew("no", 2, b"")), Err(Rejection::NoFile { .. })));
    for i in 1..ITEMS_MAX {
        feed.apply(make(SECRET, &format!("s{i}"), b"")).unwrap();
    }
    assert!(matches!(feed.apply(make(SECRET, "more", b"")), Err(Rejection::TooMany { .. })));
    feed.apply(make(FileKind::Config, "more", b"")).expect("configs are counted apart");
}

#[test]
fn all_contents_together_have_a_limit() {
    let mut feed = Feed::cluster();
    let large = vec![0; CONFIG_BYTES_MAX];
    let fit = usize::try_from(CONTENT_BYTES_MAX).unwrap() / CONFIG_BYTES_MAX;
    for i in 0..fit {
        feed.apply(make(FileKind::Config, &format!("c{i}"), &large)).unwrap();
    }
    let refused = feed.apply(make(FileKind::Config, "more", &large)).unwrap_err();
    assert!(refused.to_string().starts_with("bytes of all secrets and configs"), "{refused}");
}

#[test]
fn a_content_is_never_printed() {
    let printed = format!("{:?}", make(SECRET, "db", b"canary"));
    assert!(printed.contains("Body(6 bytes)"), "{printed}");
    assert!(!printed.contains("99, 97") && !printed.contains("canary"), "{printed}");
}

/// One thing that somebody may do, in any order.
#[derive(Clone, Debug)]
enum Act {
    Make(u8),
    Renew(u8, u32),
    Remove(u8),
    Use(Vec<(u8, Option<u32>)>),
    Delete,
}

fn act() -> impl Strategy<Value = Act> {
    let refs = prop::collection::vec((0..3_u8, prop::option::of(1..6_u32)), 0..3);
    prop_oneof![
        3 => (0..3_u8).prop_map(Act::Make),
        4 => (0..3_u8, 1..30_u32).prop_map(|(name, version)| Act::Renew(name, version)),
        3 => (0..3_u8).prop_map(Act::Remove),
        5 => refs.prop_map(Act::Use),
        1 => Just(Act::Delete),
    ]
}

proptest! {
    #[test]
    fn whatever_is_done_a_kept_revision_finds_its_content(acts in prop::collection::vec(act(), 1..60)) {
        let mut feed = Feed::cluster();
        for act in acts {
            let web = feed.state.services().next().map(|service| service.id);
            let before = feed.state.clone();
            let name = |name: u8| format!("s{name}");
            let outcome = match act {
                Act::Make(one) => feed.apply(make(SECRET, &name(one), b"x")),
                Act::Renew(one, version) => feed.apply(renew(&name(one), version, b"y")),
                Act::Remove(one) => feed.apply(remove(&name(one))),
                Act::Use(refs) => {
                    let refs: BTreeMap<u8, Option<u32>> = refs.into_iter().collect();
                    let files = refs.into_iter().map(|(one, version)| file(&name(one), version));
                    let spec = using(files.collect());
                    match web {
                        Some(web) => update(&mut feed, web, spec),
                        None => feed.apply(Command::CreateService { spec: Box::new(spec), by: by() }),
                    }
                }
                Act::Delete => match web {
                    Some(service) => {
                        let deleted = feed.apply(Command::DeleteService { service, by: by() });
                        feed.apply(Command::ForgetService { service }).and(deleted)
                    }
                    None => Ok(Applied::Done),
                },
            };
            invariant::check(&feed.state).unwrap();
            if outcome.is_err() {
                prop_assert_eq!(&feed.state.stored.vault, &before.stored.vault);
                prop_assert_eq!(&feed.state.stored.services, &before.stored.services);
            }
            let bytes = postcard::to_allocvec(&feed.state).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<State>(&bytes).unwrap(), &feed.state);
        }
    }
}
