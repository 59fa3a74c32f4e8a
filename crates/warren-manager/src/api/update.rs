//! What an update makes of a spec. Pure.

use warren_core::spec::{Image, PullPolicy, ServiceSpec, Strategy};
use warren_wire::convert::{self, spec, text};
use warren_wire::status::ApiError;
use warren_wire::v1;

/// The spec that `request` asks for, laid over `current`. What it was pinned to is carried over from `current`:
/// [`resolution`] says whether that still holds.
///
/// # Errors
/// A field that cannot be what it is, a strategy that is not built, or nothing to change.
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
            parse(wanted)?
        }
        None => current.clone(),
    };
    next.template.pinned.clone_from(&current.template.pinned);
    if !request.image.is_empty() {
        next.template.image = text("image", &request.image)?;
    }
    if let Some(strategy) = request.strategy {
        next.update.strategy = spec::strategy("strategy", strategy)?;
    }
    if let Some(config) = &request.update_config {
        check_canary(config)?;
        next.update = convert::update::merge(next.update, config)
            .map_err(|error| error.within("update_config"))?;
    }
    check_strategy(next.update.strategy)?;
    Ok(next.checked()?)
}

/// Reads a whole spec out of a request.
///
/// # Errors
/// A field that cannot be what it is, or a strategy that is not built.
pub(super) fn parse(wanted: v1::ServiceSpec) -> Result<ServiceSpec, ApiError> {
    if let Some(config) = &wanted.update_config {
        check_canary(config)?;
    }
    let mut spec = spec::parse(wanted).map_err(|error| error.within("spec"))?;
    spec.template.pinned = None;
    check_strategy(spec.update.strategy)?;
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

fn check_strategy(strategy: Strategy) -> Result<(), ApiError> {
    match strategy {
        Strategy::Rolling => Ok(()),
        Strategy::BlueGreen | Strategy::Canary | Strategy::Recreate => {
            Err(ApiError::unbuilt(format!("{strategy} rollouts are"), "use --strategy rolling"))
        }
    }
}

fn check_canary(config: &v1::UpdateConfig) -> Result<(), ApiError> {
    match convert::update::canary_field(config) {
        None => Ok(()),
        Some(field) => {
            let mut error = ApiError::unbuilt("canary rollouts are", "leave this setting out");
            error.field = Some(format!("update_config.{field}"));
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_core::spec::PinnedImage;
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
    fn what_is_not_built_is_refused_with_what_to_use_instead() {
        let blue = v1::DeploymentStrategy::BlueGreen.into();
        let request = v1::UpdateServiceRequest { strategy: Some(blue), ..Default::default() };
        let error = overlay(&current(), &request).unwrap_err();
        assert_eq!(error.code, Code::Unimplemented);
        let message = "blue-green rollouts are not built yet: use --strategy rolling";
        assert_eq!(error.message, message);
        let config = v1::UpdateConfig { canary_weight: Some(10), ..Default::default() };
        let request =
            v1::UpdateServiceRequest { update_config: Some(config), ..Default::default() };
        let error = overlay(&current(), &request).unwrap_err();
        assert_eq!(error.code, Code::Unimplemented);
        assert_eq!(error.field.as_deref(), Some("update_config.canary_weight"));
    }

    #[test]
    fn an_update_that_says_nothing_is_refused() {
        let error = overlay(&current(), &v1::UpdateServiceRequest::default()).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
    }
}
