//! `warren rollout`

pub mod abort;
pub mod approve;
pub mod ls;
pub mod pause;
pub mod plan;
pub mod profile;
pub mod promote;
pub mod resume;
pub mod retry;
pub mod simulate;
pub mod status;
pub mod timeline;
pub mod watch;

use crate::client::ClientArgs;
use crate::failure::Outcome;
use crate::{output, release};
use clap::Subcommand;
use warren_wire::v1;

/// Show and steer releases
#[derive(Subcommand, Debug)]
pub enum Rollout {
    /// List releases, newest first
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    /// Show everything about the release of a service
    Status(status::Status),
    /// Follow a release until it ends
    Watch(watch::Watch),
    /// Say what an update would do, and change nothing
    Plan(Box<plan::Plan>),
    /// Play a release in a model of the cluster, with what may go wrong, and change nothing
    Simulate(Box<simulate::Simulate>),
    /// Hold a release where it is
    Pause(pause::Pause),
    /// Let a paused release go on
    Resume(resume::Resume),
    /// Send a release forward: over this hold, to a share, or to the end
    Promote(promote::Promote),
    /// Try a release again
    Retry(retry::Retry),
    /// Agree to what a release waits for
    Approve(approve::Approve),
    /// Call a release off: back to the version before
    Abort(abort::Abort),
    /// Show what happened in a release
    Timeline(timeline::Timeline),
    /// Show the named sets of update settings
    #[command(subcommand)]
    Profile(profile::Profile),
}

impl Rollout {
    /// Runs it.
    ///
    /// # Errors
    /// What the user is told.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        match self {
            Self::Ls(command) => command.run(client).await,
            Self::Status(command) => command.run(client).await,
            Self::Watch(command) => command.run(client).await,
            Self::Plan(command) => Box::pin(command.run(client)).await,
            Self::Simulate(command) => Box::pin(command.run(client)).await,
            Self::Pause(command) => command.run(client).await,
            Self::Resume(command) => command.run(client).await,
            Self::Promote(command) => command.run(client).await,
            Self::Retry(command) => command.run(client).await,
            Self::Approve(command) => command.run(client).await,
            Self::Abort(command) => command.run(client).await,
            Self::Timeline(command) => command.run(client).await,
            Self::Profile(command) => command.run(client).await,
        }
    }
}

/// Says where a release stands after somebody steered it.
pub fn say(did: &str, rollout: Option<v1::Rollout>) {
    let rollout = rollout.unwrap_or_default();
    output::say(said(did, &rollout));
}

fn said(did: &str, rollout: &v1::Rollout) -> String {
    let (name, brief) = (&rollout.service, release::brief(rollout));
    // What is promoted while it stands still goes nowhere yet.
    let first = match did {
        "promoted" if !rollout.pauses.is_empty() => {
            format!("; it goes on once it is resumed: `warren rollout resume {name}`")
        }
        _ => String::new(),
    };
    format!("{name}: {did}; {brief}{first}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_of_a_paused_release_says_how_it_goes_on() {
        let rollout =
            v1::Rollout { pauses: vec!["by ann: lunch".into()], ..release::tests::canary() };
        let text = said("promoted", &rollout);
        assert!(text.contains("paused by ann: lunch"), "{text}");
        assert!(text.ends_with("once it is resumed: `warren rollout resume web`"), "{text}");
        assert!(!said("promoted", &release::tests::canary()).contains("resume"));
    }
}
