//! What is shown of a release under way. From the message to lines, without a clock or a terminal.

use super::{shape, share, span, standing, way};
use warren_wire::v1;

/// Moments that the live view ends with: enough to see what led here.
const MOMENTS_SHOWN: usize = 4;

/// Waits, pauses and failures that are shown of each: the rest is in `rollout status --output json`.
const EACH_MAX: usize = 4;

/// The length of the bar in characters: one for each twentieth of the traffic.
const BAR: u32 = 20;

/// The width of the names at the left.
const NAMES: usize = 9;

/// The whole view, one line each, none longer than `width` characters.
pub fn live(rollout: &v1::Rollout, width: usize) -> Vec<String> {
    let mut lines = vec![head(rollout)];
    let mut add = |name: &str, text: String| lines.push(format!("  {name:<NAMES$} {text}"));
    add("phase", phase(rollout));
    add("traffic", bar(rollout));
    for tasks in &rollout.tasks {
        add(&format!("v{}", tasks.revision), ready(tasks));
    }
    for (name, texts) in
        [("paused", &rollout.pauses), ("waiting", &rollout.waits), ("failed", &rollout.failures)]
    {
        for (i, text) in some(texts).into_iter().enumerate() {
            add(if i == 0 { name } else { "" }, text);
        }
    }
    if !rollout.approval_wanted.is_empty() {
        add("approval", rollout.approval_wanted.clone());
    }
    if let Some(next) = &rollout.queued {
        add("queued", queued(next));
    }
    let from = rollout.timeline.len().saturating_sub(MOMENTS_SHOWN);
    for (i, moment) in rollout.timeline.iter().skip(from).enumerate() {
        add(if i == 0 { "last" } else { "" }, told(moment));
    }
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

/// The lines that are new since `before`: what happened, and where it stands if that changed.
pub fn plain(before: Option<&v1::Rollout>, now: &v1::Rollout) -> Vec<String> {
    let before = before.filter(|before| before.id == now.id);
    let name = &now.service;
    let mut lines = Vec::new();
    if before.is_none() {
        lines.push(head(now));
    }
    let last = before.and_then(|before| before.timeline.last());
    let known = match last {
        Some(last) => now.timeline.iter().rposition(|moment| moment == last).map_or(0, |at| at + 1),
        None => now.timeline.len().saturating_sub(MOMENTS_SHOWN),
    };
    for moment in now.timeline.iter().skip(known) {
        lines.push(format!("{name}: {}", told(moment)));
    }
    if before.map(facts) != Some(facts(now)) {
        lines.push(format!("{name}: {}", facts(now)));
    }
    let waits = |rollout: &v1::Rollout| rollout.waits.iter().map(|w| unnumbered(w)).collect();
    let waits: [Option<Vec<String>>; 2] = [before.map(waits), Some(waits(now))];
    if waits[0] != waits[1] {
        lines.extend(some(&now.waits).iter().map(|wait| format!("{name}: waiting: {wait}")));
    }
    lines
}

/// The release in one line.
pub fn head(rollout: &v1::Rollout) -> String {
    let attempt = match rollout.attempt {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let kind = if rollout.kind == "rollback" { "rollback" } else { "release" };
    format!(
        "{}: {kind} {}, {} {}{attempt}, for {}",
        rollout.service,
        rollout.id,
        shape(rollout),
        way(rollout),
        span(rollout.duration_ms)
    )
}

fn phase(rollout: &v1::Rollout) -> String {
    let mut text = rollout.phase.clone();
    if rollout.steps > 0 && rollout.step > 0 {
        text.push_str(&format!(", step {} of {}", rollout.step, rollout.steps));
    }
    text.push_str(&format!(", for {}", span(rollout.phase_for_ms)));
    if rollout.hold_ms > 0 {
        let (held, hold) = (span(rollout.held_ms), span(rollout.hold_ms));
        text.push_str(&format!(" ({held} of {hold} counted)"));
    }
    text
}

/// The split as a bar: `v1 ###############----- v2 25%`.
fn bar(rollout: &v1::Rollout) -> String {
    let new = rollout.weight_per_mille.min(1000);
    let filled = (new * BAR).div_ceil(1000);
    let old = match rollout.from_revision {
        0 => String::new(),
        from => format!("v{from} "),
    };
    let part = |letter: &str, count: u32| letter.repeat(count as usize);
    format!(
        "{old}{}{} v{} {}",
        part("-", BAR - filled),
        part("#", filled),
        rollout.to_revision,
        share(new)
    )
}

fn ready(tasks: &v1::RevisionTasks) -> String {
    let mut text = format!("{} of {} ready", tasks.ready, tasks.live);
    if let Some(per_mille) = tasks.per_mille {
        text.push_str(&format!(", {} of the traffic", share(per_mille)));
    }
    text
}

/// A moment of the timeline: `+12s shifted`, with who, where that was a person.
pub fn told(moment: &v1::Moment) -> String {
    format!("+{} {}", span(moment.after_ms), by(moment, &moment.text))
}

/// A text with who did it, where that was a person.
pub fn by(moment: &v1::Moment, text: &str) -> String {
    match moment.by.as_str() {
        "" | "warren" => text.to_owned(),
        by => format!("{text} ({by})"),
    }
}

/// The update that waits for the end of a release: `r13 by bob to web:v3: a faster answer`.
pub fn queued(queued: &v1::QueuedUpdate) -> String {
    let cause = if queued.cause.is_empty() { String::new() } else { format!(": {}", queued.cause) };
    format!("{} by {} to {}{cause}", queued.id, queued.by, queued.image)
}

/// What makes a line of its own when it changes.
fn facts(rollout: &v1::Rollout) -> String {
    let mut parts = vec![standing(rollout)];
    let tasks = rollout.tasks.iter();
    parts.extend(tasks.map(|tasks| format!("v{} {}", tasks.revision, ready(tasks))));
    parts.extend(rollout.pauses.iter().map(|pause| format!("paused: {pause}")));
    if !rollout.approval_wanted.is_empty() {
        parts.push(format!("approval: {}", rollout.approval_wanted));
    }
    parts.join("; ")
}

/// A sentence without its numbers: two that differ only in them count as one that runs down.
fn unnumbered(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// The first of `texts`, and how many more there are.
fn some(texts: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = texts.iter().take(EACH_MAX).cloned().collect();
    if let Some(more @ 1..) = texts.len().checked_sub(EACH_MAX) {
        shown.push(format!("and {more} more"));
    }
    shown
}

fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::tests::canary;
    use super::*;

    #[test]
    fn the_view_of_a_canary_in_its_hold() {
        assert_eq!(
            live(&canary(), 100).join("\n"),
            "\
web: release r7, canary v1 -> v2, for 6m 22s
  phase     holding, step 2 of 4, for 1m 12s (1m 12s of 5m 0s counted)
  traffic   v1 ---------------##### v2 25%
  v1        4 of 4 ready, 75% of the traffic
  v2        1 of 2 ready, 25% of the traffic
  waiting   holding for another 228 s
  last      +0s started (ann)
            +9s step 1: holding
            +5m 9s 25% of the traffic to the new revision
            +5m 10s step 2: holding"
        );
    }

    #[test]
    fn trouble_and_pauses_are_in_the_view_and_long_lists_end() {
        let mut rollout = canary();
        rollout.attempt = 2;
        rollout.pauses = vec!["by ann: lunch".into()];
        rollout.approval_wanted = "0 of 1 approvals by approver".into();
        rollout.failures = (1..=6).map(|slot| format!("slot {slot}: exited with 1")).collect();
        rollout.timeline.clear();
        rollout.hold_ms = 0;
        assert_eq!(
            live(&rollout, 60).join("\n"),
            "\
web: release r7, canary v1 -> v2, attempt 2, for 6m 22s
  phase     holding, step 2 of 4, for 1m 12s
  traffic   v1 ---------------##### v2 25%
  v1        4 of 4 ready, 75% of the traffic
  v2        1 of 2 ready, 25% of the traffic
  paused    by ann: lunch
  waiting   holding for another 228 s
  failed    slot 1: exited with 1
            slot 2: exited with 1
            slot 3: exited with 1
            slot 4: exited with 1
            and 2 more
  approval  0 of 1 approvals by approver"
        );
        assert!(live(&rollout, 30).iter().all(|line| line.chars().count() <= 30));
    }

    #[test]
    fn the_bar_is_empty_only_without_a_share_and_full_only_with_all() {
        let of = |per_mille| {
            let rollout = v1::Rollout { weight_per_mille: per_mille, ..canary() };
            bar(&rollout)
        };
        assert_eq!(of(0), "v1 -------------------- v2 0%");
        assert_eq!(of(5), "v1 -------------------# v2 0.5%");
        assert_eq!(of(1000), "v1 #################### v2 100%");
        let first = v1::Rollout { from_revision: 0, to_revision: 1, ..canary() };
        assert_eq!(bar(&first), "---------------##### v1 25%");
    }

    #[test]
    fn without_a_terminal_each_change_is_a_line() {
        let before = canary();
        assert_eq!(
            plain(None, &before),
            [
                "web: release r7, canary v1 -> v2, for 6m 22s",
                "web: +0s started (ann)",
                "web: +9s step 1: holding",
                "web: +5m 9s 25% of the traffic to the new revision",
                "web: +5m 10s step 2: holding",
                "web: holding, step 2 of 4, 25%; v1 4 of 4 ready, 75% of the traffic; v2 1 of 2 \
                 ready, 25% of the traffic",
                "web: waiting: holding for another 228 s",
            ]
        );
        let mut now = before.clone();
        now.waits = vec!["holding for another 12 s".into()];
        now.phase_for_ms += 1000;
        now.held_ms += 1000;
        now.duration_ms += 1000;
        assert!(plain(Some(&before), &now).is_empty(), "time passing is no change");
        now.tasks[1].ready = 2;
        now.timeline.push(v1::Moment {
            after_ms: 390_000,
            by: "ann".into(),
            text: "promoted to the next step".into(),
            ..Default::default()
        });
        assert_eq!(
            plain(Some(&before), &now),
            [
                "web: +6m 30s promoted to the next step (ann)",
                "web: holding, step 2 of 4, 25%; v1 4 of 4 ready, 75% of the traffic; v2 2 of 2 \
                 ready, 25% of the traffic",
            ]
        );
        let next = v1::Rollout { id: "r9".into(), ..now.clone() };
        assert_eq!(plain(Some(&now), &next)[0], "web: release r9, canary v1 -> v2, for 6m 23s");
    }
}
