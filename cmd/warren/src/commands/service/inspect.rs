//! `warren service inspect`

use crate::client::{ClientArgs, StaleArgs, of_service, request};
use crate::commands::freeze;
use crate::failure::Outcome;
use crate::manifest::Manifest;
use crate::output::{self, Format, OutputArgs};
use crate::release;
use clap::Args;
use warren_wire::v1;

/// Show everything about a service
///
/// `--output yaml` prints the manifest that makes the same service: `warren apply -f` reads it.
#[derive(Args, Debug)]
pub struct Inspect {
    /// Name or id of the service
    name: String,
    /// One version of it, as in 3 or v3, in place of what it is now
    #[arg(long, value_name = "VERSION", value_parser = version)]
    version: Option<u32>,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Reads `3` or `v3`.
///
/// # Errors
/// What to write instead.
pub fn version(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix('v').unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a version: write 3 or v3"))
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service or version.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let mut seen = client.service(&self.name).await?;
        if let Some(version) = self.version {
            let asked = v1::GetServiceVersionRequest { service_id: self.name.clone(), version };
            let answer = client.services().get_service_version(request(asked)).await;
            let answer = answer.map_err(of_service)?;
            let revision = answer.into_inner().revision.unwrap_or_default();
            if self.output.output == Format::Json {
                return output::line(output::json(&revision)?);
            }
            let spec = seen.service.get_or_insert_default().spec.get_or_insert_default();
            spec.template = revision.template;
        }
        match self.output.output {
            Format::Json => output::line(output::json(&seen)?),
            Format::Yaml => {
                let spec = seen.service.unwrap_or_default().spec.unwrap_or_default();
                output::raw(output::yaml(&Manifest::from(&spec))?)
            }
            Format::Table => output::raw(table(&seen)?),
        }
    }
}

fn table(seen: &v1::GetServiceResponse) -> Outcome<String> {
    let service = seen.service.clone().unwrap_or_default();
    let spec = service.spec.clone().unwrap_or_default();
    let stable = match service.stable_revision {
        0 => "none yet".to_owned(),
        number => format!("v{number}"),
    };
    let split = service.split.iter();
    let split = split.map(|part| format!("v{} {}", part.revision, release::share(part.per_mille)));
    let split: Vec<String> = split.collect();
    let queued = service.rollout.as_ref().and_then(|rollout| rollout.queued.as_ref());
    let mut text = output::pairs(&[
        ("name", spec.name.clone()),
        ("id", service.id),
        ("status", service.status),
        ("tasks", format!("{} ready of {}", service.ready, service.desired)),
        ("version", format!("v{}, stable: {stable}", service.revision)),
        ("traffic", split.join(", ")),
        ("release", service.rollout.as_ref().map(release::brief).unwrap_or_default()),
        ("queued", queued.map(release::queued).unwrap_or_default()),
        ("frozen", service.freeze.as_ref().map(freeze::words).unwrap_or_default()),
        ("changed by", service.changed_by),
        ("created", output::moment(service.created_unix_ms)),
    ]);
    if !seen.waits.is_empty() {
        text.push_str("\nwaiting:\n");
        text.push_str(&crate::commands::why::lines(&seen.waits));
    }
    text.push_str("\nspec:\n");
    for line in output::yaml(&Manifest::from(&spec))?.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    if !seen.tasks.is_empty() {
        text.push('\n');
        text.push_str(&super::ps::table(&seen.tasks));
    }
    Ok(text)
}
