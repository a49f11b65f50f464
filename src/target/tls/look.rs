//! Reads what a certificate says. Does not know what is wanted of it. The time is given.

use std::net::IpAddr;
use std::time::SystemTime;

use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::{Pem, parse_x509_pem};
use x509_parser::prelude::X509Certificate;

/// How much of a certificate's life is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// More than a third.
    Good,
    /// Less than a third: time to renew.
    Short,
    /// None, or it has not begun.
    Over,
}

impl Life {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Short => "short",
            Self::Over => "over",
        }
    }
}

/// Runs `read` on a certificate in PEM; `None` when it is none.
pub fn read<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let (_, pem): (_, Pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(read(&certificate))
}

/// Returns how much life it has left.
pub fn life(certificate: &X509Certificate<'_>, now: SystemTime) -> Life {
    let now = seconds(now);
    let from = certificate.validity().not_before.timestamp();
    let to = certificate.validity().not_after.timestamp();
    if now >= to || now < from {
        Life::Over
    } else if (to - now) * 3 < to - from {
        Life::Short
    } else {
        Life::Good
    }
}

/// Returns the days it has left; negative when it is over.
pub fn days_left(certificate: &X509Certificate<'_>, now: SystemTime) -> i64 {
    (certificate.validity().not_after.timestamp() - seconds(now)).div_euclid(86_400)
}

/// Returns when it ends, in seconds since the epoch.
pub fn end(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp()
}

/// Returns its DNS names and IP addresses, sorted by bytes.
pub fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names: Vec<String> = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| {
            extension
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns whether `issuer` signed it.
pub fn signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer() == issuer.subject()
        && certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok()
}

/// Returns whether the private key in PEM is the one it was made for.
pub fn matches(certificate: &X509Certificate<'_>, key: &str) -> bool {
    KeyPair::from_pem(key)
        .is_ok_and(|key| *certificate.public_key().raw == *key.subject_public_key_info())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}
