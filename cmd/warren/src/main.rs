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
mod progress;
mod release;
mod tasks;

use std::process::ExitCode;

fn main() -> ExitCode {
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
