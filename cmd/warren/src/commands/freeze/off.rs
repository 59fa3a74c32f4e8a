//! `warren freeze off`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::output;
use clap::Args;
use warren_wire::v1;

/// End a freeze
///
/// Without a service it ends the freeze of all; one of a single service stays until it is named.
///
/// Example: `warren freeze off web`
#[derive(Args, Debug)]
pub struct Off {
    /// Service to let go on; where left out, the freeze of all ends
    name: Option<String>,
}

impl Off {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, or it is not frozen.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let service_id = self.name.unwrap_or_default();
        let (frozen, reason) = (false, String::new());
        super::set(&client, v1::SetFreezeRequest { service_id, frozen, reason }).await?;
        match super::freezes(&client).await?.as_slice() {
            [] => output::say("nothing is frozen"),
            left => left.iter().for_each(|freeze| {
                let what = if freeze.service.is_empty() { "all services" } else { &freeze.service };
                output::say(format_args!("still frozen: {what}, {}", super::words(freeze)));
            }),
        }
        Ok(())
    }
}
