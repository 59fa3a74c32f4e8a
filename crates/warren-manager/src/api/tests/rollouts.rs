//! Releases: what is shown of them, and what is refused with which words.

use super::*;
use v1::DeploymentStrategy::{BlueGreen, Canary};
use warren_core::rollout::Phase as Step;
use warren_core::service::Actor;
use warren_core::units::Weight;

fn update(service: &str, image: &str) -> v1::UpdateServiceRequest {
    let (service_id, image) = (service.to_owned(), image.to_owned());
    v1::UpdateServiceRequest { service_id, image, skip_resolve: true, ..Default::default() }
}

fn canary(service: &str, image: &str, config: v1::UpdateConfig) -> v1::UpdateServiceRequest {
    let strategy = Some(Canary.into());
    v1::UpdateServiceRequest { strategy, update_config: Some(config), ..update(service, image) }
}

fn get(service: &str) -> v1::GetRolloutRequest {
    v1::GetRolloutRequest { service_id: service.to_owned() }
}

fn back(service: &str) -> v1::RollbackServiceRequest {
    v1::RollbackServiceRequest { service_id: service.to_owned(), ..Default::default() }
}

fn promote(service: &str) -> v1::PromoteRolloutRequest {
    v1::PromoteRolloutRequest { service_id: service.to_owned(), ..Default::default() }
}

fn pause(service: &str, reason: &str) -> v1::PauseRolloutRequest {
    v1::PauseRolloutRequest { service_id: service.to_owned(), reason: reason.to_owned() }
}

impl Cluster {
    /// A service whose first revision is stable.
    async fn stable(&self, name: &str) -> v1::Service {
        let service = self.service(name).await;
        self.accepted(&service).await;
        service
    }

    async fn update(&self, request: v1::UpdateServiceRequest) -> v1::UpdateServiceResponse {
        self.services().update_service(request).await.unwrap().into_inner()
    }

    async fn refused(&self, request: v1::UpdateServiceRequest) -> ApiError {
        refusal(self.services().update_service(request).await)
    }

    async fn rollout(&self, service: &str) -> v1::Rollout {
        let answer = self.rollouts().get_rollout(get(service)).await.unwrap();
        answer.into_inner().rollout.unwrap()
    }

    /// A canary of `web` to `web:v2` that holds its first step.
    async fn holding(&self, config: v1::UpdateConfig) -> v1::Service {
        let service = self.stable("web").await;
        self.update(canary("web", "web:v2", config)).await;
        let weight = Weight::from_per_mille(100).unwrap();
        self.moved(&service, Move::Step(0)).await;
        self.moved(&service, Move::Shift { weight, next: Step::Shifting }).await;
        self.moved(&service, Move::Enter(Step::Holding)).await;
        service
    }
}

// req: B8 B15
#[tokio::test]
async fn a_release_is_shown_while_it_runs_and_afterwards() {
    let cluster = Cluster::start().await;
    let service = Box::pin(cluster.holding(v1::UpdateConfig::default())).await;
    let live = cluster.rollout("web").await;
    assert_eq!((live.strategy.as_str(), live.phase.as_str()), ("canary", "holding"));
    assert_eq!((live.from_revision, live.to_revision), (1, 2));
    assert_eq!((live.step, live.steps, live.weight_per_mille), (1, 4, 100));
    assert_eq!((live.from_image.as_str(), live.to_image.as_str()), ("web:v1", "web:v2"));
    assert_eq!((live.hold_ms, live.progress_percent), (300_000, 10));
    let shares: Vec<_> = live.tasks.iter().map(|of| (of.revision, of.per_mille)).collect();
    assert_eq!(shares, [(1, Some(900)), (2, Some(100))]);
    let actions: Vec<_> = live.timeline.iter().map(|moment| moment.action.as_str()).collect();
    assert_eq!(actions, ["started", "scaling", "shifted", "shifting", "holding"]);

    let request = v1::GetServiceRequest { service_id: "web".into() };
    let shown = cluster.services().get_service(request).await.unwrap().into_inner();
    let shown = shown.service.unwrap();
    assert_eq!(shown.rollout.unwrap().id, live.id);

    let request = v1::RollbackServiceRequest { reason: "errors".into(), ..back("web") };
    let answer = cluster.rollouts().rollback_service(request).await.unwrap().into_inner();
    let turned = answer.rollout.unwrap();
    assert_eq!((turned.phase.as_str(), turned.trigger.as_str()), ("rolling-back", "manual"));
    cluster.moved(&service, Move::Finish).await;
    let list = v1::ListRolloutsRequest { service_id: "web".into() };
    let list = cluster.rollouts().list_rollouts(list).await.unwrap().into_inner().rollouts;
    let ends: Vec<_> = list.iter().map(|one| (one.kind.as_str(), one.outcome.as_str())).collect();
    assert_eq!(ends, [("update", "rolled-back"), ("deploy", "completed")]);
    assert_eq!((list[0].reason.as_str(), list[0].to_revision), ("errors", 2));
    assert!(list[0].ended_unix_ms >= list[0].started_unix_ms && list[0].ended_unix_ms > 0);
    assert_eq!(cluster.rollout("web").await.id, list[0].id, "the last one");
    cluster.stop().await;
}

#[tokio::test]
async fn a_watch_shows_a_release_step_by_step_and_then_the_next() {
    let cluster = Cluster::start().await;
    let service = cluster.stable("web").await;
    let watch = v1::WatchRolloutRequest { service_id: "web".into() };
    let mut pictures = cluster.rollouts().watch_rollout(watch).await.unwrap().into_inner();
    let mut seen = async || next(&mut pictures).await.unwrap().unwrap().rollout.unwrap();
    assert_eq!(seen().await.outcome, "completed");
    cluster.update(canary("web", "web:v2", v1::UpdateConfig::default())).await;
    assert_eq!(seen().await.phase, "preparing");
    cluster.moved(&service, Move::Step(0)).await;
    let scaling = seen().await;
    assert_eq!((scaling.phase.as_str(), scaling.step), ("scaling", 1));
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_not_possible_now_is_refused_with_what_is() {
    let cluster = Cluster::start().await;
    let service = cluster.service("web").await;
    let mut rollouts = cluster.rollouts();
    let error = refusal(rollouts.rollback_service(back("web")).await);
    assert_eq!(error.code, Code::FailedPrecondition);
    assert_eq!(error.message, "nothing to roll back to: v1 is the first revision");
    cluster.accepted(&service).await;
    let error = refusal(rollouts.rollback_service(back("web")).await);
    assert_eq!(error.message, "nothing to roll back to: v1 is the first revision");
    let gone = v1::RollbackServiceRequest { to_revision: 7, ..back("web") };
    let error = refusal(rollouts.rollback_service(gone).await);
    let message = "nothing to roll back to: service web has no v7, or no longer: kept are v1";
    assert_eq!(error.message, message);
    let both = v1::RollbackServiceRequest { now: true, gradual: true, ..back("web") };
    let error = refusal(rollouts.rollback_service(both).await);
    assert_eq!(error.to_string(), "gradual: says the opposite of now: give one of them");

    let error = refusal(rollouts.promote_rollout(promote("web")).await);
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("to v1, is completed): begin one with"), "{error}");
    let far = v1::PromoteRolloutRequest { to_percent: Some(101), ..promote("web") };
    let error = refusal(rollouts.promote_rollout(far).await);
    assert_eq!(error.to_string(), "to_percent: 101 is not a percentage: write 1 to 100");
    let both = v1::PromoteRolloutRequest { to_percent: Some(50), full: true, ..promote("web") };
    let error = refusal(rollouts.promote_rollout(both).await);
    assert_eq!(error.field.as_deref(), Some("full"));
    let error = refusal(rollouts.pause_rollout(pause("wbe", "")).await);
    assert_eq!(error.code, Code::NotFound);
    let error = refusal(rollouts.pause_rollout(pause("web", &"x".repeat(2000))).await);
    assert_eq!(error.field.as_deref(), Some("reason"));
    cluster.stop().await;
}

// req: B10 D17 D28 D29
#[tokio::test]
async fn a_canary_is_paused_resumed_promoted_and_tried_again() {
    let cluster = Cluster::start().await;
    let config = v1::UpdateConfig {
        canary_steps: vec![10, 50, 100],
        stability_window_seconds: Some(60),
        ..Default::default()
    };
    let service = Box::pin(cluster.holding(config)).await;
    let mut rollouts = cluster.rollouts();
    let paused = rollouts.pause_rollout(pause("web", "lunch")).await.unwrap().into_inner();
    let pauses = paused.rollout.unwrap().pauses;
    assert!(pauses[0].starts_with("by ") && pauses[0].ends_with(": lunch"), "{pauses:?}");
    let resume = v1::ResumeRolloutRequest { service_id: "web".into() };
    let resumed = rollouts.resume_rollout(resume.clone()).await.unwrap().into_inner();
    assert!(resumed.rollout.unwrap().pauses.is_empty());
    let error = refusal(rollouts.resume_rollout(resume).await);
    assert!(error.message.contains("is holding: it is not paused: see what it waits"), "{error}");
    let to = |percent| v1::PromoteRolloutRequest { to_percent: Some(percent), ..promote("web") };
    let there = rollouts.promote_rollout(to(50)).await.unwrap().into_inner().rollout.unwrap();
    assert_eq!((there.step, there.phase.as_str()), (2, "scaling"));
    assert_eq!((there.plan.len(), there.plan[0].hold_ms), (3, 60_000));
    let error = refusal(rollouts.promote_rollout(to(20)).await);
    assert!(error.message.contains("it is on its way to 50%"), "{error}");
    assert!(error.message.contains("name a larger share, or go back"), "{error}");
    let retry = v1::RetryRolloutRequest { service_id: "web".into() };
    let again = rollouts.retry_rollout(retry).await.unwrap().into_inner().rollout.unwrap();
    assert_eq!(again.attempt, 2);
    cluster.moved(&service, Move::Accept).await;
    let error = refusal(rollouts.promote_rollout(promote("web")).await);
    assert!(error.message.contains("it is done: only old tasks are left to stop"), "{error}");
    cluster.stop().await;
}

#[tokio::test]
async fn an_approval_needs_the_role_that_the_rule_names() {
    let mut cluster = Cluster::start().await;
    let service = cluster.stable("web").await;
    let rule = v1::ApprovalRule { roles: vec!["release-captain".into()], min: 1 };
    let config = v1::UpdateConfig { approve: Some(rule), ..Default::default() };
    cluster.update(canary("web", "web:v2", config)).await;
    let wanted = cluster.rollout("web").await.approval_wanted;
    assert_eq!(wanted, "the start needs 1 approval by release-captain, and has 0");
    let mut elsewhere = cluster.outside().await;
    let approve =
        v1::ApproveRolloutRequest { service_id: "web".into(), comment: "go".into(), step: Some(0) };
    let error = refusal(elsewhere.approve_rollout(approve.clone()).await);
    assert_eq!(error.code, Code::PermissionDenied);
    let message = "127.0.0.1 cannot approve this step: it asks for release-captain";
    assert_eq!(error.message, message);
    assert!(error.hint.unwrap().contains("warren token ls"));

    let outcome = cluster.rollouts().approve_rollout(approve.clone()).await;
    if services::is_root() {
        let approved = outcome.unwrap().into_inner().rollout.unwrap();
        assert_eq!(approved.approvals, ["root as release-captain approved the start: go"]);
        assert_eq!(approved.approval_wanted, "");
        let error = refusal(cluster.rollouts().approve_rollout(approve).await);
        assert!(error.message.contains("nothing in it waits for an approval"), "{error}");
    } else {
        assert_eq!(refusal(outcome).code, Code::PermissionDenied);
    }
    cluster.moved(&service, Move::Step(0)).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_freeze_holds_what_begins_until_it_ends_or_is_overridden() {
    let cluster = Cluster::start().await;
    cluster.stable("web").await;
    cluster.stable("api").await;
    let mut rollouts = cluster.rollouts();
    let freeze = |service: &str, frozen, reason: &str| v1::SetFreezeRequest {
        service_id: service.into(),
        frozen,
        reason: reason.into(),
    };
    let error = refusal(rollouts.set_freeze(freeze("", true, " ")).await);
    assert_eq!(error.field.as_deref(), Some("reason"));
    assert!(error.message.contains("say why"), "{error}");
    rollouts.set_freeze(freeze("", true, "holidays")).await.unwrap();
    rollouts.set_freeze(freeze("api", true, "audit")).await.unwrap();
    let list = rollouts.list_freezes(v1::ListFreezesRequest {}).await.unwrap().into_inner();
    let list: Vec<_> =
        list.freezes.iter().map(|one| (one.service.as_str(), one.reason.as_str())).collect();
    assert_eq!(list, [("", "holidays"), ("api", "audit")]);

    let held = cluster.update(canary("web", "web:v2", v1::UpdateConfig::default())).await;
    let held = held.service.unwrap();
    assert_eq!(held.rollout.unwrap().phase, "queued");
    assert_eq!(held.freeze.unwrap().reason, "holidays");
    let urgent = v1::UpdateServiceRequest {
        override_freeze: "security".into(),
        ..canary("api", "api:v2", v1::UpdateConfig::default())
    };
    let urgent = cluster.update(urgent).await.service.unwrap();
    assert_eq!(urgent.rollout.unwrap().phase, "preparing");
    let error = refusal(rollouts.promote_rollout(promote("web")).await);
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("holidays. Wait for its end (`warren freeze off`)"), "{error}");
    let error = refusal(rollouts.set_freeze(freeze("api", true, "mine")).await);
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("frozen already by"), "{error}");
    assert!(
        error.message.contains("audit. End that with `warren freeze off api` first"),
        "{error}"
    );
    let over = rollouts.set_freeze(freeze("", false, "")).await.unwrap().into_inner();
    assert_eq!(over.replaced.unwrap().reason, "holidays");
    let error = refusal(rollouts.set_freeze(freeze("", false, "")).await);
    assert_eq!(error.code, Code::NotFound);
    let list = rollouts.list_freezes(v1::ListFreezesRequest {}).await.unwrap().into_inner();
    assert_eq!(list.freezes.len(), 1);
    cluster.stop().await;
}

#[tokio::test]
async fn an_update_during_a_release_replaces_waits_or_is_refused() {
    let cluster = Cluster::start().await;
    Box::pin(cluster.holding(v1::UpdateConfig::default())).await;
    let on = |word: &str, image| {
        let config = v1::UpdateConfig { on_update: Some(word.into()), ..Default::default() };
        v1::UpdateServiceRequest { update_config: Some(config), ..update("web", image) }
    };
    let error = cluster.refused(on("reject", "web:v3")).await;
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("wait for its end, or take it back"), "{error}");
    let queued = cluster.update(on("queue", "web:v3")).await;
    assert!(queued.queued && queued.service.unwrap().queued);
    let live = cluster.rollout("web").await;
    assert_eq!(live.to_revision, 2);
    let waits = live.queued.unwrap();
    assert_eq!((waits.id.as_str(), waits.image.as_str()), (queued.release_id.as_str(), "web:v3"));
    let replaced = cluster.update(on("replace", "web:v4")).await;
    assert!(!replaced.queued && !replaced.service.unwrap().queued);
    assert_eq!(cluster.rollout("web").await.to_revision, 3);
    let reverted = cluster.update(update("web", "web:v1")).await.service.unwrap();
    assert_eq!(reverted.revision, 1);
    let last = cluster.rollout("web").await;
    // What v2 left behind has to go before it is over.
    assert_eq!((last.trigger.as_str(), last.phase.as_str()), ("reverted", "rolling-back"));
    let same = cluster.update(update("web", "web:v1")).await;
    assert!(!same.changed, "equal to the stable revision");
    cluster.update(on("queue", "web:v5")).await;
    let back = cluster.rollouts().rollback_service(back("web")).await.unwrap().into_inner();
    assert!(!back.dropped.is_empty(), "whose update waited is told");
    assert_eq!(back.rollout.unwrap().queued, None);
    cluster.stop().await;
}

#[tokio::test]
async fn of_two_writers_the_later_is_told_by_whom_it_was_overtaken() {
    let cluster = Cluster::start().await;
    let service = cluster.stable("web").await;
    let read = cluster.raft.state().borrow().service(service.id.parse().unwrap()).unwrap().clone();
    let by = Actor::named("alice".to_owned());
    let steer = Command::ScaleService { service: read.id, expect: None, replicas: 2, by };
    cluster.propose(steer).await;
    let expect_generation = read.generation.0;
    let late = v1::UpdateServiceRequest { expect_generation, ..update("web", "web:v2") };
    let error = cluster.refused(late).await;
    assert_eq!(error.code, Code::Aborted);
    assert!(error.message.starts_with("service web was changed by alice in the meantime"));
    assert!(error.message.ends_with("look at it again and repeat the change"), "{error}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_release_that_cannot_be_is_refused_with_one_that_can() {
    let cluster = Cluster::start().await;
    let mut global = spec("everywhere", "web:v1");
    global.mode = Some(v1::service_spec::Mode::Global(v1::Global {}));
    let request = v1::CreateServiceRequest { spec: Some(global), skip_resolve: true };
    cluster.services().create_service(request).await.unwrap();
    let error = cluster.refused(canary("everywhere", "web:v2", v1::UpdateConfig::default())).await;
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(error.message.starts_with("strategy: service everywhere is global"), "{error}");
    assert!(error.message.ends_with("use --strategy rolling"), "{error}");

    cluster.node("one").await;
    let mut holder = spec("web", "web:v1");
    let port = v1::Port { container: 80, host: 8080, ..Default::default() };
    holder.template.as_mut().unwrap().ports = vec![port];
    let request = v1::CreateServiceRequest { spec: Some(holder), skip_resolve: true };
    let made = cluster.services().create_service(request).await.unwrap().into_inner();
    cluster.accepted(&made.service.unwrap()).await;
    let error = cluster.refused(update("web", "web:v2")).await;
    assert_eq!(error.code, Code::InvalidArgument);
    let begin = "max_unavailable: host port 8080 can be held by one task of a node at a time";
    assert!(error.message.starts_with(begin), "{error}");
    assert!(error.message.ends_with("--max-unavailable 1"), "{error}");
    let blue = v1::UpdateServiceRequest { strategy: Some(BlueGreen.into()), ..update("web", "b") };
    let error = cluster.refused(blue).await;
    assert!(error.message.contains("publish no host port"), "{error}");
    cluster.stop().await;
}

#[tokio::test]
async fn profiles_are_shown_with_all_their_settings() {
    let cluster = Cluster::start().await;
    let answer = cluster.services().list_profiles(v1::ListProfilesRequest {}).await.unwrap();
    let profiles = answer.into_inner().profiles;
    let names: Vec<_> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["default", "llm", "progressive", "enterprise", "bluegreen-5m"]);
    assert_eq!(profiles[4].strategy(), BlueGreen);
    assert_eq!(profiles[2].update_config.as_ref().unwrap().steps.len(), 4);
    cluster.stop().await;
}

#[tokio::test]
async fn a_plan_tells_what_an_update_would_do_and_does_nothing() {
    let cluster = Cluster::start().await;
    cluster.stable("web").await;
    let before = cluster.raft.state().borrow().services().cloned().collect::<Vec<_>>();
    let plan = async |update| {
        let request = v1::PlanUpdateRequest { update: Some(update) };
        cluster.services().plan_update(request).await.map(tonic::Response::into_inner)
    };
    let seen = plan(canary("web", "web:v2", v1::UpdateConfig::default())).await.unwrap();
    assert!(seen.changes);
    assert_eq!((seen.strategy.as_str(), seen.from_revision, seen.to_revision), ("canary", 1, 0));
    assert_eq!((seen.tasks_max, seen.replicas), (2, 1));
    assert!(seen.steps[0].text.starts_with("step 1 of 4: 1 task of v2, 10% of the traffic"));
    assert_eq!(seen.at_least_ms, seen.steps.iter().map(|step| step.at_least_ms).sum::<u64>());
    assert!(seen.triggers.last().unwrap().contains("warren service rollback web"));
    let same = plan(update("web", "web:v1")).await.unwrap();
    assert!(!same.changes && same.steps.is_empty());
    let late = v1::UpdateServiceRequest { expect_generation: 9, ..update("web", "web:v2") };
    let error = refusal(plan(late).await);
    assert!(error.message.contains("you read 9"), "{error}");
    let missing = v1::UpdateServiceRequest { skip_resolve: false, ..update("web", "web:v7") };
    assert_eq!(refusal(plan(missing).await).to_string(), "image: no such image: web:v7");
    let after = cluster.raft.state().borrow().services().cloned().collect::<Vec<_>>();
    assert_eq!(before, after);
    cluster.stop().await;
}
