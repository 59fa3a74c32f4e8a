//! `warren uninstall`

use super::files::{self, Places};
use super::{may, systemd};
use crate::client::ClientArgs;
use crate::commands::confirm;
use crate::commands::down::Down;
use crate::failure::Outcome;
use crate::{node, output};
use clap::Args;
use std::path::PathBuf;

/// Take the unit and the program of `warren install` away again
///
/// Stops the node and its tasks first. The configuration and the data directory stay unless `--purge` is given. The
/// cluster is told by `warren node rm`, on a manager: it would wait for this node otherwise.
#[derive(Args, Debug)]
pub struct Uninstall {
    /// Stop the node only; its tasks run on, and nothing watches them any more
    #[arg(long, conflicts_with = "purge")]
    keep_tasks: bool,
    /// Also remove the configuration and the data directory, with all that this node knew of its cluster
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Root of the file system to take it away from, as of an image that is being made
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
}

impl Uninstall {
    /// Runs it.
    ///
    /// # Errors
    /// The user said no, the node does not stop, or a file cannot be removed.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let places = Places::below(&self.root);
        may(&places, false)?;
        let dir = if places.live() {
            client.data_dir()
        } else {
            places.at(&client.data_dir().to_string_lossy())
        };
        confirm(self.yes, &question(&dir, self.purge))?;
        if places.live() {
            self.stop(client).await?;
        }
        let mut gone = Vec::new();
        let mut take = |path: PathBuf| -> Outcome {
            if files::take_away(&path)? {
                gone.push(path.display().to_string());
            }
            Ok(())
        };
        if places.packaged() {
            output::say(
                "a package brought the program and its unit: the package manager takes them away",
            );
        } else {
            take(places.unit())?;
            take(places.binary())?;
        }
        if self.purge {
            take(places.config())?;
            take(dir.clone())?;
        }
        if places.live() && systemd::runs() {
            systemd::ask(&["daemon-reload"])?;
        }
        if gone.is_empty() {
            output::say("nothing was installed here");
            return Ok(());
        }
        output::say(format_args!("removed {}", gone.join(", ")));
        if !self.purge {
            output::say(format_args!("{} and {} stay", places.config().display(), dir.display()));
        }
        output::say(
            "if the cluster goes on, `warren node rm` on a manager makes it forget this node",
        );
        Ok(())
    }

    /// Stops the node by the way that takes its tasks along, then tells systemd to leave it so.
    async fn stop(&self, client: &ClientArgs) -> Outcome {
        if node::holder(&client.data_dir())?.is_some() {
            Down::quietly(self.keep_tasks).run(client).await?;
        }
        if systemd::runs() && Places::below(std::path::Path::new("/")).unit().exists() {
            systemd::ask(&["disable", "--now", "warren"])?;
        }
        Ok(())
    }
}

fn question(dir: &std::path::Path, purge: bool) -> String {
    if purge {
        format!("Take Warren away with everything in {}?", dir.display())
    } else {
        "Take Warren away from this machine?".to_owned()
    }
}
