//! What manifests mean, and what is refused.

use super::*;
use crate::failure::Exit;

const WHOLE: &str = "
name: web
image: registry.example/web:v1
replicas: 3
command: [\"/web\"]
args: [\"--port\", \"8080\"]
env:
  VERSION: 010
  DEBUG: yes
ports:
  - {container: 8080, name: http, host: 80}
  - {container: 9090, protocol: udp}
health:
  http: {port: 8080, path: /health}
  interval: 5s
readiness:
  exec: {command: [\"/web\", \"ready\"]}
  retries: 1
resources: {memory: 64Mi, cpus: 0.5, pids: 100, reserve_memory: 32Mi, reserve_cpus: 250m}
mounts:
  - {target: /etc/web, bind: /srv/web, read_only: true}
  - {target: /data, volume: web-data}
  - {target: /tmp, tmpfs: {size: 16Mi}}
placement: {constraints: [node.labels.disk==ssd], spread: [zone], max_per_node: 2}
restart:
  {condition: on-failure, delay: 2s, delay_max: 30s, attempts: 3, window: 10m,
   on_disconnect: stop-after=30s}
stop: {signal: SIGINT, timeout: 30s}
pull: always
user: \"1000:1000\"
working_dir: /srv
update:
  strategy: canary
  parallelism: 2
  delay: 1s
  order: stop-first
  max_surge: 25%
  max_unavailable: 1
  min_ready: 1s
  healthy_deadline: 1m
  progress_deadline: 2m
  failure_action: pause
  max_failure_ratio: 10%
  on_update: queue
  monitor: 1m
  scale_down_delay: 5s
  drain: 3s
  rollback_window: 5
  approve: {roles: [approver], min: 2}
  hooks:
    - {on: pre_rollout, url: https://ci.example/gate, timeout: 5s, key: sesame}
    - {on: event, url: https://chat.example/x, format: slack}
canary:
  steps:
    - {weight: 0, hold: 2m}
    - {weight: 2.5, hold: 10m, analyze: true}
    - 20
    - {scale: 50%, run: https://ci.example/smoke}
    - {ramp: {to: 80, by: 20, every: 5m}, approve: {min: 1}}
    - {weight: 100%, hold: 0s}
  window: 15m
labels: {team: a}
container_labels: {com.example.x: y}
";

fn read(text: &str) -> Result<Vec<v1::ServiceSpec>, String> {
    parse("web.yaml", text.as_bytes()).map_err(|failure| {
        assert_eq!(failure.exit, Exit::Usage as u8);
        failure.to_string()
    })
}

use warren_wire::v1;

#[test]
fn every_field_is_read_and_printed_back_the_same() {
    let spec = read(WHOLE).unwrap().remove(0);
    let template = spec.template.clone().unwrap();
    assert_eq!(template.env["VERSION"], "010", "a text field keeps its text");
    assert_eq!(template.env["DEBUG"], "yes");
    assert_eq!(template.resources.unwrap().cpu_limit_milli, 500);
    let printed = crate::output::yaml(&Manifest::from(&spec)).unwrap();
    assert_eq!(read(&printed).unwrap(), [spec], "{printed}");
}

#[test]
fn what_the_api_fills_in_means_the_same_and_prints_short() {
    for text in [WHOLE, "name: web\nimage: web:v1\n"] {
        let spec = read(text).unwrap().remove(0);
        let model = warren_wire::convert::spec::parse(spec).unwrap();
        let filled = warren_wire::convert::spec::render(&model);
        let printed = crate::output::yaml(&Manifest::from(&filled)).unwrap();
        let again = read(&printed).unwrap().remove(0);
        let again = warren_wire::convert::spec::parse_over(again, &model.update.hooks).unwrap();
        assert_eq!(again, model, "{printed}");
    }
    let spec = read("name: web\nimage: web:v1\n").unwrap().remove(0);
    let model = warren_wire::convert::spec::parse(spec).unwrap();
    let short = Manifest::from(&warren_wire::convert::spec::render(&model));
    let printed = crate::output::yaml(&short).unwrap();
    assert_eq!(printed, "name: web\nimage: web:v1\nreplicas: 1\n");
}

// req: D41
#[test]
fn the_steps_of_a_canary_mean_what_they_say() {
    let spec = read(WHOLE).unwrap().remove(0);
    let config = spec.update_config.unwrap();
    let weights: Vec<_> = config.steps.iter().map(|step| step.weight_per_mille).collect();
    assert_eq!(weights, [Some(0), Some(25), Some(200), None, None, Some(1000)]);
    let holds: Vec<_> = config.steps.iter().map(|step| step.hold_ms / 60_000).collect();
    assert_eq!(holds, [2, 10, 15, 0, 0, 0], "a bare share is kept for the window");
    assert!(config.steps[1].analyze);
    assert_eq!(config.steps[3].scale.as_deref(), Some("50%"));
    let ramp = config.steps[4].ramp.unwrap();
    assert_eq!((ramp.to_per_mille, ramp.by_per_mille, ramp.every_ms), (800, 200, 300_000));
    assert_eq!(config.steps[4].approve.clone().unwrap().min, 1);
    assert_eq!(config.approve.unwrap().min, 2);

    let sugar =
        "name: web\nimage: x\nupdate: {strategy: canary}\ncanary: {weight: 5, window: 2m}\n";
    let config = read(sugar).unwrap().remove(0).update_config.unwrap();
    assert_eq!((config.canary_weight, config.canary_window_ms), (Some(5), Some(120_000)));
}

#[test]
fn a_profile_brings_its_strategy_and_prints_only_what_differs_from_it() {
    let text = "name: web\nimage: x\nupdate: {profile: llm, drain: 0s}\n";
    let spec = read(text).unwrap().remove(0);
    assert_eq!(spec.strategy(), v1::DeploymentStrategy::Canary);
    let printed = crate::output::yaml(&Manifest::from(&spec)).unwrap();
    assert!(printed.ends_with("update:\n  profile: llm\n  drain: 0s\n"), "{printed}");
}

#[test]
fn what_comes_later_is_refused_by_its_name() {
    let step = |step: &str| {
        format!(
            "name: web\nimage: x\nupdate: {{strategy: canary}}\ncanary:\n  steps:\n  - {step}\n"
        )
    };
    for (text, says) in [
        (step("{weight: 5, route: {header: x}}"), "needs the proxy"),
        (step("{weight: 5, mirror: 10}"), "needs the proxy"),
        (step("{weight: 5, analyze: {error_rate: {critical: {max: 1%}}}}"), "metric analysis"),
        ("name: web\nimage: x\nanalysis: {metrics: []}\n".into(), "comes with metric analysis"),
        (step("{weight: 5, colour: red}"), "colour"),
        (step("{weight: 101}"), "0 to 100"),
        (step("120"), "0 to 100"),
        (step("{weight: 0.25}"), "0 to 100"),
        (step("{weight: 5, hold: 10}"), "canary.steps[0].hold"),
        (
            "name: web\nimage: x\nupdate: {strategy: canary}\ncanary: {weight: 5, steps: [5]}\n"
                .into(),
            "canary.weight",
        ),
        ("name: web\nimage: x\nupdate: {profile: slow}\n".into(), "bluegreen-5m"),
        ("name: web\nimage: x\nupdate: {colour: red}\n".into(), "colour"),
        ("name: web\nimage: x\nupdate: {max_failure_ratio: 2}\n".into(), "max_failure_ratio"),
    ] {
        let refused = read(&text).expect_err(&text);
        assert!(refused.contains(says), "{text}: {refused}");
    }
}

#[test]
fn what_means_nothing_with_the_strategy_is_refused_and_not_printed() {
    let of = |rest: &str| read(&format!("name: web\nimage: x\n{rest}"));
    for (text, says) in [
        (
            "canary: {steps: [5, 100]}\n",
            "canary: only a canary has shares, and update.strategy is rolling",
        ),
        ("update: {strategy: blue-green}\ncanary: {steps: [5]}\n", "update.strategy is blue-green"),
        ("update: {standby: 5m}\n", "update.standby: only blue-green keeps the old version ready"),
        ("update: {strategy: canary}\ncanary: {weight: 0}\n", "canary.weight: 0 %"),
        (
            "update: {progress_deadline: 1m}\n",
            "update.progress_deadline and update.healthy_deadline",
        ),
        ("update: {rollback_window: 1000}\n", "update.rollback_window: 1000 is more than 10"),
        ("update: {max_surge: 0%}\n", "update.max_surge and update.max_unavailable: both are 0"),
    ] {
        let refused = of(text).expect_err(text);
        assert!(refused.contains(says), "{text}: {refused}");
    }
    let blue =
        of("update: {strategy: blue-green, standby: 2m}\ncanary: {steps: [{approve: {min: 1}}]}\n");
    let mut blue = blue.unwrap().remove(0);
    let printed = crate::output::yaml(&Manifest::from(&blue)).unwrap();
    assert_eq!(read(&printed).unwrap(), [blue.clone()], "{printed}");
    blue.strategy = Some(v1::DeploymentStrategy::Rolling.into());
    let printed = crate::output::yaml(&Manifest::from(&blue)).unwrap();
    assert!(!printed.contains("standby") && !printed.contains("canary"), "{printed}");
}

#[test]
fn several_documents_are_several_services() {
    let specs = read("name: a\nimage: x\n---\nname: b\nimage: y\n").unwrap();
    assert_eq!(specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(read("name: a\nimage: x\n---\nname: a\nimage: y\n").unwrap_err().contains("twice"));
}

#[test]
fn a_mistake_is_refused_with_its_place() {
    for (text, says) in [
        ("", "no service"),
        ("name: web\nimage: x\nreplicaz: 3\n", "replicaz"),
        ("name: web\nimage: x\nreplicas: -1\n", "line 3"),
        ("name: web\nimage: x\nreplicas: 100000\n", "50000"),
        ("name: Web\nimage: x\n", "name"),
        ("name: web\n", "image"),
        ("name: web\nimage: x\nports: [{container: 70000}]\n", "line 3"),
        ("name: web\nimage: x\nports: [{container: 0}]\n", "ports[0].container"),
        ("name: web\nimage: x\nports: [{container: 1}, {container: 1}]\n", "ports[1].container"),
        ("name: web\nimage: x\nresources: {memory: 64MB}\n", "resources.memory"),
        ("name: web\nimage: x\nhealth: {interval: 5s}\n", "health.http"),
        ("name: web\nimage: x\nhealth: {tcp: {port: 1}, interval: 5}\n", "health.interval"),
        ("name: web\nimage: x\nmode: global\nreplicas: 2\n", "replicas"),
        ("name: web\nimage: x\nupdate: {strategy: magic}\n", "update.strategy"),
        ("name: web\nimage: x\nmounts: [{target: /a}]\n", "mounts[0].target"),
        ("name: web\nname: web\nimage: x\n", "duplicate mapping key: name\n"),
        ("name: web\nimage: x\nreplicas: -1\n", "line 3 column 11: not a whole number"),
        ("name: [\n", "line"),
        ("- web\n", "line 1"),
    ] {
        let refused = read(text).expect_err(text);
        assert!(refused.contains(says), "{text:?}: {refused}");
        assert!(refused.starts_with("web.yaml: "), "{refused}");
    }
}

/// Who writes a file has typed no flag.
#[test]
fn what_is_refused_is_named_by_its_place_in_the_manifest() {
    for (field, place) in [
        ("spec.template.image", "image"),
        ("spec.template.health.interval_ms", "health.interval"),
        ("spec.template.ports[1].host", "ports[1].host"),
        ("spec.template.stop_timeout_ms", "stop.timeout"),
        ("spec.template.labels", "container_labels"),
        ("spec.update_config.max_surge", "update.max_surge"),
        ("spec.update_config.canary_weight", "canary.weight"),
        ("spec.name", "name"),
    ] {
        assert_eq!(field_of(field), place);
    }
    let both = "name: a\nimage: x\nupdate: {max_surge: 0, max_unavailable: 0}\n";
    let refused = read(both).unwrap_err();
    assert!(refused.contains("update.max_surge") && !refused.contains("--"), "{refused}");
}

#[test]
fn bombs_and_rubbish_are_refused_quickly() {
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (level, name) in ('b'..='z').enumerate() {
        let below = char::from(b'a' + u8::try_from(level).unwrap());
        let list = vec![format!("*{below}"); 9].join(",");
        bomb.push_str(&format!("{name}: &{name} [{list}]\n"));
    }
    assert!(read(&bomb).is_err());
    let aliases = format!("name: web\nimage: x\nargs: &a [{}]\ncommand: *a\n", "x,".repeat(9));
    assert!(read(&aliases).is_ok(), "a few aliases are fine");
    assert!(read(&"[".repeat(100_000)).is_err());
    let failure = parse("f", &vec![b' '; MANIFEST_BYTES_MAX + 1]).unwrap_err().to_string();
    assert!(failure.contains("split it"), "{failure}");
    let many = "---\nname: web\nimage: x\n".repeat(2000);
    let failure = parse("f", many.as_bytes()).unwrap_err().to_string();
    assert!(failure.contains("more than 1024 services: split the file\n"), "{failure}");
    let failure = parse("f", b"name: w\xffb").unwrap_err().to_string();
    assert!(failure.contains("not UTF-8 from byte 7"), "{failure}");
}
