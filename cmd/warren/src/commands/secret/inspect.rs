//! `warren secret inspect`

use crate::client::ClientArgs;
use crate::commands::files;
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_core::spec::FileKind;

/// Show a secret's versions, and which services use it; never what it holds
#[derive(Args, Debug)]
pub struct Inspect {
    /// Its name
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let kind = FileKind::Secret;
        let (file, _) = files::get(kind, self.name, 0, client).await?;
        output::print(self.output.output, &file, |file| files::page(kind, file))
    }
}
