//! `warren token create`

use crate::client::{ClientArgs, request};
use crate::failure::Outcome;
use crate::output::{self, Format, OutputArgs};
use clap::Args;
use std::time::Duration;
use warren_core::time::millis;
use warren_wire::v1;

/// Make an access token, and print it this once
///
/// Roles: `viewer` looks; `operator` also rolls back; `deployer` also changes and releases services; `approver` looks
/// and approves steps; `admin` does everything. Any other role is one that a step's approval may ask for, and is given
/// besides one of these, as in `--role approver --role release-captain`.
#[derive(Args, Debug)]
pub struct Create {
    /// Whose it is: how events and the history call its holder
    name: String,
    /// What its holder may do; may be repeated
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<String>,
    /// For how long it is of use: 1m to 732d
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = crate::flags::words::duration)]
    lifetime: Duration,
    /// Print the token alone
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Create {
    /// Runs it.
    ///
    /// # Errors
    /// The name is taken, or the caller may not.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = v1::CreateAccessTokenRequest {
            name: self.name.clone(),
            roles: self.roles,
            lifetime_ms: millis(self.lifetime),
        };
        let answer = client.clusters().create_access_token(request(asked)).await?.into_inner();
        if self.quiet && self.output.output == Format::Table {
            return output::line(&answer.token);
        }
        output::print(self.output.output, &answer, |answer| {
            let managers = answer.managers.join(" ");
            let until = output::moment(answer.expires_unix_ms);
            format!(
                "For {}, until {until}. It is not shown again:\n\n    {}\n\nTo use it elsewhere:\n\n    warren login {managers}\n",
                self.name, answer.token
            )
        })
    }
}
