//! The hidden command that the process runtime starts for each task.

use crate::failure::{Failure, Outcome};
use clap::Args;
use std::ffi::OsString;
use std::process::ExitCode;

/// The command's name.
pub const NAME: &str = "__supervise";

/// Watch over one process: what the process runtime runs each task under
#[derive(Args, Debug)]
pub struct Supervise {
    /// What the runtime says; nobody else should
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Supervise {
    /// Runs it.
    ///
    /// # Errors
    /// The process could not be watched over; why has been said.
    pub fn run(self) -> Outcome {
        let code = warren_drivers::runtime::process::supervise_main(self.arguments);
        // What it failed with has been said by it, and the runtime looks only whether it did.
        if code == ExitCode::SUCCESS { Ok(()) } else { Err(Failure::code(127)) }
    }
}
