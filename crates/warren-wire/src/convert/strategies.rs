//! Generated specs and reports for property tests: every field takes every shape that it may have.

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use std::collections::BTreeMap;
use std::time::Duration;
use warren_core::spec::{
    CPU_LIMIT_MIN, FILE_MODE_MAX, FailureAction, FileKind, FileName, FileRef, FileVersion,
    HealthCheck, INTERVAL_MIN, Image, LabelKey, MEMORY_LIMIT_MIN, Mode, Mount, MountKind,
    OnDisconnect, Order, PinnedImage, Placement, Port, PortName, Probe, Protocol, PullPolicy,
    Quantity, REPLICAS_MAX, RESTART_DELAY_MIN, Resources, RestartCondition, RestartPolicy,
    SPAN_MAX, STOP_AFTER_MIN, ServiceName, ServiceSpec, Signal, Stop, Template, UpdateSettings,
    VolumeName,
};
use warren_core::units::{Bytes, MilliCpu};

/// Any valid service spec.
pub(crate) fn service_spec() -> impl Strategy<Value = ServiceSpec> {
    let mode = prop_oneof![
        (0..=REPLICAS_MAX).prop_map(|replicas| Mode::Replicated { replicas }),
        Just(Mode::Global)
    ];
    (service_name(), mode, template(), placement(), restart(), update(), labels()).prop_filter_map(
        "fields that cannot be together",
        |(name, mode, template, placement, restart, update, labels)| {
            ServiceSpec { name, mode, template, placement, restart, update, labels }.checked().ok()
        },
    )
}

pub(crate) fn service_name() -> impl Strategy<Value = ServiceName> {
    "[a-z]([a-z0-9-]{0,20}[a-z0-9])?"
        .prop_filter_map("node is not a service name", |text| ServiceName::parse(&text).ok())
}

fn label_key() -> impl Strategy<Value = LabelKey> {
    "[a-z][a-zA-Z0-9_./-]{0,12}"
        .prop_filter("own labels", |text| !text.starts_with("warren."))
        .prop_map(|text| LabelKey::parse(&text).unwrap())
}

fn labels() -> impl Strategy<Value = BTreeMap<LabelKey, String>> {
    btree_map(label_key(), "[^\0]{0,12}", 0..4)
}

pub(super) fn span_from(least: Duration) -> impl Strategy<Value = Duration> {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap();
    (ms(least)..=ms(SPAN_MAX)).prop_map(Duration::from_millis)
}

pub(super) fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![span_from(Duration::ZERO), (0..100_000_u64).prop_map(Duration::from_secs)]
        .prop_filter("a year", |span| *span <= SPAN_MAX)
}

fn path() -> impl Strategy<Value = String> {
    "(/[a-zA-Z0-9_.-]{1,8} ?){1,3}".prop_filter("no ..", |p| !p.split('/').any(|part| part == ".."))
}

fn command() -> impl Strategy<Value = Vec<String>> {
    vec("[^\0]{1,12}", 0..4)
}

pub(crate) fn template() -> impl Strategy<Value = Template> {
    let pull =
        prop_oneof![Just(PullPolicy::Missing), Just(PullPolicy::Always), Just(PullPolicy::Never)];
    let image = "[a-z0-9./:@-]{1,30}".prop_map(|text| Image::parse(&text).unwrap());
    let pinned = of("sha256:[0-9a-f]{64}".prop_map(PinnedImage));
    let env = btree_map("[A-Za-z_.-]{1,8}", "[^\0]{0,16}", 0..5);
    let stop = (1..=64_u8, span()).prop_map(|(n, timeout)| Stop {
        signal: n.to_string().parse::<Signal>().unwrap(),
        timeout,
    });
    let what = (image, pinned, pull, command(), command(), env);
    let files = vec(file(), 0..4);
    let how = (of("[a-z0-9:]{1,9}"), of(path()), vec(port(), 0..4), vec(mount(), 0..4), files);
    let when = (resources(), of(check()), of(check()), stop, labels());
    (what, how, when).prop_map(|(what, how, when)| {
        let (image, pinned, pull, command, args, env) = what;
        let (user, working_dir, ports, mounts, mut files) = how;
        files.sort_by_key(|file| file.kind);
        let (resources, health, readiness, stop, labels) = when;
        Template {
            image,
            pinned,
            pull,
            command,
            args,
            env,
            user,
            working_dir,
            ports,
            mounts,
            files,
            resources,
            health,
            readiness,
            stop,
            labels,
        }
    })
}

pub(crate) fn port() -> impl Strategy<Value = Port> {
    let name = of("[a-z][a-z0-9]{0,9}".prop_map(|text| PortName::parse(&text).unwrap()));
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    (name, 1..=u16::MAX, protocol, of(1..=u16::MAX))
        .prop_map(|(name, container, protocol, host)| Port { name, container, protocol, host })
}

fn mount() -> impl Strategy<Value = Mount> {
    let volume = "[a-z0-9][a-zA-Z0-9_.-]{0,9}".prop_map(|text| VolumeName::parse(&text).unwrap());
    let kind = prop_oneof![
        path().prop_map(|source| MountKind::Bind { source }),
        volume.prop_map(|name| MountKind::Volume { name }),
        of((1..=u64::MAX).prop_map(Bytes)).prop_map(|size| MountKind::Tmpfs { size }),
    ];
    (kind, path(), any::<bool>()).prop_map(|(kind, target, read_only)| Mount {
        kind,
        target,
        read_only,
    })
}

fn file() -> impl Strategy<Value = FileRef> {
    let kind = prop_oneof![Just(FileKind::Secret), Just(FileKind::Config)];
    let name = "[a-z0-9][a-zA-Z0-9_.-]{0,9}".prop_map(|text| FileName::parse(&text).unwrap());
    let version = of((1..=u32::MAX).prop_map(FileVersion));
    let target = path().prop_filter("no .", |p| !p.split('/').any(|part| part == "."));
    let owner = (of(any::<u32>()), of(any::<u32>()));
    (kind, name, version, target, 0..=FILE_MODE_MAX, owner).prop_map(
        |(kind, name, version, target, mode, (uid, gid))| FileRef {
            kind,
            name,
            version,
            target,
            mode,
            uid,
            gid,
        },
    )
}

fn resources() -> impl Strategy<Value = Resources> {
    let memory = (of(MEMORY_LIMIT_MIN.0..=u64::MAX), of(0..=u64::MAX));
    let cpu = (of(CPU_LIMIT_MIN.0..=u32::MAX), of(0..=u32::MAX));
    (memory, cpu, of(1..=u32::MAX)).prop_map(|((limit, kept), (cpu, cpu_kept), pids_limit)| {
        Resources {
            memory_limit: limit.map(Bytes),
            cpu_limit: cpu.map(MilliCpu),
            pids_limit,
            memory_reservation: kept.map(|kept| Bytes(kept.min(limit.unwrap_or(kept)))),
            cpu_reservation: cpu_kept.map(|kept| MilliCpu(kept.min(cpu.unwrap_or(kept)))),
        }
    })
}

fn check() -> impl Strategy<Value = HealthCheck> {
    let probe = prop_oneof![
        (1..=u16::MAX, "/[a-z0-9/?=&.-]{0,12}").prop_map(|(port, path)| Probe::Http { port, path }),
        (1..=u16::MAX).prop_map(|port| Probe::Tcp { port }),
        vec("[^\0]{1,9}", 1..4).prop_map(|command| Probe::Exec { command }),
        (1..=u16::MAX, "[a-z.]{0,12}").prop_map(|(port, service)| Probe::Grpc { port, service }),
    ];
    let times = (span_from(INTERVAL_MIN), span_from(super::NOT_ZERO), span());
    (probe, times, 1..=u32::MAX, 1..=u32::MAX).prop_map(|(probe, times, retries, successes)| {
        let (interval, timeout, start_period) = times;
        HealthCheck { probe, interval, timeout, start_period, retries, successes }
    })
}

fn placement() -> impl Strategy<Value = Placement> {
    let subject = prop_oneof![
        Just("node.id".to_owned()),
        Just("node.hostname".to_owned()),
        Just("node.role".to_owned()),
        Just("node.platform".to_owned()),
        label_key().prop_map(|key| format!("node.labels.{key}")),
    ];
    let operator = prop_oneof![
        "==[a-z0-9/.]{1,9}",
        "!=[a-z0-9/.]{1,9}",
        Just(" in (a, b, c)".to_owned()),
        Just(" exists".to_owned()),
        any::<i64>().prop_map(|number| format!(" > {number}")),
        any::<i64>().prop_map(|number| format!(" < {number}")),
    ];
    let constraint = (subject, operator)
        .prop_map(|(subject, operator)| format!("{subject}{operator}").parse().unwrap());
    (vec(constraint, 0..5), vec(label_key(), 0..3), of(1..=u32::MAX)).prop_map(
        |(constraints, spread, max_per_node)| Placement { constraints, spread, max_per_node },
    )
}

pub(crate) fn restart() -> impl Strategy<Value = RestartPolicy> {
    let condition = prop_oneof![
        Just(RestartCondition::Any),
        Just(RestartCondition::OnFailure),
        Just(RestartCondition::Never)
    ];
    let delays = (span_from(RESTART_DELAY_MIN), span_from(RESTART_DELAY_MIN));
    let alone = of(span_from(STOP_AFTER_MIN));
    let on_disconnect =
        alone.prop_map(|span| span.map_or(OnDisconnect::Keep, OnDisconnect::StopAfter));
    (condition, delays, any::<u32>(), span_from(super::NOT_ZERO), on_disconnect).prop_map(
        |(condition, (one, other), attempts, window, on_disconnect)| RestartPolicy {
            condition,
            delay: one.min(other),
            delay_max: one.max(other),
            attempts,
            window,
            on_disconnect,
        },
    )
}

pub(crate) fn update() -> impl Strategy<Value = UpdateSettings> {
    super::release_strategies::released(numbers_of_update())
}

fn numbers_of_update() -> impl Strategy<Value = UpdateSettings> {
    use warren_core::spec::Strategy as Shape;
    let shape = prop_oneof![
        Just(Shape::Rolling),
        Just(Shape::BlueGreen),
        Just(Shape::Canary),
        Just(Shape::Recreate)
    ];
    let order = prop_oneof![Just(Order::StartFirst), Just(Order::StopFirst)];
    let quantity = || {
        prop_oneof![
            any::<u32>().prop_map(Quantity::Count),
            (0..=100_u8).prop_map(Quantity::Percent)
        ]
    };
    let action = prop_oneof![
        Just(FailureAction::Rollback),
        Just(FailureAction::Pause),
        Just(FailureAction::Continue)
    ];
    let deadlines = (span_from(super::NOT_ZERO), span_from(super::NOT_ZERO));
    let words = (shape, order, action);
    let numbers = (any::<u32>(), quantity(), quantity(), 0..=100_u8);
    (words, numbers, span(), span(), deadlines).prop_map(
        |((strategy, order, failure_action), numbers, delay, min_ready, deadlines)| {
            let (parallelism, max_surge, max_unavailable, max_failure_percent) = numbers;
            let (one, other): (Duration, Duration) = deadlines;
            let (healthy_deadline, progress_deadline) = (one.min(other), one.max(other));
            UpdateSettings {
                strategy,
                parallelism,
                delay,
                order,
                max_surge,
                max_unavailable,
                min_ready,
                healthy_deadline,
                progress_deadline,
                failure_action,
                max_failure_percent,
                ..UpdateSettings::default()
            }
        },
    )
}
