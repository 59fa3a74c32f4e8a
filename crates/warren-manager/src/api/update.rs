//! What an update makes of a spec. Pure.

use warren_core::spec::{Hook, Image, PullPolicy, ServiceSpec};
use warren_wire::convert::{self, spec, text};
use warren_wire::status::ApiError;
use warren_wire::v1;

/// The spec that `request` asks for, laid over `current`. What it was pinned to is carried over from `current`:
/// [`resolution`] says whether that still holds.
///
/// # Errors
/// A field that cannot be what it is, or nothing to change.
pub(super) fn overlay(
    current: &ServiceSpec,
    request: &v1::UpdateServiceRequest,
) -> Result<ServiceSpec, ApiError> {
    let nothing = request.image.is_empty()
        && request.strategy.is_none()
        && request.update_config.is_none()
        && request.spec.is_none();
    if nothing {
        let problem = "says nothing: give an image, a strategy, update settings or a whole spec";
        return Err(ApiError::field("spec", problem));
    }
    let mut next = match request.spec.clone() {
        Some(mut wanted) => {
            if wanted.name.is_empty() {
                wanted.name = current.name.to_string();
            }
            parse(wanted, &current.update.hooks)?
        }
        None => current.clone(),
    };
    next.template.pinned.clone_from(&current.template.pinned);
    if !request.image.is_empty() {
        next.template.image = text("image", &request.image)?;
    }
    if let Some(config) = &request.update_config {
        next.update = convert::update::merge(next.update, config)
            .map_err(|error| error.within("update_config"))?;
    }
    // After the settings: a profile among them has a strategy too.
    if let Some(strategy) = request.strategy {
        next.update.strategy = spec::strategy("strategy", strategy)?;
    }
    if let Some(config) = &request.update_config {
        convert::update::check_sugar(config, next.update.strategy)
            .map_err(|error| error.within("update_config"))?;
    }
    Ok(next.checked()?)
}

/// Reads a whole spec out of a request. Hidden keys of hooks mean those of the hooks `present`.
///
/// # Errors
/// A field that cannot be what it is.
pub(super) fn parse(wanted: v1::ServiceSpec, present: &[Hook]) -> Result<ServiceSpec, ApiError> {
    let mut spec = spec::parse_over(wanted, present).map_err(|error| error.within("spec"))?;
    spec.template.pinned = None;
    Ok(spec)
}

/// Which image a node must be asked about before `next` replaces `current`; nothing where what was pinned still holds.
/// An image that the caller names is always asked about: a tag may have moved.
pub(super) fn resolution(
    current: &ServiceSpec,
    next: &ServiceSpec,
    named: bool,
) -> Option<(Image, PullPolicy)> {
    let (old, new) = (&current.template, &next.template);
    let changed = old != new;
    let stale = old.image != new.image || old.pinned.is_none() || new.pull == PullPolicy::Always;
    (named || (changed && stale)).then(|| (new.image.clone(), new.pull))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_core::spec::{HookKey, HookPoint, HookUrl, PinnedImage, Strategy};
    use warren_wire::status::Code;

    fn current() -> ServiceSpec {
        let template = v1::TaskTemplate { image: "web:v1".into(), ..Default::default() };
        let spec =
            v1::ServiceSpec { name: "web".into(), template: Some(template), ..Default::default() };
        let mut spec = spec::parse(spec).unwrap();
        spec.template.pinned = Some(PinnedImage("sha256:1".into()));
        spec
    }

    fn image(image: &str) -> v1::UpdateServiceRequest {
        v1::UpdateServiceRequest { image: image.into(), ..Default::default() }
    }

    #[test]
    fn an_image_changes_the_image_and_nothing_else() {
        let next = overlay(&current(), &image("web:v2")).unwrap();
        let mut expected = current();
        expected.template.image = "web:v2".parse().unwrap();
        assert_eq!(next, expected);
        assert_eq!(resolution(&current(), &next, true).unwrap().0.as_str(), "web:v2");
    }

    #[test]
    fn numbers_are_laid_over_a_whole_spec() {
        let mut wanted = spec::render(&current());
        wanted.name = String::new();
        wanted.template.as_mut().unwrap().env.insert("A".into(), "1".into());
        let config = v1::UpdateConfig { parallelism: Some(7), ..Default::default() };
        let request = v1::UpdateServiceRequest {
            spec: Some(wanted),
            update_config: Some(config),
            ..image("web:v3")
        };
        let next = overlay(&current(), &request).unwrap();
        assert_eq!(next.template.env["A"], "1");
        assert_eq!(next.template.image.as_str(), "web:v3");
        assert_eq!(next.update.parallelism, 7);
    }

    #[test]
    fn what_was_pinned_holds_until_the_image_may_have_changed() {
        let now = current();
        assert_eq!(resolution(&now, &now, false), None, "nothing changed");
        assert!(resolution(&now, &now, true).is_some(), "the tag may have moved");
        let mut env = now.clone();
        env.template.env.insert("A".into(), "1".into());
        assert_eq!(resolution(&now, &env, false), None, "the image is the same");
        env.template.pull = PullPolicy::Always;
        assert!(resolution(&now, &env, false).is_some(), "the policy asks for it");
        let mut unpinned = now;
        unpinned.template.pinned = None;
        assert_eq!(resolution(&unpinned, &unpinned, false), None, "nothing changed");
    }

    #[test]
    fn a_strategy_goes_over_that_of_a_profile() {
        let config = v1::UpdateConfig { profile: Some("llm".into()), ..Default::default() };
        let mut request =
            v1::UpdateServiceRequest { update_config: Some(config), ..Default::default() };
        let next = overlay(&current(), &request).unwrap().update;
        assert_eq!(next.strategy, Strategy::Canary);
        assert_eq!(next.healthy_deadline.as_secs(), 30 * 60);
        request.strategy = Some(v1::DeploymentStrategy::BlueGreen.into());
        assert_eq!(overlay(&current(), &request).unwrap().update.strategy, Strategy::BlueGreen);
        request.strategy = Some(9);
        let error = overlay(&current(), &request).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("strategy"));
        assert_eq!(error.message, "9 is not known to this version of Warren");
    }

    #[test]
    fn a_spec_that_was_shown_keeps_the_keys_of_its_hooks() {
        let mut now = current();
        let mut hook = Hook::new(HookPoint::Event, HookUrl::parse("http://a/b").unwrap());
        hook.key = Some(HookKey("k".to_owned()));
        now.update.hooks = vec![hook];
        let wanted = spec::render(&now);
        let request = v1::UpdateServiceRequest { spec: Some(wanted), ..image("web:v2") };
        assert_eq!(overlay(&now, &request).unwrap().update, now.update);
    }

    #[test]
    fn an_update_that_says_nothing_is_refused() {
        let error = overlay(&current(), &v1::UpdateServiceRequest::default()).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
    }
}
