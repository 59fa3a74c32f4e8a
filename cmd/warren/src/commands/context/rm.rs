//! `warren context rm`

use crate::client::contexts::Contexts;
use crate::failure::Outcome;
use crate::output;
use clap::Args;

/// Forget a login
///
/// Its token stays good until it expires: `warren token rm` on a manager ends it.
#[derive(Args, Debug)]
pub struct Rm {
    /// Its name
    name: String,
}

impl Rm {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such login.
    pub fn run(self) -> Outcome {
        let mut contexts = Contexts::load()?;
        contexts.named(&self.name)?;
        contexts.contexts.remove(&self.name);
        if contexts.current.as_ref() == Some(&self.name) {
            contexts.current = None;
        }
        contexts.save()?;
        output::say(format_args!("{} is forgotten here", self.name));
        Ok(())
    }
}
