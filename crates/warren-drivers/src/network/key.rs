//! The secret half of a node's WireGuard key.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::fmt;
use warren_core::node::WireGuardKey;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// A secret key. It is shown nowhere, and wiped where it goes.
pub struct WireSecret(Zeroizing<[u8; 32]>);

impl WireSecret {
    /// The key that these random bytes make.
    #[must_use]
    pub fn from_random(mut bytes: Zeroizing<[u8; 32]>) -> Self {
        // As the curve wants it (RFC 7748); a device does the same to what it is given, and gives it back so.
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        Self(bytes)
    }

    /// The key that [`Self::to_text`] wrote, or `wg genkey`; `None` where the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // One byte more than a key has, as the decoder asks for by its own reckoning.
        let mut bytes = Zeroizing::new([0; 33]);
        let length = BASE64_STANDARD.decode_slice(text.trim(), &mut *bytes).ok()?;
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(bytes.get(..length).filter(|bytes| bytes.len() == 32)?);
        Some(Self::from_random(key))
    }

    /// The key as text, for a file that only its owner reads.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(*self.0))
    }

    /// The half that others may know.
    #[must_use]
    pub fn public(&self) -> WireGuardKey {
        WireGuardKey(PublicKey::from(&StaticSecret::from(*self.0)).to_bytes())
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for WireSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 6.1: Alice's keys.
    const SECRET: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn the_public_half_is_what_the_standard_says() {
        let secret = WireSecret::parse(SECRET).unwrap();
        assert_eq!(BASE64_STANDARD.encode(secret.public().0), PUBLIC);
        let again = WireSecret::parse(&secret.to_text()).unwrap();
        assert_eq!(again.public(), secret.public());
    }

    #[test]
    fn what_is_no_key_is_refused_and_a_key_is_not_shown() {
        let all =
            [0_u8, 31, 32, 33, 64].map(|length| BASE64_STANDARD.encode(vec![7; length.into()]));
        let keys: Vec<bool> = all.iter().map(|text| WireSecret::parse(text).is_some()).collect();
        assert_eq!(keys, [false, false, true, false, false]);
        assert!(WireSecret::parse("no key at all").is_none());
        assert_eq!(format!("{:?}", WireSecret::parse(SECRET)), "Some(WireSecret(…))");
    }
}
