//! `warren completion`

use crate::failure::Outcome;
use crate::output;
use clap::Args;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Args, Debug)]
pub struct Completion {
    /// Shell to complete in
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

impl Completion {
    /// Runs it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn run(self) -> Outcome {
        let shell = match self.shell.as_str() {
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            _ => Shell::Bash,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut crate::cli::tree(), "warren", &mut script);
        output::raw(script)
    }
}
