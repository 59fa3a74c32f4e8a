//! `warren config show`

use crate::client::ClientArgs;
use crate::config::{KEYS, NodeConfig, NodeFlags, settings};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use serde::Serialize;

/// Show the values that `warren up` would start with, and where each comes from
#[derive(Args, Debug)]
pub struct Show {
    #[command(flatten)]
    node: NodeFlags,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Shown {
    key: &'static str,
    value: String,
    from: String,
}

impl Show {
    /// Runs it.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn run(self, client: &ClientArgs) -> Outcome {
        let settings = settings(&self.node, client, |name| std::env::var(name).ok())?;
        NodeConfig::from_settings(&settings)?;
        let known = KEYS.iter().filter_map(|key| settings.get(key.name).map(|set| (key, set)));
        let shown: Vec<Shown> = known
            .map(|(key, setting)| Shown {
                key: key.name,
                value: match key.name {
                    "token" if !setting.value.is_empty() => "(not shown)".to_owned(),
                    _ => setting.value.clone(),
                },
                from: setting.source.to_string(),
            })
            .collect();
        output::print(self.output.output, &shown, |shown| {
            let rows = shown
                .iter()
                .map(|one| vec![one.key.to_owned(), format!("{:?}", one.value), one.from.clone()]);
            output::table(&["KEY", "VALUE", "FROM"], rows)
        })
    }
}
