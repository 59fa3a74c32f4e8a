//! TLS between nodes: who may connect, whom one connects to, and the one connection that only knows a hash.

use super::authority::first_certificate;
use super::{NodeKey, TrustError, hex, to_pem};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroizing;

/// The name in the certificate of every manager: a worker cannot pose as one.
pub const MANAGER_NAME: &str = "manager.warren.internal";

/// How the name of a node in its certificate ends.
pub(super) const NODE_SUFFIX: &str = ".node.warren.internal";

/// gRPC needs HTTP/2.
pub(super) const PROTOCOL: &[u8] = b"h2";

/// How long a handshake may take: a second on a loaded machine far away, and no room for idlers.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The name of a node in its certificate; `node` as in `n3`.
#[must_use]
pub fn node_name(node: &str) -> String {
    format!("{node}{NODE_SUFFIX}")
}

/// Makes ring the process's cryptography. To be called first in `main`; a second call changes nothing.
pub fn install_provider() {
    // Somebody was first: it is the same, since only one is linked in.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What a node shows and whom it trusts.
#[derive(Clone)]
pub struct Credentials {
    /// The authority's certificate, PEM.
    pub authority: String,
    /// The node's own certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// The node's own certificate, DER.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn certificate_der(&self) -> Result<Vec<u8>, TrustError> {
        first_certificate(&self.certificate).map(|der| der.to_vec())
    }

    /// The authority's certificate, DER.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn authority_der(&self) -> Result<Vec<u8>, TrustError> {
        first_certificate(&self.authority).map(|der| der.to_vec())
    }

    /// What is shown, and its key.
    pub(super) fn chain(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TrustError> {
        // Whoever joins knows only a hash of the authority's certificate, so it is shown as well.
        let chain =
            vec![first_certificate(&self.certificate)?, first_certificate(&self.authority)?];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| TrustError::certificate("read the key", error))?;
        Ok((chain, key))
    }

    fn certified(&self) -> Result<CertifiedKey, TrustError> {
        let (chain, key) = self.chain()?;
        CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| TrustError::certificate("use the certificate", error))
    }
}

/// The certificate that a server shows, to be changed while it runs.
#[derive(Clone, Debug)]
pub struct Hot {
    current: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl Hot {
    /// Begins with these.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn new(credentials: &Credentials) -> Result<Self, TrustError> {
        let key = Arc::new(credentials.certified()?);
        Ok(Self { current: Arc::new(RwLock::new(key)) })
    }

    /// New connections are shown these from now on; those that stand go on.
    ///
    /// # Errors
    /// They cannot be read; the old ones stay.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), TrustError> {
        let key = Arc::new(credentials.certified()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = key;
        Ok(())
    }
}

impl ResolvesServerCert for Hot {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Takes connections in as a node: with the certificate in `hot`, from nodes whose certificates `authority` (PEM) has
/// signed, and from those that show none, which may do next to nothing.
///
/// # Errors
/// The authority's certificate cannot be used.
pub fn acceptor(authority: &str, hot: Hot) -> Result<TlsAcceptor, TrustError> {
    let roots = Arc::new(roots(first_certificate(authority)?)?);
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TrustError::certificate("use the authority's certificate", error))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TrustError::certificate("set up TLS", error))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(hot));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The authority that a manager showed, whose hash is the one that was expected.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Its certificate, PEM.
    pub authority: String,
}

/// Connects to `address`, of which only the hash of its authority's certificate is known, and returns that certificate.
/// Nothing is said to the other end.
///
/// # Errors
/// Nobody answers, or somebody else than a manager of that cluster.
pub async fn pin_authority(address: &str, hash: [u8; 32]) -> Result<Pinned, TrustError> {
    let failed = |why: String| TrustError::Handshake(format!("{address}: {why}"));
    let connect = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| failed(format!("cannot be reached: {error}")))?;
        let seen = Arc::new(Mutex::new(None));
        let pin = Pin { hash, seen: Arc::clone(&seen) };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TrustError::certificate("set up TLS", error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pin))
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let name = ServerName::try_from(MANAGER_NAME).map_err(|error| failed(error.to_string()))?;
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        shaken.map_err(|error| failed(told(&error)))?;
        let found = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.ok_or_else(|| failed("it showed no certificate".to_owned()))
    };
    let found = timeout(HANDSHAKE_TIMEOUT, connect).await;
    let found = found.map_err(|_| failed(format!("no answer within {HANDSHAKE_TIMEOUT:?}")))??;
    Ok(Pinned { authority: to_pem(&found) })
}

/// A handshake's error in words for people.
fn told(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::General(why)) => why.clone(),
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidYet
            | rustls::CertificateError::NotValidYetContext { .. }
            | rustls::CertificateError::Expired
            | rustls::CertificateError::ExpiredContext { .. },
        )) => "its certificate is not valid now: compare the clocks of both machines".to_owned(),
        Some(rustls::Error::InvalidCertificate(_)) => {
            "its certificate is not that of a manager".to_owned()
        }
        Some(rustls::Error::InvalidMessage(_)) => "this is not the port of a Warren".to_owned(),
        Some(error) => error.to_string(),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "it closed the connection: is this the port of a Warren?".to_owned()
        }
        None => error.to_string(),
    }
}

/// Trusts who shows an authority with the right hash and a certificate that it signed for a manager.
#[derive(Debug)]
struct Pin {
    hash: [u8; 32],
    seen: Arc<Mutex<Option<CertificateDer<'static>>>>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_it = |shown: &&CertificateDer<'_>| {
            <[u8; 32]>::from(Sha256::digest(shown.as_ref())) == self.hash
        };
        let Some(authority) = intermediates.iter().find(is_it) else {
            return Err(rustls::Error::General(format!(
                "it belongs to another cluster than the token, which names the authority {}…: use the token of \
                 that cluster",
                hex(&self.hash[..4])
            )));
        };
        let authority = authority.clone().into_owned();
        let general = |error: TrustError| rustls::Error::General(error.to_string());
        let roots = Arc::new(roots(authority.clone()).map_err(general)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified =
            verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(authority);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn roots(authority: CertificateDer<'static>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(authority)
        .map_err(|error| TrustError::certificate("use the authority's certificate", error))?;
    Ok(roots)
}

impl NodeKey {
    /// What the node shows, with a certificate for this key.
    #[must_use]
    pub fn credentials(&self, authority: String, certificate: String) -> Credentials {
        Credentials { authority, certificate, key: self.to_pem() }
    }
}
