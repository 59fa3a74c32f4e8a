//! The authority of a cluster: it signs the certificates of its nodes.

use super::{Fingerprint, NodeKey, TrustError, node_name, random, tls::MANAGER_NAME};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How long a node's certificate lives where nothing else is configured. A stolen key is of use for so long at most
/// where nobody removes its node.
pub const CERTIFICATE_LIFE: Duration = DAY.saturating_mul(90);

/// The authority outlives every machine; it is replaced by hand.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(365 * 20);

/// Certificates are valid from so long before they are made: clocks of machines differ.
pub(super) const CLOCKS_DIFFER: Duration = HOUR;

/// The longest request that is read: one with an RSA key of 4,096 bits has 1.7 KiB.
const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// When a certificate of `life` is to be renewed, counted from its making: at half of its life, and spread over the
/// 30 % that follow by `spread` (of the node's own), so that nodes that joined together do not renew together.
#[must_use]
pub fn renew_after(life: Duration, spread: u8) -> Duration {
    life / 2 + life * 3 / 10 * u32::from(spread) / 255
}

/// Whom a certificate names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The node's id, as in `n3`.
    pub node: String,
    /// Whether it may speak as a manager.
    pub manager: bool,
}

/// A request for a certificate whose signature was checked: whoever sent it, the key's owner made it.
pub struct CertificateRequest {
    params: CertificateSigningRequestParams,
}

impl CertificateRequest {
    /// Reads and checks a request in DER.
    ///
    /// # Errors
    /// It cannot be read, or its signature is not that of its key.
    pub fn parse(der: &[u8]) -> Result<Self, TrustError> {
        let what = "read the certificate request";
        if der.len() > REQUEST_BYTES_MAX {
            let why = format!("{} bytes are more than {REQUEST_BYTES_MAX}", der.len());
            return Err(TrustError::certificate(what, why));
        }
        let params = CertificateSigningRequestParams::from_der(&der.into());
        Ok(Self { params: params.map_err(|error| TrustError::certificate(what, error))? })
    }

    /// Of the key that it is for.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.params.public_key.subject_public_key_info())
    }
}

/// The authority of a cluster: a key and the certificate that all its nodes know.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    key: Zeroizing<String>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one for the cluster with this id.
    ///
    /// # Errors
    /// No key could be made.
    pub fn generate(cluster: &str, now: SystemTime) -> Result<Self, TrustError> {
        let key = NodeKey::generate()?;
        let mut params = dated(now, AUTHORITY_LIFE);
        params.distinguished_name = common_name(&format!("Warren cluster {cluster}"));
        // It signs certificates of nodes and no further authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        let made = params.self_signed(key.pair());
        let made = made.map_err(|error| TrustError::certificate("make an authority", error))?;
        let certificate = made.der().clone();
        Self::open(certificate.as_ref(), &key.to_pem())
    }

    /// The authority with this certificate (DER) and this key (PKCS #8, PEM).
    ///
    /// # Errors
    /// They cannot be read, or do not belong together.
    pub fn open(certificate: &[u8], key: &str) -> Result<Self, TrustError> {
        let certificate = CertificateDer::from(certificate.to_vec());
        let pair = NodeKey::from_pem(key)?;
        if super::peer::key_of(&certificate)? != pair.fingerprint() {
            let why = "the key is not that of the certificate";
            return Err(TrustError::certificate("open the authority", why));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, pair.into_pair());
        let issuer =
            issuer.map_err(|error| TrustError::certificate("open the authority", error))?;
        Ok(Self { certificate, issuer, key: Zeroizing::new(key.to_owned()) })
    }

    /// Its certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its key: to be sealed before it goes anywhere.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Signs a certificate of `life` for the key of `request`. Only the key is taken from the request. PEM.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        subject: &Subject,
        now: SystemTime,
        life: Duration,
    ) -> Result<String, TrustError> {
        let mut names = vec![node_name(&subject.node)];
        if subject.manager {
            names.push(MANAGER_NAME.to_owned());
        }
        let what = "sign a certificate";
        let named =
            CertificateParams::new(names).map_err(|error| TrustError::certificate(what, error))?;
        let mut params = dated(now, life);
        params.subject_alt_names = named.subject_alt_names;
        params.distinguished_name = common_name(&subject.node);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        let made = params.signed_by(&request.params.public_key, &self.issuer);
        let made = made.map_err(|error| TrustError::certificate(what, error))?;
        Ok(made.pem())
    }
}

/// The first certificate of a PEM text, DER.
pub(super) fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, TrustError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| TrustError::certificate("read a certificate", error))
}

fn dated(now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCKS_DIFFER).into();
    params.not_after = (now + life).into();
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// 16 random bytes with a first bit of 0: at most 20 bytes and positive, as RFC 5280 §4.1.2.2 asks.
fn serial() -> Result<SerialNumber, TrustError> {
    let mut bytes = random::<16>()?;
    bytes[0] &= 0x7f;
    bytes[0] |= 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
