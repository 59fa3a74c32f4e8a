//! What flags make of a spec.

use super::*;
use crate::cli;
use clap::Parser;

#[derive(Parser, Debug)]
struct Only {
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    remove: RemoveFlags,
}

fn lay(args: &[&str], spec: &mut v1::ServiceSpec) -> Result<(), String> {
    let words = std::iter::once("test").chain(args.iter().copied());
    let only = Only::try_parse_from(words).map_err(|e| e.to_string())?;
    only.remove.take_away(spec).map_err(|e| e.to_string())?;
    only.spec.lay_over(spec).map_err(|e| e.to_string())?;
    checked(spec).map_err(|e| e.to_string())
}

fn made(args: &[&str]) -> Result<v1::ServiceSpec, String> {
    let mut spec = v1::ServiceSpec { name: "web".into(), ..Default::default() };
    let args: Vec<&str> = ["--image", "web:v1"].iter().chain(args).copied().collect();
    lay(&args, &mut spec).map(|()| spec)
}

/// Most flags at once.
#[rustfmt::skip]
const MANY: &[&str] = &[
    "--replicas", "3", "-e", "A=1", "-e", "B=x=y", "--port", "http=8080", "--publish",
    "80:8080", "--health-http", "8080/health", "--health-interval", "5s", "--ready-tcp",
    "8080", "--memory", "64Mi", "--cpus", "0.5", "--pids", "50", "--mount",
    "type=tmpfs,target=/tmp,size=1Mi", "--constraint", "node.labels.disk == ssd", "--spread",
    "node.labels.zone", "--max-per-node", "2", "--restart", "on-failure", "--restart-delay",
    "2s", "--on-disconnect", "stop-after=20s", "--stop-signal", "INT", "--stop-timeout", "3s",
    "--strategy", "recreate",
    "--max-surge", "25%", "--min-ready", "1s", "--label", "team=a", "--container-label", "x=y",
    "--command", "sh -c 'exit 0'", "--", "--verbose", "-x",
];

#[test]
fn what_is_given_is_in_the_spec() {
    let spec = made(MANY).unwrap();
    let template = spec.template.unwrap();
    assert_eq!(spec.mode, Some(Mode::Replicated(v1::Replicated { replicas: Some(3) })));
    assert_eq!(template.env["B"], "x=y");
    let port = &template.ports[0];
    assert_eq!((port.name.as_str(), port.container, port.host), ("http", 8080, 80));
    assert_eq!(template.ports.len(), 1);
    assert_eq!(template.health.unwrap().interval_ms, Some(5000));
    assert_eq!(template.resources.unwrap().cpu_limit_milli, 500);
    assert_eq!(template.command, ["sh", "-c", "exit 0"]);
    assert_eq!(template.args, ["--verbose", "-x"]);
    assert_eq!(template.stop_signal, "SIGINT");
    let placement = spec.placement.unwrap();
    assert_eq!(placement.constraints, ["node.labels.disk==ssd"]);
    assert_eq!(placement.spread, ["zone"]);
    let restart = spec.restart.unwrap();
    assert_eq!((restart.condition.as_str(), restart.stop_after_ms), ("on-failure", Some(20_000)));
    assert_eq!(spec.update_config.unwrap().surge.as_deref(), Some("25%"));
}

// req: B17, B18, B19, B20
#[test]
fn the_strategies_of_the_documents_are_read_as_they_are_written() {
    let of = |args: &[&str]| {
        let spec = made(args).unwrap();
        (spec.strategy(), spec.update_config.unwrap_or_default())
    };
    let (strategy, _) = of(&["--strategy", "blue-green"]);
    assert_eq!(strategy, v1::DeploymentStrategy::BlueGreen);
    let (strategy, _) = of(&["--strategy", "canary"]);
    assert_eq!(strategy, v1::DeploymentStrategy::Canary);
    #[rustfmt::skip]
    let canary =
        ["--strategy", "canary", "--canary-steps", "5,10,50,100", "--canary-window", "300"];
    let (_, config) = of(&canary);
    assert_eq!(config.canary_steps, [5, 10, 50, 100]);
    assert_eq!(config.canary_window_ms, Some(300_000));
    #[rustfmt::skip]
    let rolling = [
        "--strategy", "rolling", "--parallelism", "2", "--max-surge", "1", "--max-unavailable",
        "0", "--delay", "10s",
    ];
    let (strategy, config) = of(&rolling);
    assert_eq!(strategy, v1::DeploymentStrategy::Rolling);
    assert_eq!((config.parallelism, config.delay_ms), (Some(2), Some(10_000)));
    assert_eq!(config.surge.as_deref(), Some("1"));
    assert_eq!(config.unavailable.as_deref(), Some("0"));
}

#[test]
fn what_means_nothing_with_the_strategy_is_refused_by_its_flag() {
    for (args, says) in [
        (
            &["--canary-steps", "10,100"][..],
            "--canary-steps: only a canary has that, and the strategy is rolling",
        ),
        (&["--strategy", "blue-green", "--canary-weight", "5"], "the strategy is blue-green"),
        (&["--standby", "5m"], "--standby: only blue-green"),
        (&["--strategy", "canary", "--canary-weight", "0"], "--canary-weight: 0 %"),
        (
            &["--strategy", "canary", "--canary-steps", "0,100"],
            "--canary-steps: 0 % gives the new version no traffic",
        ),
        (&["--max-surge", "0%"], "--max-surge and --max-unavailable: both are 0"),
        (
            &["--progress-deadline", "1m"],
            "--progress-deadline and --healthy-deadline: a release fails after 60 s",
        ),
        (&["--rollback-window", "1000"], "--rollback-window: 1000 is more than 10"),
        (&["--approve-min", "2"], "--approve-min: nobody is named"),
        (&["--approve-min", "0"], "--approve-min 0: nobody is asked anyway"),
    ] {
        let refused = made(args)
            .and_then(|spec| checked(&spec).map_err(|failure| failure.to_string()))
            .unwrap_err();
        assert!(refused.contains(says), "{args:?}: {refused}");
    }
}

#[test]
fn a_profile_takes_the_place_of_the_settings_but_not_of_the_hooks() {
    let hook = ["--hook", "event=https://chat.example/x", "--drain", "3s"];
    let mut spec = made(&hook).unwrap();
    lay(&["--profile", "llm", "--monitor", "1m"], &mut spec).unwrap();
    assert_eq!(spec.strategy(), v1::DeploymentStrategy::Canary);
    let config = spec.update_config.clone().unwrap();
    assert_eq!(config.profile.as_deref(), Some("llm"));
    assert_eq!((config.drain_ms, config.monitor_ms), (None, Some(60_000)));
    assert_eq!(config.hooks.unwrap().hooks.len(), 1);
    lay(&["--strategy", "rolling"], &mut spec).unwrap();
    assert_eq!(spec.strategy(), v1::DeploymentStrategy::Rolling);
    assert_eq!(spec.update_config.clone().unwrap().profile.as_deref(), Some("llm"));
    lay(&["--hook-rm", "https://chat.example/x"], &mut spec).unwrap();
    assert_eq!(spec.update_config.unwrap().hooks, None);
}

#[test]
fn an_update_changes_only_what_is_given() {
    let before = made(&["-e", "A=1", "-p", "8080", "--memory", "64Mi", "--health-tcp", "8080"]);
    let before = before.unwrap();
    let mut after = before.clone();
    lay(&["-e", "B=2", "--health-retries", "5", "--pids", "9"], &mut after).unwrap();
    let mut expected = before;
    let template = expected.template.as_mut().unwrap();
    template.env.insert("B".into(), "2".into());
    template.health.as_mut().unwrap().retries = Some(5);
    template.resources.as_mut().unwrap().pids_limit = 9;
    expected.placement = after.placement.clone();
    assert_eq!(after, expected);

    let mut without = after;
    lay(&["--env-rm", "A", "--port-rm", "8080", "--no-health"], &mut without).unwrap();
    let template = without.template.unwrap();
    assert_eq!(template.env.keys().collect::<Vec<_>>(), ["B"]);
    assert!(template.ports.is_empty() && template.health.is_none());
}

#[test]
fn a_wrong_flag_is_named_with_the_way_out() {
    for (args, says) in [
        (&["--replicas", "-1"][..], "write 0 to 50000"),
        (&["--replicas", "100000"], "write 0 to 50000"),
        (&["--port", "99999"], "1 to 65535"),
        (&["--memory", "64 MB"], "256Mi"),
        (&["--cpus", "lots"], "0.5"),
        (&["-e", "NOVALUE"], "KEY=VALUE"),
        (&["--health-interval", "5s"], "--health-http"),
        (&["--health-http", "8080", "--health-tcp", "8080"], "cannot be used with"),
        (&["--constraint", "disk=ssd"], "node.labels"),
        (&["--strategy", "big-bang"], "blue-green"),
        (&["--profile", "slow"], "bluegreen-5m"),
        (&["--canary-steps", "5,101"], "0 to 100"),
        (&["--canary-window", "soon"], "10s"),
        (&["--hook", "sometimes=https://a"], "pre_rollout"),
        (&["--hook-rm", "https://a"], "--hook-rm"),
        (&["--approve-roles", "Big Boss"], "--approve-roles"),
        (&["--publish", "80:1", "--publish", "80:2"], "--port or --publish"),
        (&["--max-surge", "0"], "--max-surge"),
        (&["--mode", "global", "--replicas", "2"], "--replicas"),
        (&["--env-rm", "X"], "--env-rm"),
        (&["--command", "'x"], "quote"),
    ] {
        let refused = made(args).expect_err(&args.join(" "));
        assert!(refused.contains(says), "{args:?}: {refused}");
    }
}

#[test]
fn create_and_update_have_the_same_flags() {
    let tree = cli::tree();
    let service = tree.find_subcommand("service").unwrap();
    let flags = |name: &str| -> Vec<String> {
        let command = service.find_subcommand(name).unwrap();
        command.get_arguments().filter_map(|a| a.get_long()).map(str::to_owned).collect()
    };
    let update = flags("update");
    for flag in flags("create") {
        assert!(update.contains(&flag), "update has no --{flag}");
    }
}

#[test]
fn a_port_named_twice_is_refused_and_a_published_one_may_have_a_name() {
    assert!(made(&["--port", "http=80", "--publish", "8080:80"]).is_ok());
    for twice in [["--port", "80", "--port", "80"], ["--publish", "1:80", "--publish", "2:80"]] {
        let refused = made(&twice).unwrap_err();
        assert!(refused.contains(twice[0]) && refused.contains("80"), "{refused}");
    }
}
