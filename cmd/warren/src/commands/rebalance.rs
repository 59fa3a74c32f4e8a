//! `warren rebalance`

use crate::client::{ClientArgs, of_service, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_core::units::counted;
use warren_wire::v1;

/// Move tasks to where they would be placed now
///
/// After a failover all tasks may be on the nodes that were left. Nothing is moved by itself when others come back;
/// this does it, within the update limits of each service, as in a drain.
#[derive(Args, Debug)]
pub struct Rebalance {
    /// Only this service; all where left out
    service: Option<String>,
    /// Only say what would move, from where to where, and why
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Rebalance {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let service_id = self.service.clone().unwrap_or_default();
        let mut services = client.services();
        let plan = if self.plan {
            services.plan_rebalance(request(v1::PlanRebalanceRequest { service_id })).await
        } else {
            services.rebalance(request(v1::RebalanceRequest { service_id })).await
        };
        let plan = plan.map_err(of_service)?.into_inner();
        output::print(self.output.output, &plan, table)?;
        for left in &plan.left {
            output::say(format_args!("{} is left as it is: {}", left.service, left.why));
        }
        output::say(summary(&plan, self.plan));
        Ok(())
    }
}

fn table(plan: &v1::RebalancePlan) -> String {
    if plan.moves.is_empty() {
        return String::new();
    }
    let rows = plan.moves.iter().map(|one| {
        let why = one.why.clone();
        vec![one.task.clone(), one.task_id.clone(), one.from_node.clone(), one.to_node.clone(), why]
    });
    output::table(&["TASK", "ID", "FROM", "TO", "WHY"], rows)
}

fn summary(plan: &v1::RebalancePlan, only_said: bool) -> String {
    let count = u32::try_from(plan.moves.len()).unwrap_or(u32::MAX);
    match (count, only_said) {
        (0, _) => "no task is better elsewhere".to_owned(),
        (_, true) => format!("{} would move; without --plan they do", counted(count, "task")),
        (_, false) => {
            let tasks = counted(count, "task");
            format!("{tasks} to move, within the limits of their services: see `warren status`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_is_said_with_its_reason() {
        let one = v1::TaskMove {
            task_id: "t7".into(),
            task: "web.2".into(),
            from_node: "a".into(),
            to_node: "b".into(),
            why: "3 of the service there, 0 here".into(),
        };
        let plan = v1::RebalancePlan { moves: vec![one], left: Vec::new() };
        let shown = table(&plan);
        assert!(shown.contains("web.2  t7  a     b   3 of the service there, 0 here"), "{shown}");
        assert_eq!(summary(&plan, true), "1 task would move; without --plan they do");
        let none = v1::RebalancePlan::default();
        assert_eq!(
            (table(&none).as_str(), summary(&none, false).as_str()),
            ("", "no task is better elsewhere")
        );
    }
}
