//! Which flag sets which field of the API, so that an error names what the user typed.

/// The start of a field's path in the API, and the flag that sets it. The longest start wins.
const FLAGS: &[(&str, &str)] = &[
    ("name", "NAME"),
    ("roles", "--role"),
    ("replicas", "--replicas"),
    ("replicated", "--replicas"),
    ("mode", "--mode"),
    ("image", "--image"),
    ("template.image", "--image"),
    ("template.pull", "--pull"),
    ("template.command", "--command"),
    ("template.args", "ARGS after --"),
    ("template.env", "--env"),
    ("template.user", "--user"),
    ("template.working_dir", "--workdir"),
    ("template.ports", "--port or --publish"),
    ("template.mounts", "--mount"),
    ("template.secrets", "--secret"),
    ("template.configs", "--config"),
    ("template.resources.memory_limit", "--memory"),
    ("template.resources.cpu_limit", "--cpus"),
    ("template.resources.pids_limit", "--pids"),
    ("template.resources.memory_reservation", "--reserve-memory"),
    ("template.resources.cpu_reservation", "--reserve-cpus"),
    ("template.health", "--health-…"),
    ("template.health.interval", "--health-interval"),
    ("template.health.timeout", "--health-timeout"),
    ("template.health.start_period", "--health-start-period"),
    ("template.health.retries", "--health-retries"),
    ("template.health.successes", "--health-successes"),
    ("template.readiness", "--ready-…"),
    ("template.readiness.interval", "--ready-interval"),
    ("template.readiness.timeout", "--ready-timeout"),
    ("template.readiness.start_period", "--ready-start-period"),
    ("template.readiness.retries", "--ready-retries"),
    ("template.readiness.successes", "--ready-successes"),
    ("template.stop_signal", "--stop-signal"),
    ("template.stop_timeout", "--stop-timeout"),
    ("template.stop.signal", "--stop-signal"),
    ("template.stop.timeout", "--stop-timeout"),
    ("template.labels", "--container-label"),
    ("placement.constraints", "--constraint"),
    ("placement.spread", "--spread"),
    ("placement.max_per_node", "--max-per-node"),
    ("restart.condition", "--restart"),
    ("restart.delay", "--restart-delay"),
    ("restart.delay_max", "--restart-delay-max"),
    ("restart.attempts", "--restart-attempts"),
    ("restart.window", "--restart-window"),
    ("restart.stop_after", "--on-disconnect"),
    ("strategy", "--strategy"),
    ("update", "the update flags"),
    ("update.parallelism", "--parallelism"),
    ("update.delay", "--delay"),
    ("update.order", "--order"),
    ("update.max_surge", "--max-surge"),
    ("update.surge", "--max-surge"),
    ("update.max_unavailable", "--max-unavailable"),
    ("update.unavailable", "--max-unavailable"),
    ("update.max_surge, max_unavailable", "--max-surge and --max-unavailable"),
    ("update.progress_deadline, healthy_deadline", "--progress-deadline and --healthy-deadline"),
    ("update.min_ready", "--min-ready"),
    ("update.healthy_deadline", "--healthy-deadline"),
    ("update.progress_deadline", "--progress-deadline"),
    ("update.failure_action", "--failure-action"),
    ("update.max_failure", "--max-failure-ratio"),
    ("update.canary_weight", "--canary-weight"),
    ("update.canary_steps", "--canary-steps"),
    ("update.canary_window", "--canary-window"),
    ("update.stability_window", "--canary-window"),
    ("update.steps", "--canary-steps"),
    ("steps", "--canary-steps"),
    ("update.profile", "--profile"),
    ("update.on_update", "--on-update"),
    ("update.monitor", "--monitor"),
    ("update.standby", "--standby"),
    ("update.scale_down_delay", "--scale-down-delay"),
    ("update.drain", "--drain"),
    ("update.rollback_window", "--rollback-window"),
    ("update.approve", "--approve-roles or --approve-min"),
    ("update.approve.min", "--approve-min"),
    ("update.approve.roles", "--approve-roles"),
    ("update.hooks", "--hook"),
    ("override_freeze", "--override-freeze"),
    ("labels", "--label"),
    ("reason", "--reason"),
    ("lifetime", "--lifetime"),
];

/// The flag that sets `field`, an API path as in `template.ports[1].host`.
pub fn flag_of(field: &str) -> Option<&'static str> {
    let field = field.strip_prefix("spec.").unwrap_or(field).replace("update_config", "update");
    let starts = |start: &str| {
        field
            .strip_prefix(start)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    let named = FLAGS.iter().filter(|(start, _)| starts(start));
    named.max_by_key(|(start, _)| start.len()).map(|(_, flag)| *flag)
}

/// The flag that sets `field`, or the field where no flag does.
pub fn flag_or(field: &str) -> &str {
    flag_of(field).unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_by_the_flag_that_sets_it() {
        assert_eq!(flag_or("template.ports[1].host"), "--port or --publish");
        assert_eq!(flag_of("template.health.interval_ms"), Some("--health-interval"));
        assert_eq!(flag_of("update_config.max_surge"), Some("--max-surge"));
        assert_eq!(flag_of("restart.delay_max_ms"), Some("--restart-delay-max"));
        assert_eq!(flag_of("spec.template.env"), Some("--env"));
        assert_eq!(flag_or("node_id"), "node_id");
    }

    #[test]
    fn every_flag_in_the_list_exists() {
        let tree = crate::cli::tree();
        let of = |group: &str, name: &str| {
            tree.find_subcommand(group).unwrap().find_subcommand(name).unwrap()
        };
        let commands = [
            of("service", "create"),
            of("service", "update"),
            of("cluster", "token"),
            of("token", "create"),
        ];
        for (field, flag) in FLAGS {
            for name in flag.split(' ').filter(|word| word.starts_with("--") && word.len() > 2) {
                let Some(name) = name.strip_prefix("--").filter(|name| !name.ends_with('…'))
                else {
                    continue;
                };
                let known = |command: &clap::Command| {
                    command.get_arguments().any(|arg| arg.get_long() == Some(name))
                };
                let given = commands.into_iter().any(known);
                assert!(given, "{field} names --{name}");
            }
        }
    }
}
