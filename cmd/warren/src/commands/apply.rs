//! `warren apply`

use crate::client::{Client, ClientArgs, request};
use crate::commands::service::update::{self, Written};
use crate::failure::{Failure, Outcome};
use crate::manifest;
use crate::output;
use crate::progress::WaitArgs;
use crate::release;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use warren_wire::v1;

/// Make services be as a file says
///
/// The file is YAML with one service in each document. All of it is checked before anything is changed. Services that
/// the file does not name stay as they are.
#[derive(Args, Debug)]
pub struct Apply {
    /// File to read; `-` for standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Accept images even where no node can resolve them now
    #[arg(long)]
    skip_resolve: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Apply {
    /// Runs it.
    ///
    /// # Errors
    /// The file is wrong (nothing was changed), or a service was refused (it is named, and so are those before it).
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let (source, specs) = manifest::load(&self.file)?;
        let client = client.connect().await?;
        let there = existing(&client).await?;
        let mut changed: Vec<(String, u64, v1::UpdateServiceResponse)> = Vec::new();
        for spec in specs {
            let name = spec.name.clone();
            let written = match there.get(&name) {
                None => self.create(&client, spec).await,
                Some(service) => self.update(&client, service, spec).await,
            };
            let (word, answer) = written.map_err(|failure| Failure {
                message: format!("{source}: service {name}: {}", failure.message),
                ..failure
            })?;
            output::line(format_args!("{name} {word}"))?;
            if answer.changed {
                let before = there.get(&name).and_then(|service| service.rollout.as_ref());
                changed.push((name, before.map_or(0, release::number), answer));
            }
        }
        for (name, before, answer) in changed {
            Written { name: &name, before, answer }.wait(&client, &self.wait).await?;
        }
        Ok(())
    }

    async fn create(&self, client: &Client, spec: v1::ServiceSpec) -> Outcome<Answer> {
        let asked = v1::CreateServiceRequest { spec: Some(spec), skip_resolve: self.skip_resolve };
        let made = client.services().create_service(request(asked)).await;
        let made = made.map_err(Failure::in_manifest)?.into_inner();
        // A first release has nothing to go back to: it is waited for as tasks are.
        let service = made.service.map(|made| v1::Service { rollout: None, ..made });
        let answer = v1::UpdateServiceResponse { service, changed: true, ..Default::default() };
        Ok(("created", answer))
    }

    async fn update(
        &self,
        client: &Client,
        there: &v1::Service,
        spec: v1::ServiceSpec,
    ) -> Outcome<Answer> {
        let asked = v1::UpdateServiceRequest {
            service_id: there.id.clone(),
            spec: Some(spec),
            expect_generation: there.generation,
            reason: self.reason.clone().unwrap_or_default(),
            skip_resolve: self.skip_resolve,
            ..Default::default()
        };
        let name = there.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default();
        let notes = update::foresee(client, &name, &asked).await;
        let answer = client.services().update_service(request(asked)).await;
        let answer = answer.map_err(Failure::in_manifest)?.into_inner();
        if answer.changed {
            notes.iter().for_each(output::say);
        }
        let word = match (answer.changed, answer.queued) {
            (false, _) => "unchanged",
            (true, false) => "updated",
            (true, true) => "queued",
        };
        Ok((word, answer))
    }
}

/// What was done, in a word and in the cluster's words.
type Answer = (&'static str, v1::UpdateServiceResponse);

async fn existing(client: &Client) -> Outcome<BTreeMap<String, v1::Service>> {
    let list = client.services().list_services(request(v1::ListServicesRequest {})).await?;
    let services = list.into_inner().services.into_iter();
    Ok(services.map(|s| (s.spec.as_ref().map(|s| s.name.clone()).unwrap_or_default(), s)).collect())
}
