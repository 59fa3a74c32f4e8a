//! `warren secret inspect`

use crate::client::{ClientArgs, request};
use crate::commands::files;
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_core::spec::FileKind;
use warren_wire::v1;

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
        let client = client.connect().await?;
        let kind = FileKind::Secret;
        let asked = v1::GetFileRequest { kind: files::number(kind), name: self.name, version: 0 };
        let answer = client.files().get_file(request(asked)).await?.into_inner();
        let file = answer.file.unwrap_or_default();
        output::print(self.output.output, &file, |file| files::page(kind, file))
    }
}
