//! Who is told of a release, and who is asked. The key of a hook is read and never shown.

use super::{NOT_ZERO, given, item, span, text, word};
use crate::v1;
use warren_core::spec::{FieldError, Hook, HookFormat, HookKey};
use warren_core::time::millis;

/// What stands for a key in answers, and in a request for the key that is there.
pub const HIDDEN_KEY: &str = "***";

const FORMATS: [(&str, HookFormat); 2] = [("json", HookFormat::Json), ("slack", HookFormat::Slack)];

/// Reads hooks. A hidden key means that of the hook in `present` with the same point and address.
///
/// # Errors
/// The first field that cannot be what it is, or a hidden key where there is none.
pub fn parse_all(hooks: &v1::Hooks, present: &[Hook]) -> Result<Vec<Hook>, FieldError> {
    let hooks = hooks.hooks.iter().enumerate();
    hooks.map(|(i, hook)| parse(hook, present).map_err(|e| item(e, "hooks", i))).collect()
}

fn parse(hook: &v1::Hook, present: &[Hook]) -> Result<Hook, FieldError> {
    let mut parsed = Hook::new(text("on", &hook.on)?, text("url", &hook.url)?);
    parsed.timeout = span("timeout_ms", hook.timeout_ms, NOT_ZERO, Hook::TIMEOUT)?;
    if !hook.format.is_empty() {
        parsed.format = word("format", &hook.format, &FORMATS)?;
    }
    parsed.key = match given(hook.key.clone()) {
        Some(key) if key == HIDDEN_KEY => {
            let same = |old: &&Hook| old.on == parsed.on && old.url == parsed.url;
            let key = present.iter().find(same).and_then(|old| old.key.clone());
            let missing = || {
                let problem = format!(
                    "{HIDDEN_KEY} keeps the key that is there, and no {} hook of this address has one: write the key",
                    parsed.on
                );
                FieldError::new("key", problem)
            };
            Some(key.ok_or_else(missing)?)
        }
        key => key.map(HookKey),
    };
    Ok(parsed)
}

/// The message that parses to `hooks` where these are present.
#[must_use]
pub fn render_all(hooks: &[Hook]) -> v1::Hooks {
    v1::Hooks { hooks: hooks.iter().map(render).collect() }
}

fn render(hook: &Hook) -> v1::Hook {
    let format = match hook.format {
        HookFormat::Json => "json",
        HookFormat::Slack => "slack",
    };
    v1::Hook {
        on: hook.on.to_string(),
        url: hook.url.to_string(),
        timeout_ms: Some(millis(hook.timeout)),
        format: format.to_owned(),
        key: hook.key.as_ref().map(|_| HIDDEN_KEY.to_owned()).unwrap_or_default(),
    }
}
