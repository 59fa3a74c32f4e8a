//! `warren rollout plan`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use crate::flags::ChangeFlags;
use crate::output::{self, OutputArgs};
use crate::release::span;
use clap::Args;
use warren_wire::v1;

/// Say what an update would do, and change nothing
///
/// Takes the flags of `warren service update`.
///
/// Example: `warren rollout plan web --image web:v2 --strategy canary`
#[derive(Args, Debug)]
pub struct Plan {
    /// Name or id of the service
    name: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    change: ChangeFlags,
}

impl Plan {
    /// Runs it.
    ///
    /// # Errors
    /// A flag is wrong, there is no such service, or the update would be refused.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let service = client.service(&self.name).await?.service.unwrap_or_default();
        let update = Some(self.change.request(&service)?);
        let asked = v1::PlanUpdateRequest { update };
        let answer = client.services().plan_update(request(asked)).await.map_err(of_service)?;
        output::print(self.output.output, &answer.into_inner(), page)
    }
}

fn page(plan: &v1::PlanUpdateResponse) -> String {
    if !plan.changes {
        return "no release would begin: no task would run anything else\n".to_owned()
            + &notes(plan);
    }
    let from = format!("v{}", plan.from_revision);
    let to = match plan.to_revision {
        0 => "a new version".to_owned(),
        number => format!("v{number}"),
    };
    let mut text = output::pairs(&[
        ("way", if plan.from_revision == 0 { to } else { format!("{from} -> {to}") }),
        ("strategy", plan.strategy.clone()),
        ("tasks", format!("{} wanted, {} at the most", plan.replicas, plan.tasks_max)),
        ("takes", format!("{} at least", span(plan.at_least_ms))),
    ]);
    text.push_str("\nsteps:\n");
    for (i, step) in plan.steps.iter().enumerate() {
        let least = match step.at_least_ms {
            0 => String::new(),
            ms => format!(" ({} at least)", span(ms)),
        };
        text.push_str(&format!("  {}. {}{least}\n", i + 1, step.text));
    }
    text.push_str(&triggers(&plan.triggers));
    text + &notes(plan)
}

/// What would set a rollback off.
pub fn triggers(triggers: &[String]) -> String {
    list("rolls back if", triggers)
}

fn notes(plan: &v1::PlanUpdateResponse) -> String {
    list("note", &plan.notes)
}

fn list(name: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| format!("  - {line}\n")).collect();
    format!("\n{name}:\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_happens_how_long_it_takes_and_what_turns_it_back() {
        let step = |text: &str, at_least_ms| v1::PlannedStep { text: text.into(), at_least_ms };
        let plan = v1::PlanUpdateResponse {
            changes: true,
            steps: vec![step("10% of the traffic", 310_000), step("stop v1", 0)],
            tasks_max: 6,
            replicas: 3,
            at_least_ms: 310_000,
            triggers: vec!["a task of v2 fails".into()],
            notes: vec!["releases are frozen".into()],
            strategy: "canary".into(),
            from_revision: 1,
            to_revision: 2,
        };
        assert_eq!(
            page(&plan),
            "\
way:      v1 -> v2
strategy: canary
tasks:    3 wanted, 6 at the most
takes:    5m 10s at least

steps:
  1. 10% of the traffic (5m 10s at least)
  2. stop v1

rolls back if:
  - a task of v2 fails

note:
  - releases are frozen
"
        );
        let same = v1::PlanUpdateResponse::default();
        assert!(page(&same).starts_with("no release would begin"));
    }
}
