//! What specs refuse.

use super::*;
use crate::units::MilliCpu;

/// A small valid service.
pub(crate) fn service(name: &str, replicas: u32) -> ServiceSpec {
    ServiceSpec {
        name: ServiceName::parse(name).unwrap(),
        mode: Mode::Replicated { replicas },
        template: Template::new(Image::parse("web:v1").unwrap()),
        placement: Placement::default(),
        restart: RestartPolicy::default(),
        update: UpdateSettings::default(),
        labels: BTreeMap::new(),
    }
}

fn port(container: u16, host: Option<u16>) -> Port {
    Port { name: None, container, protocol: Protocol::Tcp, host }
}

#[test]
fn names_keep_to_their_alphabet() {
    for good in ["web", "a", "web-2", &"a".repeat(63)] {
        assert!(ServiceName::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "Web", "1web", "web-", "we_b", "web.x", "node", "wéb", &"a".repeat(64)] {
        assert!(ServiceName::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_refusal_names_the_field() {
    let field = |spec: ServiceSpec| spec.checked().unwrap_err().field;

    assert_eq!(field(service("web", REPLICAS_MAX + 1)), "replicated.replicas");

    let mut spec = service("web", 1);
    spec.template.ports = vec![port(80, None), port(80, None)];
    assert_eq!(field(spec), "template.ports[1].container");

    let mut spec = service("web", 1);
    spec.template.ports = vec![port(80, Some(8080)), port(81, Some(8080))];
    assert_eq!(field(spec), "template.ports[1].host");

    let mut spec = service("web", 1);
    spec.template.env.insert("BIG".into(), "x".repeat(ENV_BYTES_MAX));
    assert_eq!(field(spec), "template.env");

    let mut spec = service("web", 1);
    spec.update.max_surge = Quantity::Percent(0);
    assert_eq!(field(spec), "update_config.max_surge, max_unavailable");

    let mut spec = service("web", 1);
    spec.mode = Mode::Global;
    spec.placement.max_per_node = Some(1);
    assert_eq!(field(spec), "placement.max_per_node");
}

#[test]
fn constraints_read_what_they_print() {
    for text in [
        "node.id==n1",
        "node.labels.disk!=hdd",
        "node.labels.zone in (a, b)",
        "node.labels.gpu exists",
        "node.labels.rank > 3",
        "node.labels.rank < -3",
    ] {
        assert_eq!(text.parse::<Constraint>().unwrap().to_string(), text);
    }
    for wrong in ["", "node.id", "id==1", "node.labels.==x", "node.id==", "node.labels.a > x"] {
        assert!(wrong.parse::<Constraint>().is_err(), "{wrong}");
    }
}

#[test]
fn shares_round_the_safe_way() {
    let quarter: Quantity = "25%".parse().unwrap();
    assert_eq!((quarter.ceil_of(10), quarter.floor_of(10)), (3, 2));
    assert!("101%".parse::<Quantity>().is_err());
    assert!("-1".parse::<Quantity>().is_err());
}

#[test]
fn the_hash_tells_templates_apart_and_ignores_the_rest() {
    let base = service("web", 1);
    let mut scaled = base.clone();
    scaled.mode = Mode::Replicated { replicas: 9 };
    assert_eq!(base.template.hash(), scaled.template.hash());
    let mut limited = base.clone();
    limited.template.resources.cpu_limit = Some(MilliCpu(500));
    assert_ne!(base.template.hash(), limited.template.hash());
}

#[test]
fn settings_that_fight_each_other_are_refused_with_both_names() {
    let refused = |change: fn(&mut UpdateSettings)| {
        let mut spec = service("web", 1);
        change(&mut spec.update);
        spec.checked().unwrap_err()
    };
    let none = refused(|update| update.max_surge = Quantity::Percent(0));
    assert_eq!(none.field, "update_config.max_surge, max_unavailable");
    let short = refused(|update| update.progress_deadline = std::time::Duration::from_secs(60));
    assert_eq!(short.field, "update_config.progress_deadline, healthy_deadline");
    assert!(short.problem.contains("60 s without progress, and a task has 300 s"), "{short}");
    assert_eq!(usize::try_from(ROLLBACK_WINDOW_MAX), Ok(crate::service::REVISIONS_KEPT));
    let far = refused(|update| update.rollback_window = ROLLBACK_WINDOW_MAX + 1);
    assert_eq!(far.field, "update_config.rollback_window");
}
