//! What a hook is sent.

use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::Sha256;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};
use warren_core::notice::Notice;
use warren_core::rollout::Happened;
use warren_core::spec::HookFormat;
use warren_core::time::WallTime;

/// A request as it is sent: a POST with these headers and this body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Names in lower case, with their values.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

/// The JSON document. Programs of users read it: fields are added, never changed.
#[derive(Serialize)]
struct Facts<'a> {
    /// The notice's id: the same in each repetition.
    id: String,
    /// The point of the rollout, as in `pre_rollout`.
    event: String,
    rollout: String,
    attempt: u32,
    service: &'a str,
    service_id: String,
    /// Absent in a first deployment.
    from_revision: Option<String>,
    to_revision: String,
    image: String,
    /// What the image's name meant; absent where that is not known.
    digest: Option<String>,
    checksum: String,
    strategy: String,
    phase: String,
    /// From 1; 0 where the release has no steps.
    step: u32,
    /// The new revision's share in percent.
    weight: f32,
    /// What happened, in one word.
    action: String,
    /// What happened, in words.
    text: String,
    /// What set a way back off, as in `health_check`.
    trigger: Option<String>,
    /// Why it was paused, goes back, or ended.
    reason: Option<&'a str>,
    actor: &'a str,
    /// RFC 3339, UTC.
    at: String,
    at_unix_ms: u64,
}

impl Message {
    /// What is sent for `notice`.
    #[must_use]
    pub fn of(notice: &Notice) -> Self {
        let body = match notice.hook.format {
            HookFormat::Json => json(&Facts::of(notice)),
            HookFormat::Slack => json(&serde_json::json!({ "text": slack_text(notice) })),
        };
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", concat!("warren/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("x-warren-event", notice.hook.on.to_string()),
            ("idempotency-key", notice.id.to_string()),
        ];
        if let Some(key) = &notice.hook.key {
            headers.push(("x-warren-signature", signature(key.0.as_bytes(), &body)));
        }
        Self { headers, body }
    }
}

/// A document of texts and numbers always has a JSON form.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// `sha256=` and the HMAC-SHA-256 of `body` in hexadecimal digits.
fn signature(key: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(body);
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl<'a> Facts<'a> {
    fn of(notice: &'a Notice) -> Self {
        let (trigger, reason) = why(&notice.moment.what);
        Self {
            id: notice.id.to_string(),
            event: notice.hook.on.to_string(),
            rollout: notice.rollout.to_string(),
            attempt: notice.attempt,
            service: notice.name.as_str(),
            service_id: notice.service.to_string(),
            from_revision: notice.from.map(|from| from.to_string()),
            to_revision: notice.to.to_string(),
            image: notice.image.to_string(),
            digest: notice.pinned.as_ref().map(ToString::to_string),
            checksum: hex(&notice.checksum.0),
            strategy: notice.strategy.to_string(),
            phase: notice.phase.to_string(),
            step: notice.step,
            weight: f32::from(notice.weight.per_mille()) / 10.0,
            action: notice.moment.what.word(),
            text: notice.moment.what.to_string(),
            trigger,
            reason,
            actor: &notice.moment.by.name,
            at: rfc3339(notice.moment.wall),
            at_unix_ms: notice.moment.wall.0,
        }
    }
}

fn why(what: &Happened) -> (Option<String>, Option<&str>) {
    match what {
        Happened::Aborted { trigger, reason, .. } => (Some(trigger.to_string()), Some(reason)),
        Happened::Paused { reason, .. } | Happened::Ended { reason, .. } => (None, Some(reason)),
        Happened::SlotFailed { why, .. }
        | Happened::HookFailed { why, .. }
        | Happened::Unqueued { why, .. } => (None, Some(why)),
        Happened::FreezeOverridden { reason } => (None, Some(reason)),
        Happened::Started
        | Happened::Entered { .. }
        | Happened::Shifted { .. }
        | Happened::Resumed
        | Happened::Promoted { .. }
        | Happened::Approved { .. }
        | Happened::HooksCalled { .. }
        | Happened::Accepted
        | Happened::Retried { .. } => (None, None),
    }
}

fn rfc3339(at: WallTime) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at.0));
    // The formatter knows the years up to 9999.
    let last = Duration::from_secs(253_402_300_799);
    let at = at.filter(|at| *at < SystemTime::UNIX_EPOCH + last);
    at.map_or_else(String::new, |at| humantime::format_rfc3339_millis(at).to_string())
}

/// One line: who, from where to where, what. Slack gives `&`, `<` and `>` a meaning of their own.
fn slack_text(notice: &Notice) -> String {
    let from = notice.from.map_or_else(String::new, |from| format!("{from} → "));
    let (name, to, image) = (&notice.name, notice.to, &notice.image);
    let (rollout, strategy, what) = (notice.rollout, notice.strategy, &notice.moment.what);
    let by = if notice.moment.by.is_person() {
        format!(", by {}", notice.moment.by)
    } else {
        String::new()
    };
    let text = format!("{name} {from}{to} ({image}, {strategy}, {rollout}{by}): {what}");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        let jefe = signature(b"Jefe", b"what do ya want for nothing?");
        let wanted = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(jefe, wanted);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(WallTime(1_000)), "1970-01-01T00:00:01.000Z");
        assert_eq!(rfc3339(WallTime(u64::MAX)), "");
    }
}
