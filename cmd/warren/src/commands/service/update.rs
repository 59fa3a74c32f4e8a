//! `warren service update`

use crate::client::{Client, ClientArgs, request};
use crate::failure::{Failure, Outcome};
use crate::flags::ChangeFlags;
use crate::output;
use crate::progress::{self, Goal, WaitArgs};
use crate::release::{self, Aim, Show};
use clap::Args;
use warren_wire::v1;

/// Change a service and wait until the change is in
///
/// Only what is given changes, all else stays as it is. Values that repeat (--env, --port, --mount, --label,
/// --constraint, --hook) are added to what is there, or replace what has the same name.
///
/// A change of what tasks run is a release. It ends with 0 where the release completed, 6 where it was rolled back, 7
/// where it was superseded or cancelled, 1 where it failed, 4 where --wait-timeout or Ctrl-C came first: then it goes
/// on, and `warren rollout watch` shows it.
///
/// Example: `warren service update web --image web:v2 --strategy canary --canary-steps 5,10,50,100 --canary-window 5m`
#[derive(Args, Debug)]
pub struct Update {
    /// Name or id of the service
    name: String,
    #[command(flatten)]
    change: ChangeFlags,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Update {
    /// Runs it.
    ///
    /// # Errors
    /// A flag is wrong, the cluster refused, somebody else changed the service in between, the release did not
    /// complete, or waiting ended first.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let service = client.service(&self.name).await?.service.unwrap_or_default();
        let name = service.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default();
        let asked = self.change.request(&service)?;
        let notes = foresee(&client, &name, &asked).await;
        let answer = client.services().update_service(request(asked)).await.map_err(Failure::from);
        let answer = answer?.into_inner();
        if !answer.changed {
            output::say(format_args!("{name}: nothing differs from before"));
            return Ok(());
        }
        notes.iter().for_each(output::say);
        let before = service.rollout.as_ref().map_or(0, release::number);
        let written = Written { name: &name, before, answer };
        written.wait(&client, &self.wait).await
    }
}

/// What would set a rollback off, what stands against the release, and that there will be downtime: to be said once the
/// update is accepted. What cannot be found out is left out: the update itself says what is wrong.
pub async fn foresee(client: &Client, name: &str, asked: &v1::UpdateServiceRequest) -> Vec<String> {
    let planned = v1::PlanUpdateRequest { update: Some(asked.clone()) };
    match client.services().plan_update(request(planned)).await {
        Ok(plan) => warnings(name, &plan.into_inner()),
        Err(_) => Vec::new(),
    }
}

fn warnings(name: &str, plan: &v1::PlanUpdateResponse) -> Vec<String> {
    if !plan.changes {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if plan.strategy == "recreate" && plan.from_revision != 0 {
        lines.push(format!(
            "warning: {name} is down while recreate stops every old task before it starts a new one"
        ));
    }
    if !plan.triggers.is_empty() {
        lines.push(format!("{name}: rolls back if {}", plan.triggers.join("; or ")));
    }
    lines.extend(plan.notes.iter().map(|note| format!("{name}: note: {note}")));
    lines
}

/// An update that has been written, to be waited for.
pub struct Written<'a> {
    /// The service's name.
    pub name: &'a str,
    /// The number of the release that was under way before, 0 for none.
    pub before: u64,
    /// What the cluster said.
    pub answer: v1::UpdateServiceResponse,
}

impl Written<'_> {
    /// Follows the release that it began, or waits for the tasks where it began none.
    ///
    /// # Errors
    /// The release did not complete, or waiting ended first.
    pub async fn wait(self, client: &Client, wait: &WaitArgs) -> Outcome {
        let service = self.answer.service.clone().unwrap_or_default();
        match self.aim() {
            Some(aim) => {
                if let Aim::Queued(_) = aim {
                    let (name, id) = (self.name, &self.answer.release_id);
                    output::say(format_args!(
                        "{name}: the update waits as {id} for the end of the release under way; \
                         `warren rollout status {name}` shows it"
                    ));
                }
                release::follow(client, self.name, aim, Show::Talk, wait).await
            }
            None => {
                let goal = Goal::Settled { generation: service.generation };
                progress::wait(client, self.name, goal, wait).await
            }
        }
    }

    /// The release to follow; none where nothing that tasks run has changed.
    fn aim(&self) -> Option<Aim> {
        if self.answer.queued {
            return Some(Aim::Queued(release::number_of(&self.answer.release_id)));
        }
        let rollout = self.answer.service.as_ref()?.rollout.as_ref()?;
        let aim = Aim::of(rollout);
        let is_new = release::number(rollout) != self.before;
        (is_new || matches!(aim, Aim::Back(_))).then_some(aim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: &str, phase: &str, queued: bool) -> v1::UpdateServiceResponse {
        let rollout = v1::Rollout { id: id.into(), phase: phase.into(), ..v1::Rollout::default() };
        let rollout = (!id.is_empty()).then_some(rollout);
        let service = Some(v1::Service { rollout, ..Default::default() });
        let release_id = if queued { "r9".to_owned() } else { String::new() };
        v1::UpdateServiceResponse { service, changed: true, queued, release_id }
    }

    #[test]
    fn an_update_waits_for_the_release_that_it_began() {
        let aim = |before, answer| Written { name: "web", before, answer }.aim();
        assert_eq!(aim(0, answer("r7", "updating", false)), Some(Aim::Forward(7)));
        assert_eq!(aim(7, answer("r9", "preparing", false)), Some(Aim::Forward(9)));
        assert_eq!(aim(7, answer("r7", "holding", true)), Some(Aim::Queued(9)));
        assert_eq!(aim(7, answer("r7", "holding", false)), None, "only a number has changed");
        assert_eq!(aim(7, answer("r7", "rolling-back", false)), Some(Aim::Back(7)), "taken back");
        assert_eq!(aim(0, answer("", "", false)), None);
    }

    #[test]
    fn an_update_says_what_rolls_it_back_and_that_recreate_means_downtime() {
        let plan = v1::PlanUpdateResponse {
            changes: true,
            strategy: "recreate".into(),
            from_revision: 1,
            triggers: vec!["a new task fails".into(), "nothing moves for 10m".into()],
            notes: vec!["releases are frozen".into()],
            ..Default::default()
        };
        let lines = warnings("web", &plan);
        assert!(lines[0].starts_with("warning: web is down"), "{lines:?}");
        assert_eq!(lines[1], "web: rolls back if a new task fails; or nothing moves for 10m");
        assert_eq!(lines[2], "web: note: releases are frozen");
        let rolling = v1::PlanUpdateResponse { strategy: "rolling".into(), ..plan.clone() };
        assert_eq!(warnings("web", &rolling).len(), 2);
        let same = v1::PlanUpdateResponse { changes: false, ..plan };
        assert!(warnings("web", &same).is_empty());
    }
}
