//! Join tokens: `WRN-1-<SHA-256 of the authority's certificate>-<secret>`. Who has one knows whom to trust, and is
//! trusted once.

use super::{TrustError, hex, random, unhex};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// How a token of this form begins.
const PREFIX: &str = "WRN-1-";

/// Bytes of a secret: 128 bits that nobody guesses.
const SECRET_BYTES: usize = 16;

/// The secret half of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret")
    }
}

impl TokenSecret {
    /// A new one.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn generate() -> Result<Self, TrustError> {
        random().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// Reads 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(self.0.as_slice()))
    }

    /// What the cluster keeps of it: its SHA-256. A secret of 128 random bits needs no slow hash.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_slice()).into()
    }
}

/// What a machine needs to join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinToken {
    /// SHA-256 of the authority's certificate: nobody else can pose as the cluster.
    pub authority: [u8; 32],
    /// What lets it in.
    pub secret: TokenSecret,
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}", hex(&self.authority), *self.secret.to_text())
    }
}

/// A text that is no token. It does not repeat the text, which may be most of a real one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It begins otherwise.
    #[error(
        "a join token begins with {PREFIX}: copy the whole of what `warren cluster token` printed"
    )]
    Prefix,
    /// A part of it is missing or wrong.
    #[error(
        "the join token is not complete: after {PREFIX} it has 64 hexadecimal digits, a dash and 32 more; \
         copy the whole of what `warren cluster token` printed"
    )]
    Parts,
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        let (authority, secret) = parts.split_once('-').ok_or(TokenError::Parts)?;
        let authority = unhex(authority).ok_or(TokenError::Parts)?;
        let secret = TokenSecret::parse(secret).ok_or(TokenError::Parts)?;
        Ok(Self { authority, secret })
    }
}
