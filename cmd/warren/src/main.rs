//! The warren binary: manager, agent, resolver and command line in one. Here things are only put together.

#![allow(unreachable_pub, reason = "in a binary, pub says what a module offers to the others")]

mod cli;
mod client;
mod commands;
mod config;
mod failure;
mod flags;
mod manifest;
mod node;
mod output;
mod passphrase;
mod progress;
mod release;
mod tasks;

use std::process::ExitCode;

/// Keeps what is in memory, secrets and keys among it, from being written to a core dump, and from other processes of
/// the same user. Programs that are started from here are not touched by it. Without it everything works as well.
fn keep_out_of_dumps() {
    let _ = nix::sys::prctl::set_dumpable(false);
}

fn main() -> ExitCode {
    keep_out_of_dumps();
    warren_wire::trust::install_provider();
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::say(format_args!("error: {failure}"));
            }
            ExitCode::from(failure.exit)
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_not_dumped() {
        super::keep_out_of_dumps();
        assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false));
    }
}
