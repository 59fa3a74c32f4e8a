//! `warren freeze on`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::output;
use clap::Args;
use warren_wire::v1;

/// Hold the releases of a service, or of all
///
/// Releases that have begun stay where they are; those that begin wait. Rollbacks are never held, and
/// `--override-freeze` of `warren service update` goes on in spite of it.
///
/// Example: `warren freeze on --reason 'end of the year'`
#[derive(Args, Debug)]
pub struct On {
    /// Service to hold; all where left out
    name: Option<String>,
    /// Why, for everyone who finds it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl On {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let name = self.name.unwrap_or_default();
        let what = if name.is_empty() { "all services".into() } else { name.clone() };
        let (frozen, reason) = (true, self.reason);
        super::set(&client, v1::SetFreezeRequest { service_id: name, frozen, reason }).await?;
        output::say(format_args!("releases of {what} are frozen; `warren freeze off` ends that"));
        Ok(())
    }
}
