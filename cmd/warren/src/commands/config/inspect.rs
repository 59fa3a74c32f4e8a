//! `warren config inspect`

use crate::client::{ClientArgs, request};
use crate::commands::files;
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use serde::Serialize;
use warren_core::spec::FileKind;
use warren_wire::v1;

/// Show a config with its content, its versions, and which services use it
#[derive(Args, Debug)]
pub struct Inspect {
    /// Its name
    name: String,
    /// Whose content to show; the newest where left out
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    version: u32,
    /// Print the content alone, byte by byte
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    file: v1::FileInfo,
    /// What is no UTF-8 is marked.
    content: String,
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// There is none of that name, or no such version.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let kind = FileKind::Config;
        let asked = v1::GetFileRequest {
            kind: files::number(kind),
            name: self.name,
            version: self.version,
        };
        let answer = client.files().get_file(request(asked)).await?.into_inner();
        if self.raw {
            return output::raw(answer.content);
        }
        let content = String::from_utf8_lossy(&answer.content).into_owned();
        let shown = Shown { file: answer.file.unwrap_or_default(), content };
        output::print(self.output.output, &shown, |shown| {
            let end = if shown.content.ends_with('\n') { "" } else { "\n" };
            format!("{}\n{}{end}", files::page(kind, &shown.file), shown.content)
        })
    }
}
