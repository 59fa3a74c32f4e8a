//! `warren service versions`

use crate::client::{Client, ClientArgs, StaleArgs, of_service, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use crate::release;
use clap::Args;
use warren_wire::v1;

/// Show the kept versions of a service, and what each runs
#[derive(Args, Debug)]
pub struct Versions {
    /// Name or id of the service
    name: String,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Versions {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let revisions = revisions(&client, &self.name).await?;
        output::print(self.output.output, &revisions, |revisions| {
            let rows = revisions.iter().map(|revision| {
                let template = revision.template.clone().unwrap_or_default();
                vec![
                    format!("v{}", revision.number),
                    revision.hash.clone(),
                    template.image,
                    template.pinned,
                    output::moment(revision.created_unix_ms),
                    revision.by.clone(),
                    revision.running.to_string(),
                    last_good(revision),
                    revision.outcome.clone(),
                    role(revision),
                ]
            });
            let header = [
                "VERSION", "HASH", "IMAGE", "PINNED", "MADE", "BY", "RUNNING", "ACCEPTED",
                "OUTCOME", "ROLE",
            ];
            output::table(&header, rows)
        })
    }
}

/// The kept versions of a service, newest first.
///
/// # Errors
/// There is no such service.
async fn revisions(client: &Client, name: &str) -> Outcome<Vec<v1::Revision>> {
    let asked = v1::ListVersionsRequest { service_id: name.to_owned() };
    let answer = client.services().list_versions(request(asked)).await.map_err(of_service)?;
    Ok(answer.into_inner().revisions)
}

/// When every slot ran it well last.
fn last_good(revision: &v1::Revision) -> String {
    match revision.last_good_ago_ms {
        Some(ms) => format!("{} ago", release::span(ms)),
        None => "never".into(),
    }
}

/// What a version is to its service.
fn role(revision: &v1::Revision) -> String {
    match (revision.current, revision.stable) {
        (true, true) => "current, stable".into(),
        (true, false) => "current".into(),
        (false, true) => "stable".into(),
        (false, false) => String::new(),
    }
}
