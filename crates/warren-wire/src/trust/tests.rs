//! Trust as its users see it: who gets in, who does not, and what they are told.

use super::*;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Site {
    authority: Authority,
    pem: String,
}

impl Site {
    fn new() -> Self {
        let authority = Authority::generate("00c0ffee00c0ffee", SystemTime::now()).unwrap();
        let pem = to_pem(authority.certificate());
        Self { authority, pem }
    }

    fn node(&self, node: &str, manager: bool, made: SystemTime) -> Credentials {
        let key = NodeKey::generate().unwrap();
        let request = CertificateRequest::parse(&key.request().unwrap()).unwrap();
        let subject = Subject { node: node.to_owned(), manager };
        let certificate = self.authority.sign(&request, &subject, made, CERTIFICATE_LIFE).unwrap();
        key.credentials(self.pem.clone(), certificate)
    }

    fn hash(&self) -> [u8; 32] {
        use sha2::Digest;
        sha2::Sha256::digest(self.authority.certificate()).into()
    }

    /// A manager that takes one connection, and its address.
    async fn serve(&self, credentials: &Credentials) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acceptor = acceptor(&self.pem, Hot::new(credentials).unwrap()).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 1]).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }
}

#[test]
fn a_certificate_names_its_node_and_only_managers_are_managers() {
    let site = Site::new();
    let now = SystemTime::now();
    for manager in [false, true] {
        let shown = site.node("n3", manager, now);
        let der = shown.certificate_der().unwrap();
        let peer = peer_of(&der).unwrap();
        assert_eq!((peer.node.as_str(), peer.manager), ("n3", manager));
        assert_eq!(peer.key, NodeKey::from_pem(&shown.key).unwrap().fingerprint());
        let validity = validity_of(&der).unwrap();
        assert!(validity.from <= now && validity.to > now + Duration::from_secs(89 * 24 * 3_600));
        let second = Duration::from_secs(1);
        let half = now + CERTIFICATE_LIFE / 2;
        let renewal = validity.renewal(0);
        assert!(renewal > half - 2 * second && renewal < half + second, "from when it was made");
        assert!(validity.renewal(255) < validity.to);
    }
    assert!(peer_of(site.authority.certificate()).is_err(), "the authority is no node");
    assert!(peer_of(b"rubbish").is_err());
}

#[test]
fn a_request_is_worth_only_what_its_signature_says() {
    let key = NodeKey::generate().unwrap();
    let request = key.request().unwrap();
    assert_eq!(CertificateRequest::parse(&request).unwrap().fingerprint(), key.fingerprint());
    for at in 0..request.len() {
        let mut changed = request.clone();
        changed[at] ^= 1;
        if let Ok(parsed) = CertificateRequest::parse(&changed) {
            assert_eq!(parsed.fingerprint(), key.fingerprint(), "another key at byte {at}");
        }
    }
    assert!(CertificateRequest::parse(&vec![0x30; 5_000]).is_err());
    assert!(CertificateRequest::parse(&[]).is_err());
}

#[test]
fn an_authority_comes_back_from_its_parts_and_not_from_another_s() {
    let (one, two) = (Site::new(), Site::new());
    let again = Authority::open(one.authority.certificate(), one.authority.key()).unwrap();
    assert_eq!(again.certificate(), one.authority.certificate());
    let error = Authority::open(one.authority.certificate(), two.authority.key()).unwrap_err();
    assert!(error.to_string().contains("not that of the certificate"), "{error}");
}

#[test]
fn sealed_data_opens_with_its_key_and_purpose_only() {
    let (key, other) = (SealKey::generate().unwrap(), SealKey::generate().unwrap());
    let sealed = key.seal("authority", b"a secret").unwrap();
    assert_eq!(key.open("authority", &sealed).unwrap().as_slice(), b"a secret");
    assert!(!sealed.windows(8).any(|window| window == b"a secret"));
    assert_ne!(sealed, key.seal("authority", b"a secret").unwrap(), "a nonce is never used twice");
    assert!(other.open("authority", &sealed).is_err());
    assert!(key.open("secrets", &sealed).is_err());
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(key.open("authority", &changed).is_err(), "changed at {at}");
        assert!(key.open("authority", &sealed[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(SealKey::parse(&key.to_text()).unwrap().to_text(), key.to_text());
    assert!(!format!("{key:?}").contains(&**key.to_text()));
}

#[test]
fn tokens_read_what_they_print_and_errors_do_not_repeat_them() {
    let token = JoinToken { authority: [7; 32], secret: TokenSecret::generate().unwrap() };
    let text = token.to_string();
    assert_eq!(text.parse(), Ok(token.clone()));
    assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
    for wrong in ["", "WRN-2-aa-bb", "hello", "SWMTKN-1-aa"] {
        let refused = wrong.parse::<JoinToken>();
        assert!(matches!(refused, Err(TokenError::Prefix { .. })), "{wrong}");
    }
    for cut in 7..text.len() {
        let refused = text[..cut].parse::<JoinToken>();
        assert!(matches!(refused, Err(TokenError::Parts { .. })), "cut at {cut}");
    }
    assert!(text.parse::<AccessToken>().is_err(), "one kind is not the other");
    let secret = token.secret.to_text();
    assert!(!format!("{token:?}").contains(&**secret), "a secret is not logged");
}

#[test]
fn renewals_are_spread_over_the_second_half_of_a_life() {
    let life = Duration::from_secs(1_000);
    assert_eq!(renew_after(life, 0), Duration::from_secs(500));
    assert_eq!(renew_after(life, 255), Duration::from_secs(800));
    assert!(renew_after(life, 128) > Duration::from_secs(640));
}

#[tokio::test]
async fn a_joiner_trusts_the_cluster_of_its_token_and_nobody_else() {
    install_provider();
    let (site, other) = (Site::new(), Site::new());
    let manager = site.node("n1", true, SystemTime::now());
    let address = site.serve(&manager).await;
    let pinned = pin_authority(&address, site.hash()).await.unwrap();
    assert_eq!(pinned.authority, site.pem);

    let address = site.serve(&manager).await;
    let error = pin_authority(&address, other.hash()).await.unwrap_err().to_string();
    assert!(error.contains("another cluster than the token"), "{error}");

    let worker = site.node("n2", false, SystemTime::now());
    let address = site.serve(&worker).await;
    let error = pin_authority(&address, site.hash()).await.unwrap_err().to_string();
    assert!(error.contains("not that of a manager"), "{error}");

    // An authority's certificate alone proves nothing: anybody has it.
    let mut posing = other.node("n1", true, SystemTime::now());
    posing.authority.clone_from(&site.pem);
    let address = site.serve(&posing).await;
    assert!(pin_authority(&address, site.hash()).await.is_err());
}

#[tokio::test]
async fn a_clock_that_is_off_and_a_port_of_somebody_else_are_told() {
    install_provider();
    let site = Site::new();
    let later = SystemTime::now() + Duration::from_secs(3 * 3_600);
    let address = site.serve(&site.node("n1", true, later)).await;
    let error = pin_authority(&address, site.hash()).await.unwrap_err().to_string();
    assert!(error.contains("compare the clocks"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let error = pin_authority(&address, site.hash()).await.unwrap_err().to_string();
    assert!(error.contains("not the port of a Warren"), "{error}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error = pin_authority(&closed, site.hash()).await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn only_the_node_itself_proves_that_it_lives() {
    let (site, other) = (Site::new(), Site::new());
    let now = SystemTime::now();
    let (own, worker) = (site.node("n1", false, now), site.node("n3", false, now));
    prove(&site.serve(&worker).await, "n3", &own).await.unwrap();
    assert!(prove(&site.serve(&worker).await, "n4", &own).await.is_err(), "it is another");
    let stranger = other.node("n3", true, now);
    assert!(prove(&other.serve(&stranger).await, "n3", &own).await.is_err(), "of another cluster");

    // A kernel that takes connections for a process that stands still.
    let still = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = still.local_addr().unwrap().to_string();
    let error = prove(&address, "n3", &own).await.unwrap_err().to_string();
    assert!(error.contains("no answer within"), "{error}");
    drop(still);
    let error = prove(&address, "n3", &own).await.unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
}
