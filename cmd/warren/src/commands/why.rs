//! `warren why`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use std::time::Duration;
use warren_wire::v1;

/// Say what something waits for
#[derive(Args, Debug)]
pub struct Why {
    /// Service, or one task as in web.3; everything where left out
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Why {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let name = self.name.as_deref().unwrap_or_default();
        let (service, task) = match name.split_once('.') {
            Some((service, _)) => (service, Some(name)),
            None => (name, None),
        };
        let asked = v1::ExplainServiceRequest { service_id: service.to_owned() };
        let answer = client.services().explain_service(request(asked)).await.map_err(of_service)?;
        let mut waits = answer.into_inner().waits;
        if let Some(task) = task {
            waits.retain(|wait| wait.subject == task);
        }
        output::print(self.output.output, &waits, |waits| match (waits.as_slice(), name) {
            ([], "") => "nothing waits for anything\n".into(),
            ([], name) => format!("{name} waits for nothing\n"),
            (waits, _) => lines(waits),
        })
    }
}

/// One line for each wait.
pub fn lines(waits: &[v1::Wait]) -> String {
    waits
        .iter()
        .map(|wait| format!("  {}: {}{}\n", wait.subject, wait.reason, times(wait)))
        .collect()
}

fn times(wait: &v1::Wait) -> String {
    let time = |ms| output::duration(Duration::from_millis(ms));
    match (wait.waited_ms, wait.due_ms) {
        (0, None) => String::new(),
        (0, Some(due)) => format!(" (goes on in {})", time(due)),
        (waited, None) => format!(" (for {})", time(waited)),
        (waited, Some(due)) => format!(" (for {}, goes on in {})", time(waited), time(due)),
    }
}
