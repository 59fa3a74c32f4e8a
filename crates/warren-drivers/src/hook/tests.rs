//! The contract of hooks, for the real ones and for the fake, and what only the real ones can show.

use super::fake::{Answer, FakeHooks, Receiver, Script, serve};
use super::*;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use warren_core::id::{NoticeId, RevisionNumber, RolloutId, ServiceId};
use warren_core::rollout::{Back, Happened, Moment, Phase, Trigger};
use warren_core::service::Actor;
use warren_core::spec::{
    Hash, Hook, HookFormat, HookKey, HookPoint, HookUrl, Image, PinnedImage, ServiceName, Strategy,
};
use warren_core::time::{ClusterTime, WallTime};
use warren_core::units::Weight;

fn notice(url: &str) -> Notice {
    let mut hook = Hook::new(HookPoint::Rollback, HookUrl::parse(url).unwrap());
    hook.timeout = Duration::from_secs(20);
    let reason = "2 of 3 tasks <ended>".to_owned();
    let what = Happened::Aborted { trigger: Trigger::HealthCheck, reason, back: Back::Immediate };
    Notice {
        id: NoticeId(9),
        hook,
        service: ServiceId(3),
        name: ServiceName::parse("web").unwrap(),
        rollout: RolloutId(7),
        attempt: 2,
        strategy: Strategy::Canary,
        phase: Phase::Holding,
        step: 1,
        weight: Weight::from_per_mille(125).unwrap(),
        from: Some(RevisionNumber(1)),
        to: RevisionNumber(2),
        checksum: Hash([0xab; 32]),
        image: Image::parse("web:v2").unwrap(),
        pinned: Some(PinnedImage("web@sha256:00".to_owned())),
        moment: Moment {
            at: ClusterTime::START,
            wall: WallTime(1_500),
            by: Actor::named("mira".to_owned()),
            what,
        },
    }
}

/// Some hooks, and the address of their script's paths.
struct Stage<'a> {
    hooks: &'a dyn Hooks,
    script: &'a Script,
    base: String,
}

impl Stage<'_> {
    async fn call(&self, path: &str, answer: Answer, timeout: Duration) -> Result<(), HookError> {
        self.script.answer(path, [answer]);
        let mut notice = notice(&format!("{}{path}", self.base));
        notice.hook.timeout = timeout;
        self.hooks.call(&notice).await
    }

    /// What every implementation does.
    async fn keeps_the_contract(&self) {
        let long = Duration::from_secs(20);
        let status = |code, body: &str| Answer::Status(code, body.to_owned());
        for yes in [Answer::yes(), status(204, ""), Answer::Flood(10 << 20)] {
            assert_eq!(self.call("/yes", yes.clone(), long).await, Ok(()), "{yes:?}");
        }
        for (answer, says, may_pass) in [
            (status(500, "no\n  disk\u{7}"), "500 Internal Server Error: no disk", true),
            (status(429, ""), "429 Too Many Requests", true),
            (status(403, "load test: p99 is 2 s"), "403 Forbidden: load test: p99 is 2 s", false),
            (Answer::Redirect, "redirects are not followed", false),
            (Answer::Close, "was not reached", true),
        ] {
            let error = self.call("/no", answer.clone(), long).await.unwrap_err();
            assert!(error.to_string().contains(says), "{answer:?}: {error}");
            assert_eq!(error.may_pass(), may_pass, "{answer:?}");
        }
        let long_words = self.call("/no", status(400, &"ä".repeat(9_000)), long).await.unwrap_err();
        assert!(long_words.to_string().len() < 2 * REASON_BYTES_MAX, "{long_words}");
        for hangs in [Answer::Hang, Answer::HangInBody] {
            let short = Duration::from_millis(80);
            let error = self.call("/hangs", hangs, short).await.unwrap_err();
            assert!(error.to_string().contains("did not answer within 80ms"), "{error}");
            assert!(error.may_pass());
        }
        self.sends_the_message().await;
    }

    async fn sends_the_message(&self) {
        let mut signed = notice(&format!("{}/signed?channel=releases", self.base));
        signed.hook.key = Some(HookKey("Jefe".to_owned()));
        self.hooks.call(&signed).await.unwrap();
        let heard = self.script.heard().borrow().last().cloned().unwrap();
        assert_eq!(heard, ("/signed?channel=releases".to_owned(), Message::of(&signed)));
    }
}

// req: D25
#[tokio::test]
async fn real_hooks_keep_the_contract() {
    let receiver = Receiver::start(Script::default()).await.unwrap();
    let hooks = HttpHooks::trusting(Vec::new());
    let (base, script) = (receiver.url(""), &receiver.script);
    Stage { hooks: &hooks, script, base }.keeps_the_contract().await;
    let asked = receiver.script.heard().borrow().iter().any(|(path, _)| path == "/elsewhere");
    assert!(!asked, "a redirect was followed");
}

#[tokio::test(start_paused = true)]
async fn fake_hooks_keep_the_contract() {
    let hooks = FakeHooks::default();
    let (base, script) = ("http://127.0.0.1:1".to_owned(), &hooks.script);
    Stage { hooks: &hooks, script, base }.keeps_the_contract().await;
}

// req: D25 D26
#[test]
fn a_message_says_all_and_why() {
    let message = Message::of(&notice("http://a"));
    let said: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
    let checksum = "ab".repeat(32);
    let wanted = serde_json::json!({
        "id": "h9", "event": "rollback", "rollout": "r7", "attempt": 2,
        "service": "web", "service_id": "s3", "from_revision": "v1", "to_revision": "v2",
        "image": "web:v2", "digest": "web@sha256:00", "checksum": checksum,
        "strategy": "canary", "phase": "holding", "step": 1, "weight": 12.5,
        "action": "aborted",
        "text": "goes back at once: 2 of 3 tasks <ended>",
        "trigger": "health_check", "reason": "2 of 3 tasks <ended>", "actor": "mira",
        "at": "1970-01-01T00:00:01.500Z", "at_unix_ms": 1500,
    });
    assert_eq!(said, wanted);
    let header = |name: &str| message.headers.iter().find(|(is, _)| *is == name);
    assert_eq!(header("x-warren-event").unwrap().1, "rollback");
    assert_eq!(header("idempotency-key").unwrap().1, "h9");
    assert_eq!(header("x-warren-signature"), None, "it has no key");
}

// req: D26 D42
#[test]
fn a_chat_is_told_version_and_reason_in_one_line() {
    let mut notice = notice("http://a");
    notice.hook.format = HookFormat::Slack;
    let said: serde_json::Value = serde_json::from_slice(&Message::of(&notice).body).unwrap();
    let text = "web v1 → v2 (web:v2, canary, r7, by mira): \
                goes back at once: 2 of 3 tasks &lt;ended&gt;";
    assert_eq!(said, serde_json::json!({ "text": text }));
}

#[tokio::test]
async fn https_hooks_are_called_where_the_certificate_is_trusted() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Script::default();
    let answers = script.clone();
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = serve(stream, &answers).await;
            }
        }
    });
    let notice = notice(&format!("https://localhost:{port}/x"));
    HttpHooks::trusting(vec![certificate]).call(&notice).await.unwrap();
    assert_eq!(script.heard().borrow().len(), 1);
    let refused = HttpHooks::trusting(Vec::new()).call(&notice).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    assert_eq!(script.heard().borrow().len(), 1, "a stranger was told");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_host_alone() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let notice = notice(&format!("http://127.0.0.1:{port}/secret-path"));
    let error = HttpHooks::trusting(Vec::new()).call(&notice).await.unwrap_err();
    assert!(error.may_pass());
    assert!(error.to_string().starts_with("127.0.0.1 was not reached: "), "{error}");
    assert!(!error.to_string().contains("secret-path"), "{error}");
}
