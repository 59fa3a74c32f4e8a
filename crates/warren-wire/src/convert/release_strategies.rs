//! Generated steps, rules and hooks for property tests.

use super::strategies::{span, span_from};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use std::time::Duration;
use warren_core::spec::{
    ApprovalRule, HOOK_TIMEOUT_MAX, Hook, HookFormat, HookKey, HookPoint, HookUrl, OnUpdate,
    ProfileName, Quantity, Ramp, RoleName, Step, UpdateSettings, profile,
};
use warren_core::units::Weight;

/// `settings` with every field of a release set.
pub(crate) fn released(
    settings: impl Strategy<Value = UpdateSettings>,
) -> impl Strategy<Value = UpdateSettings> {
    let on_update =
        prop_oneof![Just(OnUpdate::Replace), Just(OnUpdate::Queue), Just(OnUpdate::Reject)];
    let named = of(proptest::sample::select(&ProfileName::ALL[..]));
    let words = (named, on_update, of(rule()), hooks(), steps());
    let window = 0..=warren_core::spec::ROLLBACK_WINDOW_MAX;
    let spans = (of(span()), span(), span(), span(), window);
    (settings, words, spans).prop_map(|(settings, words, spans)| {
        let (named, on_update, approve, hooks, steps) = words;
        let (monitor, standby, scale_down_delay, drain, rollback_window) = spans;
        let base = named.map(profile).unwrap_or_default();
        UpdateSettings {
            profile: named,
            on_update,
            approve,
            hooks,
            // What a profile names can be replaced, and cannot be taken away.
            steps: if steps.is_empty() { base.steps } else { steps },
            monitor: monitor.or(base.monitor),
            standby,
            scale_down_delay,
            drain,
            rollback_window,
            ..settings
        }
    })
}

fn weight() -> impl Strategy<Value = Weight> {
    (0..=1000_u16).prop_map(|share| Weight::from_per_mille(share).unwrap())
}

fn rule() -> impl Strategy<Value = ApprovalRule> {
    let role = "[a-z][a-z-]{0,9}[a-z]".prop_map(|text| RoleName::parse(&text).unwrap());
    (vec(role, 0..3), 1..=u32::MAX).prop_map(|(roles, min)| ApprovalRule { roles, min })
}

fn url() -> impl Strategy<Value = HookUrl> {
    "https?://[a-z]{1,9}(:[1-9][0-9]{0,3})?(/[a-z0-9]{0,9}){0,2}"
        .prop_map(|text| HookUrl::parse(&text).unwrap())
}

/// Steps that rise: the shares are drawn first and sorted.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let scale = prop_oneof![
        any::<u32>().prop_map(Quantity::Count),
        (0..=100_u8).prop_map(Quantity::Percent)
    ];
    let by = (100..=1000_u16).prop_map(|share| Weight::from_per_mille(share).unwrap());
    let step = (of(scale), span(), any::<bool>(), of(rule()), of(url()), of((by, span())));
    let kind = proptest::sample::select(&[true, true, false][..]);
    vec((weight(), kind, step), 0..6).prop_map(|mut drawn| {
        drawn.sort_by_key(|(weight, ..)| *weight);
        drawn.dedup_by_key(|(weight, ..)| *weight);
        let steps = drawn.into_iter().map(|(weight, has_weight, step)| {
            let (scale, hold, analyze, approve, run, ramp) = step;
            let ramp = ramp.map(|(by, every)| Ramp { to: weight, by, every });
            let weight = (has_weight && ramp.is_none()).then_some(weight);
            Step { weight, scale, hold, analyze, approve, run, ramp }
        });
        steps.collect()
    })
}

/// Hooks with an address each.
fn hooks() -> impl Strategy<Value = Vec<Hook>> {
    let key = of("[a-z0-9]{1,64}".prop_map(HookKey));
    let timeout = span_from(Duration::from_millis(1)).prop_map(|span| span.min(HOOK_TIMEOUT_MAX));
    let hook = (proptest::sample::select(&HookPoint::ALL[..]), timeout, any::<bool>(), key);
    vec(hook, 0..5).prop_map(|drawn| {
        let hooks = drawn.into_iter().enumerate().map(|(i, (on, timeout, slack, key))| {
            let url = HookUrl::parse(&format!("https://hook/{i}")).unwrap();
            let slack = slack && !on.is_gate();
            let format = if slack { HookFormat::Slack } else { HookFormat::Json };
            Hook { timeout, format, key, ..Hook::new(on, url) }
        });
        hooks.collect()
    })
}
