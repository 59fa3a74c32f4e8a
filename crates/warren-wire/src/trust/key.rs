//! A node's key pair, and how a key is named.

use super::{TrustError, hex, unhex};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The SHA-256 of a public key (its SubjectPublicKeyInfo, RFC 5280 §4.1): how a node is known again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a public key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn of(public_key_info: &[u8]) -> Self {
        Self(Sha256::digest(public_key_info).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no fingerprint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a fingerprint: it has 64 hexadecimal digits")]
pub struct InvalidFingerprint(String);

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        unhex(text).map(Self).ok_or_else(|| InvalidFingerprint(text.chars().take(80).collect()))
    }
}

/// A private key (ECDSA P-256). It stays on the machine that made it.
pub struct NodeKey {
    pair: KeyPair,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.fingerprint())
    }
}

impl NodeKey {
    /// A new one.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn generate() -> Result<Self, TrustError> {
        let pair =
            KeyPair::generate().map_err(|error| TrustError::certificate("make a key", error))?;
        Ok(Self { pair })
    }

    /// Reads what [`Self::to_pem`] wrote.
    ///
    /// # Errors
    /// It is no key of the kind that we make.
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        let pair =
            KeyPair::from_pem(pem).map_err(|error| TrustError::certificate("read a key", error))?;
        Ok(Self { pair })
    }

    /// The key as PKCS #8 in PEM: for a file that only its owner reads, and for TLS.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.pair.serialize_pem())
    }

    /// How it is named.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.pair.subject_public_key_info())
    }

    /// A request for a certificate, signed by the key (PKCS #10, DER). It asks for nothing but a certificate: what is
    /// in it the authority decides.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn request(&self) -> Result<Vec<u8>, TrustError> {
        let request = CertificateParams::default()
            .serialize_request(&self.pair)
            .map_err(|error| TrustError::certificate("make a certificate request", error))?;
        Ok(request.der().to_vec())
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(super) fn into_pair(self) -> KeyPair {
        self.pair
    }
}
