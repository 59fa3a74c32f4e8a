//! `warren rollout timeline`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, OutputArgs};
use crate::release;
use clap::Args;
use warren_wire::v1;

/// Show what happened in a release: when, who and what
///
/// `--output json` prints the release with every fact that is kept of it, for a post-mortem.
///
/// Example: `warren rollout timeline web --output json > post-mortem.json`
#[derive(Args, Debug)]
pub struct Timeline {
    /// Name or id of the service
    name: String,
    /// An earlier release, as `warren rollout ls` shows it, in place of the last
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Timeline {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service or release.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let rollout = match &self.id {
            None => release::one(&client, &self.name).await?,
            Some(id) => {
                let asked = v1::ListRolloutsRequest { service_id: self.name.clone() };
                let list = client.rollouts().list_rollouts(request(asked)).await;
                let list = list.map_err(of_service)?.into_inner().rollouts;
                let found = list.into_iter().find(|rollout| rollout.id == *id);
                found.ok_or_else(|| {
                    Failure::new(Exit::NotFound, format!("{} has no release {id}", self.name))
                        .hint(format!("`warren rollout ls {}` shows those it has", self.name))
                })?
            }
        };
        output::print(self.output.output, &rollout, table)
    }
}

fn table(rollout: &v1::Rollout) -> String {
    let rows = rollout.timeline.iter().map(|moment| {
        vec![
            output::moment(moment.at_unix_ms),
            format!("+{}", release::span(moment.after_ms)),
            moment.by.clone(),
            moment.action.clone(),
            moment.text.clone(),
        ]
    });
    output::table(&["AT", "AFTER", "BY", "ACTION", "WHAT"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: E33
    #[test]
    fn a_timeline_says_when_who_and_what_also_to_programs() {
        let rollout = release::tests::canary();
        let text = table(&rollout);
        let shifted = text.lines().find(|line| line.contains("shifted")).unwrap();
        for part in ["1970-01-01T00:21:49Z", "+5m 9s", "warren", "25% of the traffic"] {
            assert!(shifted.contains(part), "{text}");
        }
        let seen: serde_json::Value =
            serde_json::from_str(&output::json(&rollout).unwrap()).unwrap();
        assert_eq!(seen["timeline"][0]["by"], "ann");
        assert_eq!(seen["timeline"][2]["after_ms"], 309_000);
        assert_eq!(seen["cause"], "a faster answer");
    }
}
