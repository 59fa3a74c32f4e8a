//! Who is who in a cluster: keys, certificates, join tokens, and the TLS between nodes.
//!
//! A cluster has one [`Authority`]. A node makes its [`NodeKey`] itself and never gives it away; it shows a
//! [`JoinToken`], sends a request, and gets a certificate for its key. A certificate says that the cluster knows the
//! key, which node has it and whether that node may speak as a manager; what it may do is in the cluster's state.

mod authority;
mod key;
mod peer;
mod proof;
mod seal;
mod tls;
mod token;

pub use authority::{Authority, CERTIFICATE_LIFE, CertificateRequest, Subject, renew_after};
pub use key::{Fingerprint, InvalidFingerprint, NodeKey};
pub use peer::{Peer, Validity, peer_of, validity_of};
pub use proof::{PROOF_TIMEOUT, prove};
pub use seal::{SealKey, Sealed};
pub use tls::{
    Credentials, HANDSHAKE_TIMEOUT, Hot, MANAGER_NAME, Pinned, acceptor, install_provider,
    node_name, pin_authority,
};
pub use token::{AccessToken, JoinToken, TokenError, TokenSecret};

/// Why keys or certificates are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A certificate, key or request that cannot be read or made.
    #[error("{what}: {why}")]
    Certificate {
        /// What was being done, as in `read the certificate`.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes: {0}")]
    Random(String),
    /// Something sealed that this key does not open.
    #[error("the sealed data does not open: it is damaged, or sealed by another cluster's key")]
    Sealed,
    /// The other end of a connection is not who it should be.
    #[error("{0}")]
    Handshake(String),
}

impl TrustError {
    fn certificate(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Certificate { what, why: why.to_string() }
    }
}

/// Random bytes from the kernel.
///
/// # Errors
/// The kernel gives none.
pub fn random<const N: usize>() -> Result<[u8; N], TrustError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| TrustError::Random(error.to_string()))?;
    Ok(bytes)
}

/// SHA-256 of `bytes`, as tokens name an authority by its certificate (DER).
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

/// A certificate (DER) in PEM.
#[must_use]
pub fn to_pem(certificate: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate))
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Hexadecimal digits as bytes; `None` where they are something else or another number of them.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
