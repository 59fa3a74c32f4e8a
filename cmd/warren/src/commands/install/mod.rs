//! `warren install` and `warren uninstall`

mod config;
mod files;
mod systemd;
mod uninstall;

pub use uninstall::Uninstall;

use crate::client::ClientArgs;
use crate::config::{NodeConfig, NodeFlags, settings};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use clap::{Args, ValueEnum};
use files::Places;
use nix::unistd::geteuid;
use std::path::PathBuf;

/// What runs the node is for root alone; the program and the unit are for all to read.
const MODE_SECRET: u32 = 0o600;
const MODE_READ: u32 = 0o644;
const MODE_RUN: u32 = 0o755;

/// Whose unit.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnitOf {
    /// As `warren install` writes it
    Install,
    /// As a package brings it
    Package,
}

/// Make this machine a node that starts with it, as a unit of systemd
///
/// Copies this program to /usr/local/bin, writes the flags given here to /etc/warren/warren.toml beside what is there
/// already, writes the unit, and starts it. It may be repeated: with a newer program it is the upgrade of this node.
/// Tasks run on while the node restarts.
#[derive(Args, Debug)]
pub struct Install {
    #[command(flatten)]
    node: NodeFlags,
    /// Write the files and start nothing
    #[arg(long)]
    no_start: bool,
    /// Root of the file system to install to, as of an image that is being made; starts nothing
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Print the unit and change nothing
    #[arg(long, value_name = "WHOSE", num_args = 0..=1, default_missing_value = "install")]
    print_unit: Option<UnitOf>,
}

impl Install {
    /// Runs it.
    ///
    /// # Errors
    /// A setting that cannot be, a file that cannot be written, or a node that does not start.
    pub fn run(self, client: &ClientArgs) -> Outcome {
        match self.print_unit {
            Some(UnitOf::Install) => return output::raw(files::own_unit()),
            Some(UnitOf::Package) => return output::raw(files::packaged_unit()),
            None => {}
        }
        let places = Places::below(&self.root);
        let start = places.live() && !self.no_start;
        may(&places, start)?;
        // What would not run is not installed.
        let given = settings(&self.node, client, |name| std::env::var(name).ok())?;
        NodeConfig::from_settings(&given)?;
        let config = places.config();
        let text = config::with(&config, &given)?;
        let mut changed = Vec::new();
        let mut put = |path: PathBuf, content: &[u8], mode| -> Outcome {
            if files::put(&path, content, mode)? {
                changed.push(path.display().to_string());
            }
            Ok(())
        };
        put(config, text.as_bytes(), MODE_SECRET)?;
        if places.packaged() {
            output::say("a package brought the program and its unit: they stay as they are");
        } else {
            put(places.binary(), &own_program()?, MODE_RUN)?;
            put(places.unit(), files::own_unit().as_bytes(), MODE_READ)?;
        }
        if changed.is_empty() {
            output::say("everything is there already");
        } else {
            output::say(format_args!("wrote {}", changed.join(", ")));
        }
        if start {
            return start_node(!changed.is_empty());
        }
        output::say("nothing was started: `systemctl enable --now warren` does it");
        Ok(())
    }
}

/// Whether it can be done at all, before anything is.
fn may(places: &Places, start: bool) -> Outcome {
    if places.live() && !geteuid().is_root() {
        return Err(Failure::new(Exit::Failed, "only root may install a node")
            .hint("run it as root: sudo warren install"));
    }
    if start && !systemd::runs() {
        return Err(Failure::new(Exit::Failed, "systemd does not run this machine").hint(
            "`warren up --detach` runs a node without it; --no-start writes the files only",
        ));
    }
    Ok(())
}

/// The program that runs now.
fn own_program() -> Outcome<Vec<u8>> {
    let path = std::path::Path::new("/proc/self/exe");
    std::fs::read(path).map_err(|error| files::cannot("read", path, &error))
}

fn start_node(changed: bool) -> Outcome {
    systemd::ask(&["daemon-reload"])?;
    let was_active = systemd::is_active()?;
    systemd::ask(&["enable", "--now", "warren"])?;
    if was_active && changed {
        output::say("restarting the node; its tasks run on");
        systemd::ask(&["restart", "warren"])?;
    }
    output::say("the node is up; `warren status` shows it, `journalctl -u warren` its log");
    Ok(())
}
