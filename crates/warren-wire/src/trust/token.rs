//! Tokens: `WRN-1-<SHA-256 of the authority's certificate>-<secret>` for machines that join, the same with `WRA-1-` for
//! people and programs. Who has one knows whom to trust, and is trusted for what the cluster keeps of its secret.

use super::{TrustError, hex, random, unhex};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// How a join token begins.
const JOIN: &str = "WRN-1-";

/// How an access token begins.
const ACCESS: &str = "WRA-1-";

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

/// A text that is no token. It does not repeat the text, which may be most of a real one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It begins otherwise.
    #[error("such a token begins with {prefix}: copy the whole of what `{command}` printed")]
    Prefix {
        /// How it should begin.
        prefix: &'static str,
        /// What prints one.
        command: &'static str,
    },
    /// A part of it is missing or wrong.
    #[error(
        "the token is not complete: after {prefix} it has 64 hexadecimal digits, a dash and 32 more; copy the whole \
         of what `{command}` printed"
    )]
    Parts {
        /// How it begins.
        prefix: &'static str,
        /// What prints one.
        command: &'static str,
    },
}

macro_rules! tokens {
    ($($(#[$doc:meta])* $name:ident: $prefix:expr, $command:literal,)*) => {
        $($(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name {
            /// SHA-256 of the authority's certificate: nobody else can pose as the cluster.
            pub authority: [u8; 32],
            /// What opens the door.
            pub secret: TokenSecret,
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}-{}", $prefix, hex(&self.authority), *self.secret.to_text())
            }
        }

        impl FromStr for $name {
            type Err = TokenError;

            fn from_str(text: &str) -> Result<Self, TokenError> {
                let (prefix, command) = ($prefix, $command);
                let missing = TokenError::Parts { prefix, command };
                let parts = text.trim().strip_prefix(prefix);
                let parts = parts.ok_or(TokenError::Prefix { prefix, command })?;
                let (authority, secret) = parts.split_once('-').ok_or(missing)?;
                let authority = unhex(authority).ok_or(missing)?;
                let secret = TokenSecret::parse(secret).ok_or(missing)?;
                Ok(Self { authority, secret })
            }
        })*
    };
}

tokens! {
    /// What a machine needs to join.
    JoinToken: JOIN, "warren cluster token",
    /// What a person or a program needs to use the API from elsewhere.
    AccessToken: ACCESS, "warren token create",
}
