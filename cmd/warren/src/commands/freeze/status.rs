//! `warren freeze status`

use crate::client::{ClientArgs, StaleArgs};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;

/// Show what is frozen
///
/// Example: `warren freeze status`
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Status {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let freezes = super::freezes(&client).await?;
        output::print(self.output.output, &freezes, |freezes| {
            if freezes.is_empty() {
                return "nothing is frozen\n".into();
            }
            let rows = freezes.iter().map(|freeze| {
                let all = freeze.service.is_empty();
                vec![
                    if all { "all services".into() } else { freeze.service.clone() },
                    freeze.by.clone(),
                    output::moment(freeze.since_unix_ms),
                    freeze.reason.clone(),
                ]
            });
            output::table(&["FROZEN", "BY", "SINCE", "WHY"], rows)
        })
    }
}
