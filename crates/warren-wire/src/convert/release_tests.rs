//! The settings of releases: the shorthands, what stays, what is hidden, and what is refused with which words.

use super::*;
use crate::v1;
use warren_core::spec::{
    Hook, HookKey, HookPoint, HookUrl, ProfileName, Strategy, UpdateSettings, profile,
};

fn merged(base: UpdateSettings, change: impl FnOnce(&mut v1::UpdateConfig)) -> UpdateSettings {
    let mut config = v1::UpdateConfig::default();
    change(&mut config);
    update::merge(base, &config).unwrap()
}

fn refused(change: impl FnOnce(&mut v1::UpdateConfig)) -> String {
    let mut config = v1::UpdateConfig::default();
    change(&mut config);
    update::merge(UpdateSettings::default(), &config).unwrap_err().to_string()
}

/// Shares in per cent and how long each is kept, in seconds.
fn seen(settings: &UpdateSettings) -> Vec<(u16, u64)> {
    let steps = settings.steps.iter();
    steps.map(|step| (step.weight.unwrap().per_mille() / 10, step.hold.as_secs())).collect()
}

// req: B10 B16
#[test]
fn shares_and_windows_are_written_out_as_steps() {
    let base = UpdateSettings::default;
    let shares = merged(base(), |u| u.canary_steps = vec![5, 50, 100]);
    assert_eq!(seen(&shares), [(5, 300), (50, 300), (100, 300)]);
    let window = merged(base(), |u| u.stability_window_seconds = Some(60));
    assert_eq!(seen(&window), [(10, 60), (25, 60), (50, 60), (100, 60)]);
    let both = merged(base(), |u| {
        (u.canary_steps, u.canary_window_ms) = (vec![20, 100], Some(2000));
    });
    assert_eq!(seen(&both), [(20, 2), (100, 2)]);
    // Shares alone keep the window that there is, a window alone the shares.
    let later = merged(both.clone(), |u| u.canary_steps = vec![1, 2]);
    assert_eq!(seen(&later), [(1, 2), (2, 2)]);
    let later = merged(both, |u| u.stability_window_seconds = Some(9));
    assert_eq!(seen(&later), [(20, 9), (100, 9)]);
    let ramp = merged(profile(ProfileName::Progressive), |u| u.canary_window_ms = Some(7000));
    assert_eq!(ramp.steps[3].ramp.unwrap().every.as_secs(), 7);
}

// req: B16
#[test]
fn the_first_share_leaves_out_what_does_not_go_beyond_it() {
    let first = |percent| merged(UpdateSettings::default(), |u| u.canary_weight = Some(percent));
    assert_eq!(seen(&first(5)), [(5, 300), (25, 300), (50, 300), (100, 300)]);
    assert_eq!(seen(&first(30)), [(30, 300), (50, 300), (100, 300)]);
    assert_eq!(seen(&first(100)), [(100, 300)]);
    let same = merged(UpdateSettings::default(), |u| {
        (u.canary_weight, u.canary_steps) = (Some(10), vec![10, 100]);
    });
    assert_eq!(seen(&same), [(10, 300), (100, 300)]);
}

#[test]
fn a_profile_lies_under_all_else_and_keeps_who_is_asked() {
    let mut base = UpdateSettings { parallelism: 9, ..UpdateSettings::default() };
    base.hooks = vec![Hook::new(HookPoint::Event, HookUrl::parse("http://a").unwrap())];
    let settings = merged(base.clone(), |u| {
        (u.profile, u.drain_ms) = (Some("llm".into()), Some(1000));
    });
    let mut expected = profile(ProfileName::Llm);
    (expected.drain, expected.hooks) = (Duration::from_secs(1), base.hooks);
    assert_eq!(settings, expected);
    assert_eq!(settings.strategy, Strategy::Canary);
}

#[test]
fn the_key_of_a_hook_is_never_shown_and_can_be_kept() {
    let mut hook = Hook::new(HookPoint::PreRollout, HookUrl::parse("http://a").unwrap());
    hook.key = Some(HookKey("a-hidden-key".to_owned()));
    let base = UpdateSettings { hooks: vec![hook], ..UpdateSettings::default() };
    let shown = update::render(&base);
    assert!(!format!("{shown:?}").contains("a-hidden-key"));
    assert_eq!(shown.hooks.as_ref().unwrap().hooks[0].key, "***");
    assert_eq!(update::merge(base.clone(), &shown).unwrap().hooks, base.hooks);
    let mut moved = shown;
    moved.hooks.as_mut().unwrap().hooks[0].url = "http://b".into();
    let error = update::merge(base.clone(), &moved).unwrap_err();
    assert_eq!(error.field, "hooks.hooks[0].key");
    assert!(error.problem.ends_with("has one: write the key"), "{error}");
    let none = merged(base, |u| u.hooks = Some(v1::Hooks::default()));
    assert!(none.hooks.is_empty());
}

#[test]
fn settings_of_releases_are_refused_with_the_way_out() {
    type Change = fn(&mut v1::UpdateConfig);
    fn step(u: &mut v1::UpdateConfig) -> &mut v1::Step {
        u.steps.push(v1::Step::default());
        u.steps.last_mut().unwrap()
    }
    let cases: [(&str, Change); 16] = [
        ("stability_window_seconds: a window of 0 watches nothing", |u| {
            u.stability_window_seconds = Some(0);
        }),
        ("canary_window_ms: a window of 0 watches nothing", |u| u.canary_window_ms = Some(0)),
        ("canary_window_ms: says the same as stability_window_seconds", |u| {
            (u.stability_window_seconds, u.canary_window_ms) = (Some(1), Some(1));
        }),
        ("canary_steps[1]: 10 is not more than 50: steps rise", |u| u.canary_steps = vec![50, 10]),
        ("canary_steps[0]: 101 is not a percentage: write 0 to 100", |u| {
            u.canary_steps = vec![101]
        }),
        ("canary_weight: 400 is not a percentage: write 0 to 100", |u| u.canary_weight = Some(400)),
        ("canary_weight: 0 % gives the new version no traffic", |u| u.canary_weight = Some(0)),
        ("canary_steps[0]: 0 % gives the new version no traffic", |u| {
            u.canary_steps = vec![0, 100];
        }),
        ("canary_weight: is 5, and canary_steps begins with 10", |u| {
            (u.canary_weight, u.canary_steps) = (Some(5), vec![10, 100]);
        }),
        ("steps: says the same as canary_steps", |u| {
            u.canary_steps = vec![10];
            step(u);
        }),
        ("steps[0].weight_per_mille: 1001 is not a share in thousandths", |u| {
            step(u).weight_per_mille = Some(1001);
        }),
        ("steps[0].hold_ms: 99999999999 ms is longer than a year", |u| {
            step(u).hold_ms = 99_999_999_999;
        }),
        ("steps[0].route: needs the proxy", |u| {
            step(u).route.insert("header".into(), "x".into());
        }),
        ("steps[0].mirror_per_mille: needs the proxy", |u| step(u).mirror_per_mille = Some(1)),
        ("on_update: \"maybe\" is not known here: write replace or queue or reject", |u| {
            u.on_update = Some("maybe".into());
        }),
        ("profile: there is no profile \"slow\": write one of default, llm", |u| {
            u.profile = Some("slow".into());
        }),
    ];
    for (says, change) in cases {
        let refused = refused(change);
        assert!(refused.starts_with(says), "{refused}");
    }
}

#[test]
fn limits_that_let_nothing_be_replaced_are_refused_with_the_way_out() {
    let config = v1::UpdateConfig { max_surge: Some(0), ..Default::default() };
    let template = v1::TaskTemplate { image: "web:v1".into(), ..Default::default() };
    let spec = v1::ServiceSpec {
        name: "web".into(),
        template: Some(template),
        update_config: Some(config),
        ..Default::default()
    };
    let error = spec::parse(spec).unwrap_err();
    assert_eq!(error.field, "update_config.max_surge, max_unavailable");
    assert!(error.problem.starts_with("both are 0"), "{error}");
    assert!(error.problem.contains("max surge 1"), "{error}");
}

#[test]
fn the_sugar_of_canaries_is_refused_beside_another_strategy() {
    use warren_core::spec::Strategy;
    let config = v1::UpdateConfig { canary_steps: vec![5, 100], ..Default::default() };
    update::check_sugar(&config, Strategy::Canary).unwrap();
    for strategy in [Strategy::Rolling, Strategy::BlueGreen, Strategy::Recreate] {
        let error = update::check_sugar(&config, strategy).unwrap_err();
        assert_eq!(error.field, "canary_steps");
        assert!(error.problem.contains("the strategy canary"), "{error}");
    }
}
