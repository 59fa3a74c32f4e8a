//! The flags of `service update` that take something away.

use super::words;
use crate::failure::{Failure, Outcome};
use clap::Args;
use warren_wire::v1;

/// What an update takes away. Naming what is not there is an error, so that a slip is noticed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Taking away")]
pub struct RemoveFlags {
    /// Environment variable to take away
    #[arg(long, value_name = "KEY")]
    env_rm: Vec<String>,
    /// Port to take away, with what is published of it
    #[arg(long, value_name = "PORT[/PROTO]", value_parser = words::port)]
    port_rm: Vec<v1::Port>,
    /// Port of the node to take away; the task's port stays
    #[arg(long, value_name = "HOST", value_parser = words::port_number)]
    publish_rm: Vec<u16>,
    /// Mount to take away, by its path in the container
    #[arg(long, value_name = "TARGET")]
    mount_rm: Vec<String>,
    /// Label of the service to take away
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Label of the containers to take away
    #[arg(long, value_name = "KEY")]
    container_label_rm: Vec<String>,
    /// Constraint to take away, as it was written
    #[arg(long, value_name = "CONDITION")]
    constraint_rm: Vec<String>,
    /// Node label to spread over no more
    #[arg(long, value_name = "LABEL")]
    spread_rm: Vec<String>,
    /// Hook to take away, by its address
    #[arg(long, value_name = "URL")]
    hook_rm: Vec<String>,
    /// Take the command away: the image's entrypoint runs again
    #[arg(long)]
    no_command: bool,
    /// Take the arguments away: the image's own are used again
    #[arg(long)]
    no_args: bool,
}

impl RemoveFlags {
    /// Takes what is named away from `spec`.
    ///
    /// # Errors
    /// Something named is not there.
    pub fn take_away(&self, spec: &mut v1::ServiceSpec) -> Outcome {
        let template = spec.template.get_or_insert_default();
        for key in &self.env_rm {
            there("--env-rm", key, template.env.remove(key).is_some())?;
        }
        for key in &self.container_label_rm {
            there("--container-label-rm", key, template.labels.remove(key).is_some())?;
        }
        for port in &self.port_rm {
            let text = format!("{}/{}", port.container, port.protocol().as_str_name());
            let same = |other: &v1::Port| {
                other.container == port.container && other.protocol == port.protocol
            };
            there("--port-rm", text.to_lowercase(), take(&mut template.ports, same))?;
        }
        for host in &self.publish_rm {
            let ports = &mut template.ports;
            let published = ports.iter_mut().find(|port| port.host == u32::from(*host));
            there("--publish-rm", host, published.is_some())?;
            published.into_iter().for_each(|port| port.host = 0);
        }
        for target in &self.mount_rm {
            let gone = take(&mut template.mounts, |mount| mount.target == *target);
            there("--mount-rm", target, gone)?;
        }
        if self.no_command {
            template.command.clear();
        }
        if self.no_args {
            template.args.clear();
        }
        for key in &self.label_rm {
            there("--label-rm", key, spec.labels.remove(key).is_some())?;
        }
        for url in &self.hook_rm {
            let hooks = spec.update_config.as_mut().and_then(|config| config.hooks.as_mut());
            let gone = hooks.is_some_and(|hooks| take(&mut hooks.hooks, |hook| hook.url == *url));
            there("--hook-rm", url, gone)?;
        }
        let placement = spec.placement.get_or_insert_default();
        for text in &self.constraint_rm {
            let bare = |text: &str| text.replace(' ', "");
            let gone = take(&mut placement.constraints, |other| bare(other) == bare(text));
            there("--constraint-rm", text, gone)?;
        }
        for label in &self.spread_rm {
            let gone = take(&mut placement.spread, |other| other == label);
            there("--spread-rm", label, gone)?;
        }
        Ok(())
    }
}

fn take<T>(list: &mut Vec<T>, is_it: impl Fn(&T) -> bool) -> bool {
    let before = list.len();
    list.retain(|item| !is_it(item));
    list.len() < before
}

fn there(flag: &str, what: impl std::fmt::Display, was_there: bool) -> Outcome {
    if was_there {
        return Ok(());
    }
    Err(Failure::usage(format!("{flag}: the service has no {what}"))
        .hint("warren service inspect shows what it has"))
}
