//! What a certificate says of the node that shows it.

use super::authority::{CLOCKS_DIFFER, renew_after};
use super::tls::{MANAGER_NAME, NODE_SUFFIX};
use super::{Fingerprint, TrustError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The node at the other end of a connection, as its certificate names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its id, as in `n3`.
    pub node: String,
    /// Whether its certificate is a manager's.
    pub manager: bool,
    /// Of its key.
    pub key: Fingerprint,
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// From.
    pub from: SystemTime,
    /// To.
    pub to: SystemTime,
}

impl Validity {
    /// When it is to be renewed; see [`renew_after`].
    #[must_use]
    pub fn renewal(&self, spread: u8) -> SystemTime {
        let made = (self.from + CLOCKS_DIFFER).min(self.to);
        let life = self.to.duration_since(made).unwrap_or_default();
        made + renew_after(life, spread)
    }
}

/// Reads a node's certificate (DER), whose signature TLS has checked.
///
/// # Errors
/// It is none of ours.
pub fn peer_of(certificate: &[u8]) -> Result<Peer, TrustError> {
    let certificate = parse(certificate)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| TrustError::certificate("read the certificate", error))?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let names: Vec<&str> = names.collect();
    let node = names.iter().find_map(|name| name.strip_suffix(NODE_SUFFIX));
    let node = node.ok_or_else(|| {
        TrustError::certificate("read the certificate", "it is not the certificate of a node")
    })?;
    Ok(Peer {
        node: node.to_owned(),
        manager: names.contains(&MANAGER_NAME),
        key: Fingerprint::of(certificate.public_key().raw),
    })
}

/// From when to when a certificate (DER) is valid.
///
/// # Errors
/// It cannot be read.
pub fn validity_of(certificate: &[u8]) -> Result<Validity, TrustError> {
    let certificate = parse(certificate)?;
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = certificate.validity();
    Ok(Validity {
        from: at(validity.not_before.timestamp()),
        to: at(validity.not_after.timestamp()),
    })
}

/// The key that a certificate (DER) is for.
pub(super) fn key_of(certificate: &[u8]) -> Result<Fingerprint, TrustError> {
    Ok(Fingerprint::of(parse(certificate)?.public_key().raw))
}

fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, TrustError> {
    match X509Certificate::from_der(certificate) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(TrustError::certificate("read the certificate", error)),
    }
}
