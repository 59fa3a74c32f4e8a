//! `warren service history`

use super::versions::{revisions, role};
use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;

/// Show who changed a service, when and why
#[derive(Args, Debug)]
pub struct History {
    /// Name or id of the service
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl History {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let revisions = revisions(&client, &self.name).await?;
        output::print(self.output.output, &revisions, |revisions| {
            let rows = revisions.iter().map(|revision| {
                vec![
                    format!("v{}", revision.number),
                    output::moment(revision.created_unix_ms),
                    revision.by.clone(),
                    role(revision),
                    revision.cause.clone(),
                ]
            });
            output::table(&["VERSION", "MADE", "BY", "ROLE", "WHY"], rows)
        })
    }
}
