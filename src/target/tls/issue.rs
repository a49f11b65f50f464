//! Makes authorities and certificates. Pure but for the random numbers of new keys: the time is given.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::secret::Secret;

/// Clocks of hosts may be behind ours by this much.
const SKEW: Duration = Duration::from_secs(3600);

/// A certificate and its key, in PEM.
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: Secret<String>,
}

/// Makes an authority, with a key of its own or the one given (then what it signed before stays good).
pub fn authority(
    name: &str,
    key: Option<&Secret<String>>,
    days: i64,
    now: SystemTime,
) -> Result<Pair, rcgen::Error> {
    let key = match key {
        Some(pem) => KeyPair::from_pem(pem.expose())?,
        None => KeyPair::generate()?,
    };
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = lifetime(days, now);
    Ok(Pair {
        cert: params.self_signed(&key)?.pem(),
        key: Secret::new(key.serialize_pem()),
    })
}

/// Makes a certificate for `names` (DNS names and IP addresses; the first is the common name) with a new key.
pub fn certificate(
    ca_cert: &str,
    ca_key: &Secret<String>,
    names: &[&str],
    days: i64,
    now: SystemTime,
) -> Result<Pair, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(ca_cert, KeyPair::from_pem(ca_key.expose())?)?;
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        if !unique.iter().any(|known| known == name) {
            unique.push((*name).to_owned());
        }
    }
    let mut params = CertificateParams::new(unique)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // X.520 lets a common name have 64 characters; the names that count are in the extension anyway.
    if let Some(first) = names.iter().find(|name| name.len() <= 64) {
        params.distinguished_name.push(DnType::CommonName, *first);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = lifetime(days, now);
    let key = KeyPair::generate()?;
    Ok(Pair {
        cert: params.signed_by(&key, &issuer)?.pem(),
        key: Secret::new(key.serialize_pem()),
    })
}

fn lifetime<T: From<SystemTime>>(days: i64, now: SystemTime) -> (T, T) {
    let days = Duration::from_secs(u64::try_from(days.max(1)).unwrap_or(1) * 86_400);
    ((now - SKEW).into(), (now + days).into())
}
