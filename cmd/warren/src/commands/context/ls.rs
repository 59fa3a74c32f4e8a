//! `warren context ls`

use crate::client::contexts::Contexts;
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use serde::Serialize;

/// List the logins of this user
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    current: bool,
    managers: Vec<String>,
}

impl Ls {
    /// Runs it.
    ///
    /// # Errors
    /// The logins cannot be read.
    pub fn run(self) -> Outcome {
        let Contexts { current, contexts } = Contexts::load()?;
        let shown: Vec<Shown> = contexts
            .into_iter()
            .map(|(name, context)| Shown {
                current: current.as_ref() == Some(&name),
                name,
                managers: context.managers,
            })
            .collect();
        output::print(self.output.output, &shown, |shown| {
            let rows = shown.iter().map(|one| {
                let mark = if one.current { "*" } else { "" };
                vec![mark.to_owned(), one.name.clone(), one.managers.join(", ")]
            });
            output::table(&["", "NAME", "MANAGERS"], rows)
        })
    }
}
