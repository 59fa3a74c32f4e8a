//! `warren why`

use crate::client::{ClientArgs, StaleArgs, of_service, request};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, OutputArgs};
use crate::progress::has_ended;
use clap::Args;
use std::time::Duration;
use warren_wire::v1;

/// Say what something waits for
#[derive(Args, Debug)]
pub struct Why {
    /// Service, or one task as in web.3; everything where left out
    name: Option<String>,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Why {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service or task.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let name = self.name.as_deref().unwrap_or_default();
        let waits = match name.split_once('.') {
            Some((service, slot)) => of_slot(client.service(service).await?, slot)?,
            None => {
                let asked = v1::ExplainServiceRequest { service_id: name.to_owned() };
                let answer = client.services().explain_service(request(asked)).await;
                answer.map_err(of_service)?.into_inner().waits
            }
        };
        output::print(self.output.output, &waits, |waits| match (waits.as_slice(), name) {
            ([], "") => "nothing waits for anything\n".into(),
            ([], name) => format!("{name} waits for nothing\n"),
            (waits, _) => lines(waits),
        })
    }
}

/// What one slot of a service waits for. While it has no task, that is what the service as a whole waits for.
fn of_slot(seen: v1::GetServiceResponse, slot: &str) -> Outcome<Vec<v1::Wait>> {
    let service = seen.service.unwrap_or_default();
    let name = service.spec.unwrap_or_default().name;
    let subject = format!("{name}.{slot}");
    let number: u32 = slot.parse().unwrap_or(0);
    let has_task = seen.tasks.iter().any(|task| task.slot == number && !has_ended(task));
    let (own, others): (Vec<_>, Vec<_>) =
        seen.waits.into_iter().partition(|wait| wait.subject == subject);
    if has_task || !own.is_empty() {
        return Ok(own);
    }
    if (1..=service.desired).contains(&number) {
        return Ok(others.into_iter().filter(|wait| wait.subject == name).collect());
    }
    Err(Failure::new(Exit::NotFound, format!("service {name} has no task {slot}"))
        .hint(format!("`warren service ps {name}` shows those it has")))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(desired: u32, waits: &[&str]) -> v1::GetServiceResponse {
        let spec = v1::ServiceSpec { name: "web".into(), ..Default::default() };
        let wait = |subject: &&str| v1::Wait { subject: (*subject).into(), ..Default::default() };
        let task = |slot, phase: &str| v1::Task { slot, phase: phase.into(), ..Default::default() };
        v1::GetServiceResponse {
            service: Some(v1::Service { spec: Some(spec), desired, ..Default::default() }),
            tasks: vec![task(1, "running"), task(2, "failed")],
            waits: waits.iter().map(wait).collect(),
        }
    }

    #[test]
    fn a_slot_waits_for_its_own_or_with_its_service_or_is_not_there() {
        let of = |seen, slot| {
            let waits = of_slot(seen, slot).map_err(|failure| failure.exit)?;
            Ok::<_, u8>(waits.into_iter().map(|wait| wait.subject).collect::<Vec<_>>())
        };
        let waits = ["web", "web.1", "web.3"];
        assert_eq!(of(seen(2, &waits), "1").unwrap(), ["web.1"]);
        assert_eq!(of(seen(2, &[]), "1").unwrap(), [""; 0]);
        assert_eq!(of(seen(2, &waits), "2").unwrap(), ["web"], "it has no task now");
        assert_eq!(of(seen(2, &waits), "3").unwrap(), ["web.3"], "it is leaving");
        for none in ["0", "4", "x", ""] {
            assert_eq!(of(seen(2, &waits), none), Err(Exit::NotFound as u8), "{none}");
        }
    }
}
