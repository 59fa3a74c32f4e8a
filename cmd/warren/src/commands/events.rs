//! `warren events`

use crate::client::{ClientArgs, of_service};
use crate::failure::Outcome;
use crate::output::{self, Format, OutputArgs};
use clap::Args;
use warren_wire::v1;

/// Show what happened
#[derive(Args, Debug)]
pub struct Events {
    /// Only of this service
    service: Option<String>,
    /// Go on with what happens from now on
    #[arg(long, short)]
    follow: bool,
    /// Only what came after this revision, as `--output json` shows it
    #[arg(long, value_name = "REVISION")]
    after: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Events {
    /// Runs it until there are no more, or Ctrl-C.
    ///
    /// # Errors
    /// No Warren answers, or the events after `--after` are no longer kept.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let asked = v1::WatchEventsRequest {
            after_revision: self.after,
            follow: self.follow,
            service_id: self.service.unwrap_or_default(),
        };
        let stream = client.events().watch_events(asked).await.map_err(of_service)?;
        let mut stream = stream.into_inner();
        while let Some(batch) = stream.message().await? {
            match self.output.output {
                Format::Table => output::raw(batch.events.iter().map(line).collect::<String>())?,
                // One object a line, so that a reader need not wait for an end that does not come.
                Format::Json => {
                    let text = serde_json::to_string(&batch).map_err(anyhow::Error::new)?;
                    output::line(text)?;
                }
                Format::Yaml => output::raw(format!("---\n{}", output::yaml(&batch)?))?,
            }
        }
        Ok(())
    }
}

fn line(event: &v1::Event) -> String {
    let at = output::moment(event.at_unix_ms);
    let subject = match (event.subject.as_str(), event.service.as_str()) {
        (subject, "") => format!("{subject} {}", event.subject_id),
        ("service", service) => format!("service {service}"),
        (subject, service) => format!("{subject} {service}/{}", event.subject_id),
    };
    format!("{at}  {subject:<24}  {:<10}  {}\n", event.action, event.text)
}
