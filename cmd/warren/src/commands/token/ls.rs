//! `warren token ls`

use crate::client::{ClientArgs, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_wire::v1;

/// List the access tokens
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    output: OutputArgs,
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = request(v1::ListAccessTokensRequest {});
        let tokens = client.clusters().list_access_tokens(asked).await?.into_inner().tokens;
        output::print(self.output.output, &tokens, |tokens| {
            let rows = tokens.iter().map(|token| {
                let expires = output::moment(token.expires_unix_ms);
                vec![token.name.clone(), token.roles.join(", "), expires, token.by.clone()]
            });
            output::table(&["NAME", "ROLES", "EXPIRES", "MADE BY"], rows)
        })
    }
}
