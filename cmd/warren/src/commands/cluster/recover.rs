//! `warren cluster recover`

use crate::client::ClientArgs;
use crate::commands::confirm;
use crate::failure::{Failure, Outcome};
use crate::node;
use crate::output;
use clap::Args;

/// Go on with one manager alone, where most of them are lost for good
///
/// Run it on a manager that is left, after stopping Warren there (`warren down --keep-tasks`). The cluster goes on in a
/// new epoch with this manager as its only one; the others are removed and must never come back with their old data
/// directories. Changes that had not reached this manager are lost. Workers adopt what they run.
#[derive(Args, Debug)]
pub struct Recover {
    /// Say that you mean it: the other managers are lost for good
    #[arg(long)]
    force_new_cluster: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Recover {
    /// Runs it.
    ///
    /// # Errors
    /// Warren runs there, or the data directory is not that of a manager.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        if !self.force_new_cluster {
            return Err(Failure::usage("nothing was done: --force-new-cluster is not given").hint(
                "while a majority of the managers can be started again, start them instead: nothing is lost then",
            ));
        }
        let dir = client.data_dir();
        let survivor = node::survey(&dir).await?;
        output::say(survivor.told());
        confirm(self.yes, "Go on with this manager alone?")?;
        let kept = survivor.go_on_alone()?;
        output::say(format_args!(
            "this manager is the only one now; its log of before is kept in {}\n\
             next: `warren up --data-dir {}`; then wipe the other managers and join them anew with a token of \
             `warren cluster token manager`",
            kept.display(),
            dir.display()
        ));
        Ok(())
    }
}
