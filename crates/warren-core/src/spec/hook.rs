//! Who is told of a rollout, and who is asked.

use super::FieldError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Hooks of one service.
pub const HOOKS_MAX: usize = 16;
/// The longest wait for one answer of a hook: a gate that takes longer calls back by an approval instead.
pub const HOOK_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// The longest key of a hook: the block size of SHA-256, beyond which HMAC hashes a key anyway.
pub const HOOK_KEY_BYTES_MAX: usize = 64;
/// The longest address of a hook.
pub(super) const HOOK_URL_BYTES_MAX: usize = 2048;

/// When a hook is called. The first four are gates: the rollout waits for an answer of 2xx, and anything else fails the
/// step. The last two only tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum HookPoint {
    /// Before anything changes.
    PreRollout,
    /// At the gate of each step.
    PerStep,
    /// Before the new revision gets all traffic.
    PrePromote,
    /// Once the new revision has had all traffic for its time, before it is accepted.
    PostPromote,
    /// When a rollback begins.
    Rollback,
    /// At every change of a rollout.
    Event,
}

impl HookPoint {
    /// All of them, in the order in which a rollout comes to them.
    pub const ALL: [Self; 6] = [
        Self::PreRollout,
        Self::PerStep,
        Self::PrePromote,
        Self::PostPromote,
        Self::Rollback,
        Self::Event,
    ];

    /// Whether a rollout waits for the answer.
    #[must_use]
    pub const fn is_gate(self) -> bool {
        match self {
            Self::PreRollout | Self::PerStep | Self::PrePromote | Self::PostPromote => true,
            Self::Rollback | Self::Event => false,
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreRollout => "pre_rollout",
            Self::PerStep => "per_step",
            Self::PrePromote => "pre_promote",
            Self::PostPromote => "post_promote",
            Self::Rollback => "rollback",
            Self::Event => "event",
        })
    }
}

impl std::str::FromStr for HookPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|point| point.to_string() == text).ok_or_else(|| {
            let all = Self::ALL.map(|point| point.to_string()).join(", ");
            format!("{text:?} is no point of a rollout: write one of {all}")
        })
    }
}

/// How a hook is written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum HookFormat {
    /// A JSON document with every fact. The default.
    #[default]
    Json,
    /// `{"text": …}`, which Slack and those that copy it show as a message.
    Slack,
}

/// The address of a hook: `http://` or `https://`, without a user or a fragment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HookUrl(String);

impl HookUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let refuse = |why: &str| Err(format!("{text:?} is not the address of a hook: {why}"));
        let Some(rest) = rest else {
            return refuse("write http://HOST/PATH or https://HOST/PATH");
        };
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        if text.len() > HOOK_URL_BYTES_MAX {
            let most = format!("longer than {HOOK_URL_BYTES_MAX} bytes");
            return Err(format!("the address of the hook is {most}"));
        }
        if host.is_empty() {
            return refuse("it names no host");
        }
        if host.contains('@') {
            return refuse("a user and password have no place in it: give the hook a key");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
            return refuse("spaces, fragments and other than ASCII must be percent-encoded");
        }
        Ok(Self(text.to_owned()))
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HookUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<HookUrl> for String {
    fn from(url: HookUrl) -> Self {
        url.0
    }
}

impl std::str::FromStr for HookUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a hook's requests are signed with. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookKey(pub String);

impl fmt::Debug for HookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookKey(…)")
    }
}

/// Somebody who is told or asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hook {
    /// When.
    pub on: HookPoint,
    /// Where.
    pub url: HookUrl,
    /// How long one attempt may take. Default [`Hook::TIMEOUT`].
    pub timeout: Duration,
    /// In which form.
    pub format: HookFormat,
    /// Signs the body with HMAC-SHA-256; unsigned where absent.
    pub key: Option<HookKey>,
}

impl Hook {
    /// The default wait for one answer.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// A hook with every default.
    #[must_use]
    pub const fn new(on: HookPoint, url: HookUrl) -> Self {
        Self { on, url, timeout: Self::TIMEOUT, format: HookFormat::Json, key: None }
    }

    pub(super) fn check(&self) -> Result<(), FieldError> {
        if self.timeout.is_zero() || self.timeout > HOOK_TIMEOUT_MAX {
            let problem = format!("write more than 0 and at most {} s", HOOK_TIMEOUT_MAX.as_secs());
            return Err(FieldError::new("timeout", problem));
        }
        let long = self.key.as_ref().is_some_and(|key| key.0.len() > HOOK_KEY_BYTES_MAX);
        if long || self.key.as_ref().is_some_and(|key| key.0.is_empty()) {
            let problem = format!("write 1 to {HOOK_KEY_BYTES_MAX} bytes");
            return Err(FieldError::new("key", problem));
        }
        if self.format == HookFormat::Slack && self.on.is_gate() {
            let problem = format!(
                "{} is a gate, and a chat cannot answer one: use the point event or rollback",
                self.on
            );
            return Err(FieldError::new("format", problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_refused_with_the_way_out() {
        for (wrong, says) in [
            ("ftp://a", "http://HOST"),
            ("http:///x", "no host"),
            ("https://me:pw@a/x", "give the hook a key"),
            ("http://a/x y", "percent-encoded"),
            ("http://a/#top", "percent-encoded"),
        ] {
            let refused = HookUrl::parse(wrong).unwrap_err();
            assert!(refused.contains(says), "{wrong}: {refused}");
        }
        assert_eq!(HookUrl::parse("https://a:8/x?y=1").unwrap().as_str(), "https://a:8/x?y=1");
    }

    #[test]
    fn a_key_is_never_printed() {
        let mut hook = Hook::new(HookPoint::Event, HookUrl::parse("http://a").unwrap());
        hook.key = Some(HookKey("canary-value".to_owned()));
        assert!(!format!("{hook:?}").contains("canary-value"));
    }

    #[test]
    fn points_read_what_they_print() {
        for point in HookPoint::ALL {
            assert_eq!(point.to_string().parse(), Ok(point));
        }
    }
}
