//! What a simulated release looks like to people and to programs.

use crate::output;
use crate::release;
use serde::Serialize;
use std::time::Duration;
use warren_core::simulate::{Course, Finish, Scene, Tasks};

/// A release that was played.
#[derive(Debug, Serialize)]
pub struct Played {
    service: String,
    strategy: String,
    from_revision: u32,
    to_revision: u32,
    replicas: u32,
    nodes: u32,
    /// `completed`, `rolled-back`, `cancelled`, `superseded`, `failed`, or where it did not end `waits`, `time-up`,
    /// `too-much`, `broken`.
    outcome: String,
    reason: String,
    lasted_ms: u64,
    /// For how much of all traffic nobody was there.
    lost_ms: u64,
    /// The largest share of the traffic that was lost at one moment.
    lost_worst_per_mille: u16,
    /// How much of all traffic met the new version.
    met_new_ms: u64,
    timeline: Vec<Line>,
    /// Lines beyond those that are shown.
    more: u32,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    after_ms: u64,
    phase: String,
    step: u32,
    steps: u32,
    weight_per_mille: u16,
    old_ready: u32,
    old_live: u32,
    new_ready: u32,
    new_live: u32,
    text: String,
    waits: Vec<String>,
}

fn ms(span: Duration) -> u64 {
    warren_core::time::millis(span)
}

impl Played {
    /// What is printed of a course.
    pub fn new(service: &str, nodes: u32, course: &Course, notes: Vec<String>) -> Self {
        let (outcome, reason) = match &course.finish {
            Finish::Ended { outcome, reason } => (outcome.to_string(), reason.clone()),
            Finish::Waits(waits) => ("waits".to_owned(), waits.join("; ")),
            Finish::TimeUp(waits) => ("time-up".to_owned(), waits.join("; ")),
            Finish::TooMuch => ("too-much".to_owned(), String::new()),
            Finish::Broken(promise) => ("broken".to_owned(), promise.clone()),
        };
        Self {
            service: service.to_owned(),
            strategy: course.strategy.to_string(),
            from_revision: course.from.0,
            to_revision: course.to.0,
            replicas: course.replicas,
            nodes,
            outcome,
            reason,
            lasted_ms: ms(course.lasted),
            lost_ms: ms(course.risk.lost),
            lost_worst_per_mille: course.risk.worst.per_mille(),
            met_new_ms: ms(course.risk.met_new),
            timeline: course.scenes.iter().map(Line::new).collect(),
            more: course.more,
            notes,
        }
    }
}

impl Line {
    fn new(scene: &Scene) -> Self {
        let (Tasks { ready: old_ready, live: old_live }, new) = (scene.old, scene.new);
        Self {
            after_ms: ms(scene.after),
            phase: scene.phase.map(|phase| phase.to_string()).unwrap_or_default(),
            step: scene.step,
            steps: scene.steps,
            weight_per_mille: scene.share.per_mille(),
            old_ready,
            old_live,
            new_ready: new.ready,
            new_live: new.live,
            text: scene.what.clone(),
            waits: scene.waits.clone(),
        }
    }

    fn row(&self) -> Vec<String> {
        let text = match (self.text.as_str(), self.waits.first()) {
            (text, None) => text.to_owned(),
            ("", Some(wait)) => format!("waits: {wait}"),
            (text, Some(wait)) => format!("{text}; waits: {wait}"),
        };
        let step = if self.steps == 0 {
            String::new()
        } else {
            format!("{} of {}", self.step, self.steps)
        };
        vec![
            format!("+{}", release::span(self.after_ms)),
            self.phase.clone(),
            step,
            release::share(self.weight_per_mille.into()),
            format!("{}/{}", self.old_ready, self.old_live),
            format!("{}/{}", self.new_ready, self.new_live),
            text,
        ]
    }
}

fn model(played: &Played) -> String {
    let count = |count: u32, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    format!("{} on {}", count(played.replicas, "task"), count(played.nodes, "node"))
}

/// The page.
pub fn page(played: &Played) -> String {
    let (from, to) = (played.from_revision, played.to_revision);
    let (old, new) = (format!("V{from}"), format!("V{to}"));
    let header = ["AFTER", "PHASE", "STEP", "SHARE", &old, &new, "WHAT"];
    let mut text = output::pairs(&[
        ("release", format!("{}, v{from} -> v{to}, {}", played.service, played.strategy)),
        ("model", model(played)),
    ]);
    text.push('\n');
    text.push_str(&output::table(&header, played.timeline.iter().map(Line::row)));
    if played.more > 0 {
        text.push_str(&format!("and {} more\n", played.more));
    }
    let lost = match played.lost_ms {
        0 => "no request".to_owned(),
        ms => format!(
            "{} worth of all requests, {} of them at the worst moment",
            release::span(ms),
            release::share(played.lost_worst_per_mille.into())
        ),
    };
    let outcome = match played.reason.as_str() {
        "" => played.outcome.clone(),
        reason => format!("{}: {reason}", played.outcome),
    };
    text.push('\n');
    text + &output::pairs(&[
        ("outcome", outcome),
        ("took", release::span(played.lasted_ms)),
        ("at risk", lost),
        (
            &format!("met v{to}"),
            format!("{} worth of all requests", release::span(played.met_new_ms)),
        ),
    ]) + &played.notes.iter().map(|note| format!("note: {note}\n")).collect::<String>()
}
