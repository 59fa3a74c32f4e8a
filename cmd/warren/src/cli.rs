//! The command line as a whole: what there is, and which function runs it.

use crate::client::ClientArgs;
use crate::commands::{
    apply, audit, cluster, completion, config, context, down, events, freeze, install, login, node,
    rebalance, reference, rollout, secret, service, status, supervise, token, up, version, why,
};
use crate::failure::{EXIT_CODES, Failure, Outcome};
use clap::error::ErrorKind;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

/// Runs containers on a cluster of machines, and makes releasing to it safe.
#[derive(Parser, Debug)]
#[command(name = "warren", version, after_help = EXIT_CODES, max_term_width = 110,
    subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start this node: resume its cluster, or make a new one
    Up(Box<up::Up>),
    /// Stop this node's tasks and the node
    Down(down::Down),
    /// Make this machine a node that starts with it, as a unit of systemd
    Install(Box<install::Install>),
    /// Take the unit and the program of `warren install` away again
    Uninstall(install::Uninstall),
    /// Show the cluster in a few lines
    Status(status::Status),
    /// Say what something waits for
    Why(why::Why),
    /// Make, change and show services
    #[command(subcommand, visible_alias = "svc")]
    Service(Box<service::Service>),
    /// Show and steer releases
    #[command(subcommand)]
    Rollout(Box<rollout::Rollout>),
    /// Keep what only tasks may read: sealed at rest, given to them as files in memory
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Keep plain configuration files for services; `show` is about Warren's own settings
    #[command(subcommand)]
    Config(config::Config),
    /// Hold releases, and let them go on
    #[command(subcommand)]
    Freeze(freeze::Freeze),
    /// Show the cluster, let machines in, and get it back
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Let people and programs use the cluster from elsewhere
    #[command(subcommand)]
    Token(token::Token),
    /// Use a cluster from this machine, which need not be one of its nodes
    Login(login::Login),
    /// Choose between the clusters that this user has logged in to
    #[command(subcommand)]
    Context(context::Context),
    /// Show and steer nodes
    #[command(subcommand)]
    Node(node::Node),
    /// Move tasks to where they would be placed now
    Rebalance(rebalance::Rebalance),
    /// Show what happened
    Events(events::Events),
    /// Show who did what, when and from where
    Audit(audit::Audit),
    /// Make services be as a file says
    Apply(apply::Apply),
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Show the version
    Version(version::Version),
    /// Print a page of the reference
    #[command(name = "__reference", hide = true)]
    Reference(reference::Reference),
    /// Watch over one process: what the process runtime runs each task under
    #[command(name = supervise::NAME, hide = true)]
    Supervise(supervise::Supervise),
}

/// What flags for amounts call their value.
const AMOUNTS: [&str; 6] = ["SIZE", "CORES", "TIME", "N", "RATIO", "PERCENT"];

/// The tree of all commands.
pub fn tree() -> clap::Command {
    // `mut_subcommand` would move what it changes to the end.
    with_amounts(Cli::command().mut_subcommands(|noun| match noun.get_name() {
        "service" | "rollout" => noun.mut_subcommands(|verb| match verb.get_name() {
            "update" | "plan" | "simulate" => verb.mut_args(without_default),
            _ => verb,
        }),
        _ => noun,
    }))
}

/// A flag as `update` has it: what is not given stays as it is, so the defaults of `create` are none of its own.
fn without_default(arg: Arg) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match help.split_once(" [default: ") {
        Some((what, _)) => arg.help(what.to_owned()),
        None => arg,
    }
}

/// Lets flags for amounts take a negative one: each then says itself what is wrong with `-5M`.
fn with_amounts(command: clap::Command) -> clap::Command {
    let is_amount = |arg: &Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        names.iter().any(|name| AMOUNTS.contains(&name.as_str()))
    };
    let command = command.mut_args(|arg| {
        let takes = is_amount(&arg) && !arg.is_positional();
        if takes { arg.allow_hyphen_values(true) } else { arg }
    });
    command.mut_subcommands(with_amounts)
}

/// Reads the command line and does what it says.
///
/// # Errors
/// What the user is told, with the exit code.
pub fn run() -> Outcome {
    let Cli { client, command } = parsed()?;
    match command {
        // These make their own threads: one runs the node, the other must be small.
        Command::Up(command) => command.run(&client),
        Command::Cluster(cluster::Cluster::Init(command)) => command.init(&client),
        Command::Supervise(command) => command.run(),
        Command::Install(command) => command.run(&client),
        Command::Config(command) => command.run(&client),
        Command::Completion(command) => command.run(),
        Command::Context(command) => command.run(),
        Command::Reference(command) => command.run(),
        command => block_on(talk(command, &client)),
    }
}

fn parsed() -> Outcome<Cli> {
    let matches = match tree().try_get_matches() {
        Err(error) if error.kind() == ErrorKind::InvalidUtf8 => {
            return Err(not_text(&std::env::args_os().collect::<Vec<_>>()));
        }
        matches => matches.unwrap_or_else(|error| error.exit()),
    };
    Ok(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

/// Names the flag, or the place, of the first word that is not UTF-8.
fn not_text(words: &[OsString]) -> Failure {
    let at = words.iter().position(|word| word.to_str().is_none()).unwrap_or_default();
    let shown = |at: usize| words.get(at).map(|word| word.to_string_lossy()).unwrap_or_default();
    let (word, before) = (shown(at), shown(at.saturating_sub(1)));
    let is_flag = |word: &str| word.starts_with('-') && word != "--";
    let flag = match word.split_once('=').filter(|(flag, _)| is_flag(flag)) {
        Some((flag, _)) => flag.to_owned(),
        None if is_flag(&before) => before.into_owned(),
        None => format!("argument {at}"),
    };
    Failure::usage(format!("{flag}: {word:?} is not UTF-8")).hint("write it in UTF-8")
}

async fn talk(command: Command, client: &ClientArgs) -> Outcome {
    match command {
        Command::Down(command) => command.run(client).await,
        Command::Uninstall(command) => command.run(client).await,
        Command::Status(command) => command.run(client).await,
        Command::Why(command) => command.run(client).await,
        Command::Service(command) => Box::pin(command.run(client)).await,
        Command::Rollout(command) => Box::pin(command.run(client)).await,
        Command::Secret(command) => command.run(client).await,
        Command::Freeze(command) => command.run(client).await,
        Command::Cluster(command) => command.run(client).await,
        Command::Token(command) => command.run(client).await,
        Command::Login(command) => command.run(client).await,
        Command::Node(command) => command.run(client).await,
        Command::Rebalance(command) => command.run(client).await,
        Command::Events(command) => command.run(client).await,
        Command::Audit(command) => command.run(client).await,
        Command::Apply(command) => Box::pin(command.run(client)).await,
        Command::Version(command) => command.run(client).await,
        Command::Up(_)
        | Command::Install(_)
        | Command::Supervise(_)
        | Command::Config(_)
        | Command::Completion(_)
        | Command::Context(_)
        | Command::Reference(_) => Ok(()),
    }
}

/// Does `work` on this thread.
///
/// # Errors
/// Those of the work.
pub fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::from)?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn every_command_and_flag_says_what_it_is() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no words");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{path}: {} has no words", arg.get_id());
            }
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&tree(), "warren");
    }

    #[test]
    fn an_update_shows_no_defaults_of_create() {
        let help = |verb: &str| {
            let tree = tree();
            let service = tree.find_subcommand("service").unwrap();
            service.find_subcommand(verb).unwrap().clone().render_long_help().to_string()
        };
        assert!(help("create").contains("How many tasks [default: 1]"));
        let update = help("update");
        assert!(update.contains("How many tasks\n") && !update.contains("[default: rolling]"));
        assert_eq!(update.matches("[default: ").count(), 0, "{update}");
        for verb in ["create", "update"] {
            let help = help(verb);
            let flag = help.find("--skip-resolve").unwrap();
            assert!(flag < help.find("Tasks:").unwrap(), "{help}");
        }
    }

    #[test]
    fn a_negative_amount_is_refused_as_an_amount() {
        for (flag, value) in [("--memory", "-5M"), ("--restart-delay", "-5s"), ("--cpus", "-1")] {
            let words = ["warren", "service", "create", "web", "--image", "web:v1", flag, value];
            let error = tree().try_get_matches_from(words).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains(value), "{error}");
            assert!(!error.contains("tip:"), "{error}");
        }
    }

    #[test]
    fn a_word_that_is_not_utf_8_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let told = |words: &[&[u8]]| {
            let words: Vec<_> =
                words.iter().map(|word| OsString::from_vec(word.to_vec())).collect();
            not_text(&words).message
        };
        assert_eq!(told(&[b"warren", b"--env", b"A=\xff"]), "--env: \"A=\u{fffd}\" is not UTF-8");
        assert!(told(&[b"warren", b"--env=A=\xff"]).starts_with("--env: "));
        assert!(told(&[b"warren", b"why", b"\xff"]).starts_with("argument 2: "));
    }

    #[test]
    fn what_reads_can_print_for_programs() {
        let reads = [
            &["status"][..],
            &["why"],
            &["events"],
            &["audit"],
            &["version"],
            &["service", "ls"],
            &["service", "ps"],
            &["service", "inspect"],
            &["service", "history"],
            &["service", "versions"],
            &["service", "diff"],
            &["service", "canary", "status"],
            &["rollout", "ls"],
            &["rollout", "status"],
            &["rollout", "watch"],
            &["rollout", "plan"],
            &["rollout", "simulate"],
            &["rollout", "timeline"],
            &["rollout", "profile", "ls"],
            &["rollout", "profile", "show"],
            &["freeze", "status"],
            &["node", "ls"],
            &["cluster", "backup"],
            &["node", "inspect"],
            &["secret", "ls"],
            &["secret", "inspect"],
            &["config", "ls"],
            &["config", "inspect"],
            &["config", "show"],
        ];
        for path in reads {
            let tree = tree();
            let command = path.iter().fold(&tree, |at, name| at.find_subcommand(name).unwrap());
            let has = command.get_arguments().any(|arg| arg.get_long() == Some("output"));
            assert!(has, "{path:?} has no --output");
        }
    }
}
