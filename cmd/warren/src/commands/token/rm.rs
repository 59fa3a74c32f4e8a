//! `warren token rm`

use crate::client::{ClientArgs, request};
use crate::failure::Outcome;
use crate::output;
use clap::Args;
use warren_wire::v1;

/// End an access token
#[derive(Args, Debug)]
pub struct Rm {
    /// Whose
    name: String,
}

impl Rm {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such token.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = v1::RevokeAccessTokenRequest { name: self.name.clone() };
        client.clusters().revoke_access_token(request(asked)).await?;
        output::say(format_args!("the access token of {} is of no use any more", self.name));
        Ok(())
    }
}
