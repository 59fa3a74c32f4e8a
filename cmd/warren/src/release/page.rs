//! Everything about a release on one page: what `rollout status` prints.

use super::{shape, share, span, standing, view, way};
use crate::output;
use warren_wire::v1;

/// Moments that the page ends with; `rollout timeline` has all.
const MOMENTS_SHOWN: usize = 8;

/// The page.
pub fn page(rollout: &v1::Rollout) -> String {
    let tasks = rollout.tasks.iter().map(|tasks| {
        let per_mille = tasks.per_mille.map(|w| format!(", {} of the traffic", share(w)));
        let traffic = per_mille.unwrap_or_default();
        format!("v{} {} of {} ready{traffic}", tasks.revision, tasks.ready, tasks.live)
    });
    let mut text = output::pairs(&[
        ("release", format!("{} of {}, {}", rollout.id, rollout.service, rollout.kind)),
        ("way", format!("{}, {}", way(rollout), shape(rollout))),
        ("image", image(rollout)),
        ("digest", rollout.to_digest.clone()),
        ("started", started(rollout)),
        ("cause", rollout.cause.clone()),
        ("freeze", overridden(rollout)),
        ("standing", now(rollout)),
        ("why", rollout.reason.clone()),
        ("tasks", tasks.collect::<Vec<_>>().join("; ")),
    ]);
    list(&mut text, "steps", rollout.plan.iter().enumerate().map(|(i, s)| step(rollout, i, s)));
    // Where the plan has seen the pause, it says how to go on as well.
    let seen = rollout.waits.iter().any(|wait| wait.starts_with("paused"));
    list(&mut text, "paused", rollout.pauses.iter().filter(|_| !seen).cloned());
    list(&mut text, "waiting", rollout.waits.iter().cloned());
    list(&mut text, "approval wanted", some(&rollout.approval_wanted).into_iter());
    list(&mut text, "approvals", rollout.approvals.iter().cloned());
    list(&mut text, "queued", rollout.queued.iter().map(view::queued));
    list(&mut text, "failed", rollout.failures.iter().cloned());
    let from = rollout.timeline.len().saturating_sub(MOMENTS_SHOWN);
    list(&mut text, "last", rollout.timeline.iter().skip(from).map(view::told));
    text
}

fn overridden(rollout: &v1::Rollout) -> String {
    some(&rollout.freeze_override).map(|why| format!("overridden: {why}")).unwrap_or_default()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn list(text: &mut String, name: &str, lines: impl Iterator<Item = String>) {
    for (i, line) in lines.enumerate() {
        if i == 0 {
            text.push_str(&format!("\n{name}:\n"));
        }
        text.push_str(&format!("  {line}\n"));
    }
}

fn image(rollout: &v1::Rollout) -> String {
    if rollout.from_image.is_empty() || rollout.from_image == rollout.to_image {
        return rollout.to_image.clone();
    }
    format!("{} -> {}", rollout.from_image, rollout.to_image)
}

fn started(rollout: &v1::Rollout) -> String {
    let at = output::moment(rollout.started_unix_ms);
    let tense = if rollout.ended_unix_ms == 0 { "ago" } else { "long" };
    format!("{at} by {}, {} {tense}", rollout.started_by, span(rollout.duration_ms))
}

fn now(rollout: &v1::Rollout) -> String {
    let standing = standing(rollout);
    if !rollout.outcome.is_empty() {
        return standing;
    }
    let held = match rollout.hold_ms {
        0 => String::new(),
        hold => format!(", {} of {} counted", span(rollout.held_ms), span(hold)),
    };
    format!("{standing}, in this phase for {}{held}", span(rollout.phase_for_ms))
}

/// One step: `2. 25% for 5m 0s (now)`.
fn step(rollout: &v1::Rollout, index: usize, step: &v1::Step) -> String {
    let number = index + 1;
    let mut parts = Vec::new();
    match step.weight_per_mille {
        Some(0) => parts.push("no traffic".into()),
        Some(per_mille) => parts.push(share(per_mille)),
        None => {}
    }
    if step.hold_ms > 0 {
        parts.push(format!("for {}", span(step.hold_ms)));
    }
    if let Some(scale) = &step.scale {
        parts.push(match scale.as_str() {
            "100%" => "all tasks".into(),
            "1" => "1 task".into(),
            scale => format!("{scale} tasks"),
        });
    }
    if let Some(ramp) = &step.ramp {
        let (to, by) = (share(ramp.to_per_mille), share(ramp.by_per_mille));
        parts.push(format!("to {to} by {by} every {}", span(ramp.every_ms)));
    }
    if step.analyze {
        parts.push("analysis".into());
    }
    if let Some(rule) = &step.approve {
        parts.push(approval(rule));
    }
    if !step.run.is_empty() {
        parts.push(format!("calls {}", step.run));
    }
    let at = usize::try_from(rollout.step).unwrap_or(usize::MAX);
    let mark = match (number.cmp(&at), rollout.outcome.as_str()) {
        (std::cmp::Ordering::Less, _) | (_, "completed") => " (done)",
        (std::cmp::Ordering::Equal, "") => " (now)",
        (std::cmp::Ordering::Equal, _) => " (reached)",
        (std::cmp::Ordering::Greater, _) => "",
    };
    format!("{number}. {}{mark}", parts.join(", "))
}

fn approval(rule: &v1::ApprovalRule) -> String {
    match (rule.min, rule.roles.as_slice()) {
        (min, []) => format!("approval by {min}"),
        (min, roles) => format!("approval by {min} of {}", roles.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::canary;
    use super::*;

    // req: B21
    #[test]
    fn the_page_of_a_canary() {
        let mut rollout = canary();
        rollout.timeline.truncate(1);
        assert_eq!(
            page(&rollout),
            "\
release:  r7 of web, update
way:      v1 -> v2, canary
image:    web:v1 -> web:v2
digest:   sha256:5f70
started:  1970-01-01T00:16:40Z by ann, 6m 22s ago
cause:    a faster answer
standing: holding, step 2 of 4, 25%, in this phase for 1m 12s, 1m 12s of 5m 0s counted
tasks:    v1 4 of 4 ready, 75% of the traffic; v2 1 of 2 ready, 25% of the traffic

steps:
  1. 10%, for 5m 0s (done)
  2. 25%, for 5m 0s (now)
  3. 50%, for 5m 0s, approval by 1 of approver
  4. 100%

waiting:
  holding for another 228 s

last:
  +0s started (ann)
"
        );
    }

    #[test]
    fn the_page_of_one_that_went_back_says_why() {
        let rollout = v1::Rollout {
            outcome: "rolled-back".into(),
            trigger: "health_check".into(),
            reason: "slot 2: exited with 1".into(),
            ended_unix_ms: 2_000_000,
            waits: Vec::new(),
            ..canary()
        };
        let text = page(&rollout);
        assert!(text.contains("why:      slot 2: exited with 1\n"), "{text}");
        assert!(text.contains("2. 25%, for 5m 0s (reached)\n"), "{text}");
        assert!(text.contains("by ann, 6m 22s long\n"), "{text}");
    }
}
