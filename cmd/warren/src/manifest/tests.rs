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
restart: {condition: on-failure, delay: 2s, delay_max: 30s, attempts: 3, window: 10m}
stop: {signal: SIGINT, timeout: 30s}
pull: always
user: \"1000:1000\"
working_dir: /srv
update:
  strategy: recreate
  parallelism: 2
  delay: 1s
  order: stop-first
  max_surge: 25%
  max_unavailable: 1
  min_ready: 1s
  healthy_deadline: 1m
  progress_deadline: 2m
  failure_action: pause
  max_failure_percent: 10
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
        assert_eq!(warren_wire::convert::spec::parse(again).unwrap(), model, "{printed}");
    }
    let spec = read("name: web\nimage: web:v1\n").unwrap().remove(0);
    let model = warren_wire::convert::spec::parse(spec).unwrap();
    let short = Manifest::from(&warren_wire::convert::spec::render(&model));
    let printed = crate::output::yaml(&short).unwrap();
    assert_eq!(printed, "name: web\nimage: web:v1\nreplicas: 1\n");
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
        ("name: web\nname: web\nimage: x\n", "name"),
        ("name: [\n", "line"),
        ("- web\n", "line 1"),
    ] {
        let refused = read(text).expect_err(text);
        assert!(refused.contains(says), "{text:?}: {refused}");
        assert!(refused.starts_with("web.yaml: "), "{refused}");
    }
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
    let failure = parse("f", b"name: w\xffb").unwrap_err().to_string();
    assert!(failure.contains("not UTF-8 from byte 7"), "{failure}");
}
