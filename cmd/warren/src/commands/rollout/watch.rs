//! `warren rollout watch`

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::progress::WaitArgs;
use crate::release::{self, Aim, Show};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// Follow a release until it ends
///
/// On a terminal the view is drawn anew in place; elsewhere each change is a line on standard output. Of a service at
/// rest the last release counts. Ctrl-C stops watching, and the release goes on.
///
/// Ends with 0 where the release completed, 6 where it was rolled back, 7 where it was superseded or cancelled, 1 where
/// it failed, 4 where --timeout or Ctrl-C came first.
///
/// Example: `warren rollout watch web --timeout 30m`
#[derive(Args, Debug)]
pub struct Watch {
    /// Name or id of the service
    name: String,
    /// Stop watching after this long; the release goes on (exit code 4) [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = crate::flags::words::duration)]
    timeout: Option<Duration>,
    /// Lines for people, or one JSON object a line
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Lines,
}

/// How a stream is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Lines {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Watch {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service, it has had no release, or the release did not complete.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let show = match self.output {
            Lines::Text => Show::Data,
            Lines::Json => Show::Json,
        };
        let wait = WaitArgs { detach: false, wait: true, wait_timeout: self.timeout };
        release::follow(&client, &self.name, Aim::Any, show, &wait).await
    }
}
