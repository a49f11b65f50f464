//! Which certificates are believed: those this machine believes, those of one authority, or exactly one by its fingerprint.
//! There is no way to believe any. Does not know whose they are.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_tungstenite::{Connector, client_async_tls_with_config};

use super::address::Address;
use super::error::TrueNasError;
use crate::target::crypto;

/// Which certificate a server must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// One from an authority that this machine trusts.
    System,
    /// One from this authority, in PEM.
    Authority(String),
    /// The one with this SHA-256, whoever signed it and whatever name it has.
    Pinned([u8; 32]),
}

impl Trust {
    /// Reads what a config says: an authority in PEM, a fingerprint as `AB:CD:…` or plain hex; both empty: the system's. A
    /// fingerprint goes before an authority.
    ///
    /// # Errors
    /// When either can't be read, in words.
    pub fn read(ca: &str, fingerprint: &str) -> Result<Self, String> {
        if !fingerprint.trim().is_empty() {
            let plain = fingerprint.trim().to_ascii_lowercase();
            let plain = plain.trim_start_matches("sha256:").replace([':', ' '], "");
            let bytes = hex::decode(&plain)
                .ok()
                .and_then(|bytes| bytes.try_into().ok());
            return bytes.map(Self::Pinned).ok_or_else(|| {
                format!(
                    "`{fingerprint}` is no SHA-256 fingerprint, which has 64 hexadecimal digits"
                )
            });
        }
        if ca.trim().is_empty() {
            return Ok(Self::System);
        }
        roots(ca).map(|_| Self::Authority(ca.to_owned()))
    }

    /// Returns what connections are made with; `None` for the system's own trust.
    pub(super) fn connector(&self) -> Result<Option<Connector>, TrueNasError> {
        crypto::init();
        let config = match self {
            Self::System => return Ok(None),
            Self::Authority(pem) => {
                let roots = roots(pem).map_err(TrueNasError::Config)?;
                ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth()
            }
            Self::Pinned(digest) => only(Arc::new(Exactly {
                digest: *digest,
                seen: Mutex::default(),
            })),
        };
        Ok(Some(Connector::Rustls(Arc::new(config))))
    }
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("`ca` is not PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("`ca` holds a certificate that can't be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("`ca` holds no certificate in PEM".to_owned());
    }
    Ok(roots)
}

fn only(verifier: Arc<Exactly>) -> ClientConfig {
    ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth()
}

/// Returns a fingerprint as people compare them.
#[must_use]
pub fn fingerprint(digest: &[u8]) -> String {
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// Returns the fingerprint of the certificate that a server shows, without believing it: nothing is sent there.
///
/// # Errors
/// When nothing answers with a certificate.
pub async fn offered(address: &Address) -> Result<String, TrueNasError> {
    crypto::init();
    // No certificate has this digest, so the handshake ends before anything is said.
    let verifier = Arc::new(Exactly {
        digest: [0; 32],
        seen: Mutex::default(),
    });
    let connector = Connector::Rustls(Arc::new(only(verifier.clone())));
    let attempt = async {
        let stream = TcpStream::connect(address.target()).await?;
        let opened = client_async_tls_with_config(address.api(), stream, None, Some(connector));
        Ok::<_, std::io::Error>(opened.await.err())
    };
    let ended = tokio::time::timeout(super::client::CONNECT, attempt).await;
    let seen = verifier.seen.lock().unwrap_or_else(PoisonError::into_inner);
    match (&*seen, ended) {
        (Some(digest), _) => Ok(fingerprint(digest)),
        (None, Ok(Err(error))) => Err(TrueNasError::Down(format!("{address}: {error}"))),
        (None, Ok(Ok(Some(error)))) => Err(TrueNasError::Down(format!("{address}: {error}"))),
        (None, _) => Err(TrueNasError::Down(format!(
            "{address} shows no certificate"
        ))),
    }
}

/// Believes one certificate, and remembers the one it was shown.
#[derive(Debug)]
struct Exactly {
    digest: [u8; 32],
    seen: Mutex<Option<[u8; 32]>>,
}

fn provider() -> Result<Arc<CryptoProvider>, Error> {
    CryptoProvider::get_default()
        .cloned()
        .ok_or_else(|| Error::General("no cryptography was chosen".to_owned()))
}

impl ServerCertVerifier for Exactly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest: [u8; 32] = Sha256::digest(certificate).into();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        if digest == self.digest {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider()?.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider()?.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().map_or_else(
            |_| Vec::new(),
            |provider| {
                provider
                    .signature_verification_algorithms
                    .supported_schemes()
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let digest = [0xAB; 32];
        let shown = fingerprint(&digest);
        assert!(shown.starts_with("AB:AB:"), "{shown}");
        for text in [shown.clone(), "ab".repeat(32), format!(" sha256:{shown} ")] {
            assert_eq!(Trust::read("", &text), Ok(Trust::Pinned(digest)), "{text}");
        }
        assert_eq!(Trust::read(" ", ""), Ok(Trust::System));
        for (ca, text) in [("", "AB:CD"), ("", "yes"), ("certificate", "")] {
            Trust::read(ca, text).unwrap_err();
        }
    }
}
