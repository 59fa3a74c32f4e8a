//! `warren node label`

use crate::client::{ClientArgs, of_node, request};
use crate::failure::{Failure, Outcome};
use crate::flags::words;
use crate::output;
use clap::Args;
use std::collections::BTreeMap;
use warren_core::spec::LabelKey;
use warren_wire::v1;

/// Change the labels of a node
#[derive(Args, Debug)]
pub struct Label {
    /// Host name or id of the node
    name: String,
    /// KEY=VALUE sets a label, KEY- takes it away
    #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
    labels: Vec<String>,
}

impl Label {
    /// Runs it.
    ///
    /// # Errors
    /// A label cannot be, or there is no such node.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let mut set = BTreeMap::new();
        let mut remove = Vec::new();
        for word in &self.labels {
            let key = match word.strip_suffix('-').filter(|key| !key.contains('=')) {
                Some(key) => {
                    remove.push(key.to_owned());
                    key.to_owned()
                }
                None => {
                    let (key, value) = words::pair(word).map_err(Failure::usage)?;
                    set.insert(key.clone(), value);
                    key
                }
            };
            LabelKey::parse(&key).map_err(Failure::usage)?;
        }
        let client = client.connect().await?;
        let asked = v1::LabelNodeRequest { node_id: self.name.clone(), set, remove };
        let answer = client.nodes().label_node(request(asked)).await.map_err(of_node)?;
        let node = answer.into_inner().node.unwrap_or_default();
        let labels: Vec<String> =
            node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        output::say(format_args!("{}: {}", node.hostname, labels.join(", ")));
        Ok(())
    }
}
