//! Sealed data: XChaCha20-Poly1305 under the cluster's key. Its nonces are 192 bits of chance, so that none is ever
//! used twice without anybody counting.

use super::{TrustError, hex, random, unhex};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::fmt;
use zeroize::Zeroizing;

/// How long the nonce is that begins sealed data.
const NONCE_BYTES: usize = 24;

/// Bytes that nobody reads without the key.
pub type Sealed = Vec<u8>;

/// The key under which a cluster seals its authority and its secrets. It lies on the disks of managers, and nowhere in
/// the log.
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

impl SealKey {
    /// A new one.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn generate() -> Result<Self, TrustError> {
        random().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// With these bytes, as a passphrase gives them.
    pub(crate) const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Reads what [`Self::to_text`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text.trim()).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(self.0.as_slice()))
    }

    /// Seals `plain` for `purpose`: what is sealed for one purpose does not open for another.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Sealed, TrustError> {
        let nonce = random::<NONCE_BYTES>()?;
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        let mut sealed = sealed.map_err(|_| TrustError::Sealed)?;
        sealed.splice(..0, nonce);
        Ok(sealed)
    }

    /// Opens what was sealed for `purpose`.
    ///
    /// # Errors
    /// It was sealed by another key or for another purpose, or has been changed.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, TrustError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(TrustError::Sealed)?;
        let payload = Payload { msg: body, aad: purpose.as_bytes() };
        let plain = self.cipher().decrypt(&XNonce::from(*nonce), payload);
        plain.map(Zeroizing::new).map_err(|_| TrustError::Sealed)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.0).into())
    }
}
