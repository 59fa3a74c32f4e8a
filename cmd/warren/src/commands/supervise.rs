//! The hidden command that the process runtime starts for each task.

use crate::failure::Outcome;
use clap::Args;

/// The command's name.
pub const NAME: &str = "__supervise";

/// Watch over one process: what the process runtime runs each task under
#[derive(Args, Debug)]
pub struct Supervise {
    /// What the runtime says; nobody else should
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Supervise {
    /// Runs it.
    ///
    /// # Errors
    /// The process could not be watched over.
    pub fn run(self) -> Outcome {
        let _ = self.arguments;
        Ok(())
    }
}
