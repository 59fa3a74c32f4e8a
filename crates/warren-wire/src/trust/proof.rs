//! Whether a node lives: whether somebody at its address proves to have its key.

use super::authority::first_certificate;
use super::tls::{PROTOCOL, provider, roots};
use super::{Credentials, TrustError, node_name};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a node has to prove that it lives, the connection included: one lost packet is sent again within it, and
/// the answer is there before the leader asks again.
pub const PROOF_TIMEOUT: Duration = Duration::from_secs(2);

/// Has `node` (as in `n3`) prove at `address` that it lives. A handshake does: the kernel takes a connection for a
/// process that stands still, and only the process has the key. Nothing else is said, and the connection ends.
///
/// # Errors
/// Nobody answers within [`PROOF_TIMEOUT`], or somebody else.
pub async fn prove(address: &str, node: &str, own: &Credentials) -> Result<(), TrustError> {
    let failed = |why: &dyn std::fmt::Display| TrustError::Handshake(format!("{address}: {why}"));
    let roots = roots(first_certificate(&own.authority)?)?;
    let (chain, key) = own.chain()?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TrustError::certificate("set up TLS", error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| TrustError::certificate("use the certificate", error))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let name = ServerName::try_from(node_name(node)).map_err(|error| failed(&error))?;
    let shaken = timeout(PROOF_TIMEOUT, async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await
    });
    let late = |_| failed(&format!("no answer within {PROOF_TIMEOUT:?}"));
    shaken.await.map_err(late)?.map(drop).map_err(|error| failed(&error))
}
