//! What can be typed: one folder for each noun, one file for each verb.

pub mod apply;
pub mod audit;
pub mod cluster;
pub mod completion;
pub mod config;
pub mod context;
pub mod down;
pub mod events;
pub mod files;
pub mod freeze;
pub mod install;
pub mod login;
pub mod node;
pub mod rebalance;
pub mod reference;
pub mod rollout;
pub mod secret;
pub mod service;
pub mod status;
pub mod supervise;
pub mod token;
pub mod up;
pub mod version;
pub mod why;

use crate::failure::{Exit, Failure, Outcome};
use std::io::{BufRead, IsTerminal, Write};

/// Asks before something that cannot be taken back.
///
/// # Errors
/// The user said no, or there is nobody to ask.
pub fn confirm(yes: bool, question: &str) -> Outcome {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nothing was done: there is no terminal to ask for a yes on")
            .hint("add --yes if you mean it"));
    }
    write!(std::io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "nothing was done")),
    }
}
