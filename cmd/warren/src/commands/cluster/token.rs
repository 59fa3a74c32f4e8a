//! `warren cluster token`

use crate::client::{ClientArgs, request};
use crate::failure::Outcome;
use crate::output::{self, Format, OutputArgs};
use clap::{Args, ValueEnum};
use std::time::Duration;
use warren_core::time::millis;
use warren_wire::v1;

/// What a machine becomes.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinAs {
    /// Runs tasks
    Worker,
    /// Runs tasks, and has a part in every decision
    Manager,
}

impl JoinAs {
    const fn word(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }
}

/// Make a token that lets machines in, and print how they join
///
/// The token is shown this once; the cluster keeps a hash of it. It may be used for any number of machines until it
/// expires. Whoever has one for managers can become one: keep it as a key.
#[derive(Args, Debug)]
pub struct Token {
    /// What machines become that show it
    #[arg(default_value = "worker")]
    role: JoinAs,
    /// For how long it lets machines in: 1m to 366d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = crate::flags::words::duration)]
    lifetime: Duration,
    /// End all earlier tokens of this role
    #[arg(long)]
    rotate: bool,
    /// End all tokens of this role, and make none
    #[arg(long, conflicts_with_all = ["rotate", "lifetime", "quiet"])]
    revoke: bool,
    /// Print the token alone
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Token {
    /// Runs it.
    ///
    /// # Errors
    /// The lifetime is out of range, or the caller may not.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let role = self.role.word().to_owned();
        if self.revoke {
            let asked = v1::RevokeJoinTokensRequest { role: role.clone() };
            let answer = client.clusters().revoke_join_tokens(request(asked)).await?;
            let tokens = match answer.into_inner().revoked {
                0 => format!("there was no join token for a {role}"),
                1 => format!("1 join token for a {role} is of no use any more"),
                count => format!("{count} join tokens for a {role} are of no use any more"),
            };
            output::say(tokens);
            return Ok(());
        }
        let asked = v1::CreateJoinTokenRequest {
            role: role.clone(),
            lifetime_ms: millis(self.lifetime),
            rotate: self.rotate,
        };
        let answer = client.clusters().create_join_token(request(asked)).await?.into_inner();
        if self.quiet && self.output.output == Format::Table {
            return output::line(&answer.token);
        }
        output::print(self.output.output, &answer, |answer| {
            let manager = answer.managers.first().map_or("HOST:7400", String::as_str);
            let until = output::moment(answer.expires_unix_ms);
            format!(
                "To add a {role}, run this on the machine (until {until}):\n\n    warren up --join {manager} --token {}\n",
                answer.token
            )
        })
    }
}
