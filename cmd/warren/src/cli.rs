//! The command line as a whole: what there is, and which function runs it.

use crate::client::ClientArgs;
use crate::commands::{
    apply, completion, config, down, events, node, reference, service, status, supervise, up,
    version, why,
};
use crate::failure::{EXIT_CODES, Failure, Outcome};
use clap::{CommandFactory, Parser, Subcommand};

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
    /// Show the cluster in a few lines
    Status(status::Status),
    /// Say what something waits for
    Why(why::Why),
    /// Make, change and show services
    #[command(subcommand, visible_alias = "svc")]
    Service(Box<service::Service>),
    /// Show and steer nodes
    #[command(subcommand)]
    Node(node::Node),
    /// Show what happened
    Events(events::Events),
    /// Make services be as a file says
    Apply(apply::Apply),
    /// Show the configuration
    #[command(subcommand)]
    Config(config::Config),
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

/// The tree of all commands.
pub fn tree() -> clap::Command {
    Cli::command()
}

/// Reads the command line and does what it says.
///
/// # Errors
/// What the user is told, with the exit code.
pub fn run() -> Outcome {
    let Cli { client, command } = Cli::parse();
    match command {
        // These two make their own threads: one runs the node, the other must be small.
        Command::Up(command) => command.run(&client),
        Command::Supervise(command) => command.run(),
        Command::Config(command) => command.run(&client),
        Command::Completion(command) => command.run(),
        Command::Reference(command) => command.run(),
        command => block_on(talk(command, &client)),
    }
}

async fn talk(command: Command, client: &ClientArgs) -> Outcome {
    match command {
        Command::Down(command) => command.run(client).await,
        Command::Status(command) => command.run(client).await,
        Command::Why(command) => command.run(client).await,
        Command::Service(command) => command.run(client).await,
        Command::Node(command) => command.run(client).await,
        Command::Events(command) => command.run(client).await,
        Command::Apply(command) => command.run(client).await,
        Command::Version(command) => command.run(client).await,
        Command::Up(_)
        | Command::Supervise(_)
        | Command::Config(_)
        | Command::Completion(_)
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
    fn what_reads_can_print_for_programs() {
        let reads = [
            &["status"][..],
            &["why"],
            &["events"],
            &["version"],
            &["service", "ls"],
            &["service", "ps"],
            &["service", "inspect"],
            &["service", "history"],
            &["service", "versions"],
            &["node", "ls"],
            &["node", "inspect"],
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
