//! `warren service history`

use crate::client::{ClientArgs, StaleArgs, of_service, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use crate::release;
use clap::Args;
use warren_wire::v1;

/// Show the releases of a service: what, who, why, how long and how it ended
///
/// `warren service versions` shows what each version runs.
///
/// Example: `warren service history web`
#[derive(Args, Debug)]
pub struct History {
    /// Name or id of the service
    name: String,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl History {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let asked = v1::ListRolloutsRequest { service_id: self.name };
        let list = client.rollouts().list_rollouts(request(asked)).await.map_err(of_service)?;
        let rollouts = list.into_inner().rollouts;
        output::print(self.output.output, &rollouts, |rollouts| table(rollouts))
    }
}

/// The characters of a digest that tell two images apart: as many as `docker images` shows.
const DIGEST_SHOWN: usize = 12;

fn table(rollouts: &[v1::Rollout]) -> String {
    let rows = rollouts.iter().map(|rollout| {
        let digest = rollout.to_digest.rsplit_once(':').map_or("", |(_, hex)| hex);
        vec![
            format!("v{}", rollout.to_revision),
            rollout.kind.clone(),
            rollout.to_image.clone(),
            digest.chars().take(DIGEST_SHOWN).collect(),
            output::moment(rollout.started_unix_ms),
            rollout.started_by.clone(),
            rollout.strategy.clone(),
            release::span(rollout.duration_ms),
            outcome(rollout),
            why(rollout),
        ]
    });
    let header = [
        "VERSION", "KIND", "IMAGE", "DIGEST", "STARTED", "BY", "STRATEGY", "DURATION", "OUTCOME",
        "WHY",
    ];
    output::table(&header, rows)
}

fn outcome(rollout: &v1::Rollout) -> String {
    if rollout.outcome.is_empty() { rollout.phase.clone() } else { rollout.outcome.clone() }
}

/// Why it was begun, then why it ended so.
fn why(rollout: &v1::Rollout) -> String {
    let freeze = match rollout.freeze_override.as_str() {
        "" => String::new(),
        reason => format!("in spite of a freeze: {reason}"),
    };
    let parts = [rollout.cause.as_str(), &freeze, &rollout.reason];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: B24
    #[test]
    fn each_release_has_what_who_how_long_and_how_it_ended() {
        let cause = "faster".into();
        let canary = v1::Rollout { cause, ..release::tests::canary() };
        let back = v1::Rollout {
            outcome: "rolled-back".into(),
            reason: "it hung".into(),
            to_digest: "sha256:0123456789abcdef".into(),
            ..canary.clone()
        };
        let urgent = v1::Rollout { freeze_override: "a hole".into(), ..back.clone() };
        assert_eq!(why(&urgent), "faster; in spite of a freeze: a hole; it hung");
        assert_eq!(
            table(&[canary, back]),
            "\
VERSION  KIND    IMAGE   DIGEST        STARTED               BY   STRATEGY  DURATION  OUTCOME      WHY
v2       update  web:v2  5f70          1970-01-01T00:16:40Z  ann  canary    6m 22s    holding      faster
v2       update  web:v2  0123456789ab  1970-01-01T00:16:40Z  ann  canary    6m 22s    rolled-back  faster; it hung
"
        );
    }
}
