//! `warren freeze on`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::output;
use clap::Args;
use warren_wire::v1;

/// Hold the releases of a service, or of all
///
/// Releases that have begun stay where they are; those that begin wait. Rollbacks are never held, and
/// `--override-freeze` of `warren service update` goes on in spite of it. Refused where
/// somebody has frozen them already.
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
        let off = off(&name);
        let asked = v1::SetFreezeRequest { service_id: name, frozen, reason };
        if let Some(replaced) = super::set(&client, asked).await?.replaced {
            let words = super::words(&replaced);
            output::say(format_args!("it takes the place of the freeze {words}"));
        }
        output::say(format_args!("releases of {what} are frozen; `{off}` ends that"));
        Ok(())
    }
}

/// The command that ends the freeze of a service, of all where it is empty.
fn off(name: &str) -> String {
    if name.is_empty() { "warren freeze off".into() } else { format!("warren freeze off {name}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_way_out_names_what_is_frozen() {
        assert_eq!(super::off("web"), "warren freeze off web");
        assert_eq!(super::off(""), "warren freeze off");
    }
}
