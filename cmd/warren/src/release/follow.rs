//! Watches a release until it ends, and turns the end into an exit code.

use super::view;
use crate::client::{Client, of_service, request};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use crate::progress::{Shown, WaitArgs};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use warren_wire::v1;

/// Which release is waited for, and to do what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aim {
    /// The one under way, or else the last: to complete.
    Any,
    /// This one: to complete.
    Forward(u64),
    /// This one: to bring the earlier version back.
    Back(u64),
    /// The one that an update which waits will begin: to complete. It has this id already.
    Queued(u64),
}

impl Aim {
    /// This release, for what it does now: complete, or go back.
    pub fn of(rollout: &v1::Rollout) -> Self {
        if is_back(rollout) { Self::Back(number(rollout)) } else { Self::Forward(number(rollout)) }
    }
}

/// Whether it goes back, or went.
fn is_back(rollout: &v1::Rollout) -> bool {
    rollout.phase.starts_with("roll") || !rollout.trigger.is_empty()
}

/// The number in an id as `r7`.
pub fn number(rollout: &v1::Rollout) -> u64 {
    number_of(&rollout.id)
}

/// The number in an id as `r7`.
pub fn number_of(id: &str) -> u64 {
    id.trim_start_matches('r').parse().unwrap_or(0)
}

/// Where the view goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Show {
    /// Talk beside a command that does something else: standard error.
    Talk,
    /// The view is what was asked for: lines on standard output where there is no terminal.
    Data,
    /// One JSON object a line on standard output.
    Json,
}

/// Between two attempts to watch again: short against a change of leaders, long against a busy loop.
const RECONNECT: Duration = Duration::from_millis(300);

/// How often the live view is drawn anew though nothing changed, so that its times run.
const TICK: Duration = Duration::from_secs(1);

/// Shows a release until it has ended. Without a `--wait-timeout` there is no limit: a release may wait for a person.
///
/// # Errors
/// It did not do what it was waited for (the exit code says how it ended), or waiting ended first: then it goes on.
pub async fn follow(client: &Client, name: &str, aim: Aim, show: Show, wait: &WaitArgs) -> Outcome {
    if wait.detach {
        output::say(format_args!("{name}: the release goes on; {}", again(name)));
        return Ok(());
    }
    let mut screen = Screen::new(show);
    let deadline = wait.wait_timeout.map(|timeout| Instant::now() + timeout);
    let end = tokio::select! {
        end = until_end(client, name, aim, &mut screen) => end,
        () = passed(deadline) => {
            let time = output::duration(wait.wait_timeout.unwrap_or_default());
            Err(given_up(name, aim, &screen, &format!("not done after {time}")))
        }
        _ = tokio::signal::ctrl_c() => Err(given_up(name, aim, &screen, "stopped watching")),
    };
    screen.end();
    let end = end?;
    output::say(verdict(&end, aim)?);
    Ok(())
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn again(name: &str) -> String {
    format!("see it with `warren rollout watch {name}`")
}

fn given_up(name: &str, aim: Aim, screen: &Screen, why: &str) -> Failure {
    let standing = match &screen.last {
        Some(last) => super::brief(last),
        None => "it has not begun".into(),
    };
    let goes_back = matches!(aim, Aim::Back(_)) || screen.last.as_ref().is_some_and(is_back);
    let instead = if goes_back {
        format!("bring all traffic back at once with `warren service rollback {name} --now`")
    } else {
        format!("take it back with `warren service rollback {name}`")
    };
    let what = if goes_back { "the rollback" } else { "the release" };
    Failure::new(Exit::Unfinished, format!("{name}: {why}; {standing}"))
        .hint(format!("{what} goes on; {}, {instead}", again(name)))
}

/// Watches across changes of leaders until the release that is meant has ended.
async fn until_end(
    client: &Client,
    name: &str,
    aim: Aim,
    screen: &mut Screen,
) -> Outcome<v1::Rollout> {
    loop {
        match watch(client, name, aim, screen).await? {
            Some(end) => return Ok(end),
            None => tokio::time::sleep(RECONNECT).await,
        }
    }
}

async fn watch(
    client: &Client,
    name: &str,
    aim: Aim,
    screen: &mut Screen,
) -> Outcome<Option<v1::Rollout>> {
    let asked = v1::WatchRolloutRequest { service_id: name.to_owned() };
    let mut rollouts = client.rollouts();
    let mut stream = match rollouts.watch_rollout(asked).await {
        Ok(stream) => stream.into_inner(),
        Err(status) if may_pass(status.code()) => return Ok(None),
        Err(status) => return Err(of_service(status)),
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let seen = tokio::select! {
            seen = stream.message() => match seen {
                Ok(Some(seen)) => seen.rollout,
                Ok(None) => return Ok(None),
                Err(status) if may_pass(status.code()) => return Ok(None),
                Err(status) => return Err(of_service(status)),
            },
            _ = tick.tick(), if screen.is_live() => one(client, name).await.ok(),
        };
        let Some(seen) = seen else { continue };
        match place(&seen, aim) {
            Place::Before => {
                if let (Aim::Queued(meant), None) = (aim, &seen.queued) {
                    return Ok(Some(dropped(&seen, meant)));
                }
                screen.before(&seen);
            }
            Place::Meant => {
                screen.show(&seen)?;
                if !seen.outcome.is_empty() {
                    return Ok(Some(seen));
                }
            }
            Place::Later => return Ok(Some(past(client, name, aim, &seen).await?)),
        }
    }
}

fn may_pass(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(code, Code::Unavailable | Code::Aborted | Code::Unknown | Code::Cancelled)
}

/// The release of a service: the one under way, or the last.
///
/// # Errors
/// There is no such service, or it has had none.
pub async fn one(client: &Client, name: &str) -> Outcome<v1::Rollout> {
    let asked = v1::GetRolloutRequest { service_id: name.to_owned() };
    let answer = client.rollouts().get_rollout(request(asked)).await.map_err(of_service)?;
    Ok(answer.into_inner().rollout.unwrap_or_default())
}

/// Where a release that is seen stands to the one that is meant.
#[derive(PartialEq, Eq, Debug)]
enum Place {
    Before,
    Meant,
    Later,
}

fn place(seen: &v1::Rollout, aim: Aim) -> Place {
    let seen = number(seen);
    match aim {
        Aim::Any => Place::Meant,
        Aim::Forward(meant) | Aim::Back(meant) | Aim::Queued(meant) => match seen.cmp(&meant) {
            std::cmp::Ordering::Less => Place::Before,
            std::cmp::Ordering::Equal => Place::Meant,
            std::cmp::Ordering::Greater => Place::Later,
        },
    }
}

/// The end of a release that another one has followed already.
async fn past(client: &Client, name: &str, aim: Aim, later: &v1::Rollout) -> Outcome<v1::Rollout> {
    let asked = v1::ListRolloutsRequest { service_id: name.to_owned() };
    let list = client.rollouts().list_rollouts(request(asked)).await.map_err(of_service)?;
    let mut rollouts = list.into_inner().rollouts.into_iter();
    let meant = rollouts.find(|rollout| place(rollout, aim) == Place::Meant);
    Ok(match (meant, aim) {
        (Some(meant), _) => meant,
        (None, Aim::Queued(meant)) => dropped(later, meant),
        (None, Aim::Any | Aim::Forward(_) | Aim::Back(_)) => v1::Rollout {
            service: name.to_owned(),
            outcome: "superseded".into(),
            reason: format!("by {}", later.id),
            ..v1::Rollout::default()
        },
    })
}

/// The end of an update that waited and never became a release: `seen` is what is there in its place.
fn dropped(seen: &v1::Rollout, meant: u64) -> v1::Rollout {
    let told = seen.timeline.iter().rev().find(|moment| moment.action == "unqueued");
    let why = told.map(|moment| view::by(moment, &moment.text));
    v1::Rollout {
        id: format!("r{meant}"),
        service: seen.service.clone(),
        outcome: DROPPED.into(),
        reason: why.unwrap_or_else(|| format!("release {} took its place", seen.id)),
        ..v1::Rollout::default()
    }
}

/// What became of an update that waited and was dropped, in the place of an outcome.
const DROPPED: &str = "dropped";

/// What the end means for who waited.
fn verdict(end: &v1::Rollout, aim: Aim) -> Outcome<String> {
    let name = &end.service;
    let after = super::span(end.duration_ms);
    let is_back = matches!(aim, Aim::Back(_));
    let reason = if end.reason.is_empty() { String::new() } else { format!(": {}", end.reason) };
    let failed = |exit, what: String| Err(Failure::new(exit, format!("{name}: {what}{reason}")));
    if end.outcome == DROPPED {
        let what = format!("the update that waited for release {} never began{reason}", end.id);
        return Err(Failure::new(Exit::Superseded, format!("{name}: {what}"))
            .hint(format!("`warren service history {name}` shows what ran in its place")));
    }
    let way = super::way(end);
    let hint = |failure: Failure| {
        failure.hint(format!("`warren rollout timeline {name}` shows what happened"))
    };
    match (end.outcome.as_str(), is_back) {
        ("completed", _) => Ok(format!("{name}: v{} is in, after {after}", end.to_revision)),
        ("rolled-back", true) => {
            Ok(format!("{name}: v{} has everything again, after {after}", end.from_revision))
        }
        ("cancelled", true) => {
            Ok(format!("{name}: release {} was called off before anything changed", end.id))
        }
        ("rolled-back", false) => {
            let back = format!("the release {way} was rolled back after {after}");
            failed(Exit::RolledBack, back).map_err(hint)
        }
        ("superseded" | "cancelled", _) => {
            failed(Exit::Superseded, format!("the release {way} was {}", end.outcome)).map_err(hint)
        }
        _ => failed(Exit::Failed, format!("the release {way} failed after {after}")).map_err(hint),
    }
}

/// What the user sees, and the release as it was seen last.
struct Screen {
    show: Show,
    shown: Option<Shown>,
    last: Option<v1::Rollout>,
    /// What is waited for before the release that is meant, as it was said last.
    waited: String,
}

impl Screen {
    fn new(show: Show) -> Self {
        let live = match show {
            Show::Talk => output::live(),
            Show::Data => output::live() && std::io::stdout().is_terminal(),
            Show::Json => false,
        };
        Self { show, shown: live.then(Shown::new), last: None, waited: String::new() }
    }

    /// Says what an update waits for that has not begun, once for each phase of it.
    fn before(&mut self, seen: &v1::Rollout) {
        let text = match &seen.queued {
            Some(queued) if seen.outcome.is_empty() => format!(
                "{}: {} waits for the end of {}: {}",
                seen.service,
                queued.id,
                seen.id,
                super::brief(seen)
            ),
            Some(_) | None => return,
        };
        if text == self.waited || self.show == Show::Json {
            return;
        }
        match &mut self.shown {
            Some(shown) => shown.show(vec![text.clone()]),
            None => output::say(&text),
        }
        self.waited = text;
    }

    fn is_live(&self) -> bool {
        self.shown.is_some()
    }

    fn show(&mut self, rollout: &v1::Rollout) -> Outcome {
        match (&mut self.shown, self.show) {
            (Some(shown), _) => shown.show(view::live(rollout, width())),
            (None, Show::Json) => {
                output::line(serde_json::to_string(rollout).map_err(anyhow::Error::new)?)?;
            }
            (None, Show::Talk) => {
                view::plain(self.last.as_ref(), rollout).iter().for_each(output::say);
            }
            (None, Show::Data) => {
                for line in view::plain(self.last.as_ref(), rollout) {
                    output::line(line)?;
                }
            }
        }
        self.last = Some(rollout.clone());
        Ok(())
    }

    fn end(&self) {
        if let Some(shown) = &self.shown {
            shown.end();
        }
    }
}

/// The columns of the terminal, without those that the drawing of a line takes.
fn width() -> usize {
    let columns = terminal_size::terminal_size_of(std::io::stderr()).map(|(width, _)| width.0);
    usize::from(columns.unwrap_or(80)).saturating_sub(4)
}

#[cfg(test)]
mod tests {
    use super::super::tests::canary;
    use super::*;

    fn ended(outcome: &str, kind: &str) -> v1::Rollout {
        let (outcome, kind) = (outcome.into(), kind.into());
        v1::Rollout { outcome, kind, reason: "slot 1 failed".into(), ..canary() }
    }

    #[test]
    fn the_exit_code_says_how_a_release_ended() {
        let exit = |end: v1::Rollout, aim| match verdict(&end, aim) {
            Ok(_) => 0,
            Err(failure) => failure.exit,
        };
        for (outcome, forward, back) in [
            ("completed", 0, 0),
            ("rolled-back", 6, 0),
            ("superseded", 7, 7),
            ("cancelled", 7, 0),
            ("failed", 1, 1),
        ] {
            assert_eq!(exit(ended(outcome, "update"), Aim::Forward(7)), forward, "{outcome}");
            assert_eq!(exit(ended(outcome, "update"), Aim::Any), forward, "{outcome}");
            assert_eq!(exit(ended(outcome, "rollback"), Aim::Back(7)), back, "{outcome}");
        }
        let told = verdict(&ended("rolled-back", "update"), Aim::Any).unwrap_err().to_string();
        assert!(told.contains("v1 -> v2 was rolled back after 6m 22s: slot 1 failed"), "{told}");
        assert!(told.contains("warren rollout timeline web"), "{told}");
    }

    #[test]
    fn the_release_that_is_meant_is_told_from_those_around_it() {
        let seen = canary();
        for (aim, expected) in [
            (Aim::Any, Place::Meant),
            (Aim::Forward(7), Place::Meant),
            (Aim::Back(8), Place::Before),
            (Aim::Forward(6), Place::Later),
            (Aim::Queued(7), Place::Meant),
            (Aim::Queued(8), Place::Before),
            (Aim::Queued(6), Place::Later),
        ] {
            assert_eq!(place(&seen, aim), expected, "{aim:?}");
        }
        assert_eq!(Aim::of(&seen), Aim::Forward(7));
        let back = v1::Rollout { phase: "rolling-back".into(), ..seen };
        assert_eq!(Aim::of(&back), Aim::Back(7));
    }

    #[test]
    fn who_stops_watching_is_told_how_to_go_on() {
        let mut screen = Screen::new(Show::Json);
        screen.last = Some(canary());
        let failure = given_up("web", Aim::Forward(7), &screen, "stopped watching");
        assert_eq!(failure.exit, Exit::Unfinished as u8);
        let told = failure.to_string();
        for says in ["goes on", "rollout watch web", "service rollback web", "step 2 of 4"] {
            assert!(told.contains(says), "{told}");
        }
        let told = given_up("web", Aim::Back(7), &screen, "stopped watching").to_string();
        assert!(told.contains("the rollback goes on"), "{told}");
        assert!(told.contains("rollback web --now") && !told.contains("take it back"), "{told}");
    }

    #[test]
    fn an_update_that_waited_and_was_dropped_is_no_success_of_another() {
        let text = "the update by ann that waited (release r9) is dropped: rolled back".to_owned();
        let (by, action) = ("bob".to_owned(), "unqueued".to_owned());
        let moment = v1::Moment { text, by, action, ..v1::Moment::default() };
        let mut seen = canary();
        seen.timeline.push(moment);
        let failure = verdict(&dropped(&seen, 9), Aim::Queued(9)).unwrap_err();
        assert_eq!(failure.exit, Exit::Superseded as u8);
        let told = failure.to_string();
        assert!(told.contains("is dropped: rolled back (bob)"), "{told}");
        let told = verdict(&dropped(&canary(), 9), Aim::Queued(9)).unwrap_err().to_string();
        assert!(told.contains("never began: release r7 took its place"), "{told}");
    }
}
