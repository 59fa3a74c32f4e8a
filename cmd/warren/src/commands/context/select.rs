//! `warren context use`

use crate::client::contexts::Contexts;
use crate::failure::{Failure, Outcome};
use crate::output;
use clap::Args;

/// Use this login where none is named
#[derive(Args, Debug)]
pub struct Use {
    /// Its name
    #[arg(required_unless_present = "local")]
    name: Option<String>,
    /// The node of this machine instead, as before any login
    #[arg(long, conflicts_with = "name")]
    local: bool,
}

impl Use {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such login.
    pub fn run(self) -> Outcome {
        let mut contexts = Contexts::load()?;
        match (&self.name, self.local) {
            (_, true) => {
                contexts.current = None;
                contexts.save()?;
                output::say("the node of this machine is used from now on");
            }
            (Some(name), false) => {
                contexts.named(name)?;
                contexts.current = Some(name.clone());
                contexts.save()?;
                output::say(format_args!("{name} is used from now on"));
            }
            (None, false) => return Err(Failure::usage("name a login, or say --local")),
        }
        Ok(())
    }
}
