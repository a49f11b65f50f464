//! Files of known hosts: plain and hashed names, patterns, ports, `@revoked`, `@cert-authority`. Judges a key that a
//! host offers, and records one. Asks nobody.

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};
use sha1::Sha1;

use super::pattern;
use super::ssh_words::chosen;
use crate::secret::private;

/// A line of a file.
#[derive(Debug, Clone)]
struct Line {
    file: Arc<Path>,
    number: usize,
    entry: Entry,
}

impl Line {
    fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.number)
    }
}

/// What the files know.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownHosts {
    lines: Vec<Line>,
    /// Lines by each name that stands in them as it is, in small letters.
    by_name: HashMap<String, Vec<usize>>,
    /// Lines with patterns or a hashed name: each has to be held against every host.
    others: Vec<usize>,
}

/// What is to be thought of a key that a host offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is the known one.
    Trusted,
    /// Nothing is known of this host; with what a person should know of it.
    Unknown { note: Option<String> },
    /// Another one is known.
    Differs {
        /// Fingerprint of the known one.
        expected: String,
        /// Where that is written.
        place: String,
    },
    /// It is marked as revoked.
    Revoked { place: String },
    /// It is a certificate that must not be taken.
    BadCertificate { why: String },
}

/// Returns the fingerprint as OpenSSH prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl KnownHosts {
    /// Reads `files`; those that are not there know nothing.
    ///
    /// # Errors
    /// When a file is there and can't be read.
    pub fn read(files: &[PathBuf]) -> Result<Self, String> {
        let mut known = Self::default();
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => known.add(file, &String::from_utf8_lossy(&bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", file.display())),
            }
        }
        Ok(known)
    }

    /// Adds the lines of `text`. Like OpenSSH, leaves out what it can't read.
    pub fn add(&mut self, file: &Path, text: &str) {
        let file: Arc<Path> = file.into();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.join(" ").parse() {
                Ok(entry) => self.push(Line {
                    file: Arc::clone(&file),
                    number: index + 1,
                    entry,
                }),
                Err(_) => tracing::warn!(
                    "{}:{}: not a line of known hosts, left out",
                    file.display(),
                    index + 1
                ),
            }
        }
    }

    fn push(&mut self, line: Line) {
        let at = self.lines.len();
        match line.entry.host_patterns() {
            HostPatterns::Patterns(names)
                if !names.iter().any(|name| name.contains(['*', '?', '!'])) =>
            {
                for name in names {
                    let lines = self.by_name.entry(name.to_ascii_lowercase()).or_default();
                    lines.push(at);
                }
            }
            _ => self.others.push(at),
        }
        self.lines.push(line);
    }

    /// Returns the lines about one host.
    pub fn only(&self, known_as: &str) -> Self {
        let mut only = Self::default();
        self.of(known_as).cloned().for_each(|line| only.push(line));
        only
    }

    /// Adds what `other` knows.
    pub fn join(&mut self, other: Self) {
        other.lines.into_iter().for_each(|line| self.push(line));
    }

    /// Returns the lines about one host, in their order.
    fn of(&self, known_as: &str) -> impl Iterator<Item = &Line> {
        let named = self.by_name.get(&known_as.to_ascii_lowercase());
        let mut found: Vec<usize> = named.into_iter().flatten().copied().collect();
        let others = self.others.iter().copied();
        found.extend(others.filter(|at| names(self.lines[*at].entry.host_patterns(), known_as)));
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|at| &self.lines[at])
    }

    fn plain(&self, known_as: &str) -> impl Iterator<Item = &Line> {
        self.of(known_as)
            .filter(|line| line.entry.marker().is_none())
    }

    /// Returns the algorithms of the keys known for a host, so that it can be asked for those first.
    pub fn algorithms(&self, known_as: &str) -> Vec<Algorithm> {
        self.plain(known_as)
            .map(|line| line.entry.public_key().algorithm())
            .collect()
    }

    /// Returns whether an authority is named for a host: then a certificate is asked for.
    pub fn has_authority(&self, known_as: &str) -> bool {
        self.of(known_as)
            .any(|line| line.entry.marker() == Some(&Marker::CertAuthority))
    }

    /// Returns the lines that revoke keys for a host.
    pub fn revoked_lines(&self, known_as: &str) -> impl Iterator<Item = &PublicKey> {
        self.of(known_as)
            .filter(|line| line.entry.marker() == Some(&Marker::Revoked))
            .map(|line| line.entry.public_key())
    }

    /// Returns where what a host offers is marked as revoked, if it is.
    pub fn revoked(&self, known_as: &str, offered: &PublicKeyOrCertificate) -> Option<String> {
        let key = offered.public_key();
        let authority = offered
            .certificate()
            .map(|certificate| PublicKey::new(certificate.signature_key().clone(), ""));
        for line in self.of(known_as) {
            let listed = line.entry.public_key().key_data();
            if line.entry.marker() == Some(&Marker::Revoked)
                && (listed == key.key_data()
                    || authority.as_ref().is_some_and(|ca| ca.key_data() == listed))
            {
                return Some(line.place());
            }
        }
        None
    }

    /// Judges what a host offers; of a certificate's signature only if it is of one of `signatures`.
    pub fn judge(
        &self,
        address: &str,
        known_as: &str,
        offered: &PublicKeyOrCertificate,
        signatures: Option<&str>,
    ) -> Judgement {
        if let Some(place) = self.revoked(known_as, offered) {
            return Judgement::Revoked { place };
        }
        match offered.certificate() {
            Some(certificate) => {
                let by = certificate.signature().algorithm();
                if chosen(signatures, std::slice::from_ref(&by), ToString::to_string).is_empty() {
                    return Judgement::BadCertificate {
                        why: format!("`CASignatureAlgorithms` does not allow its signature, {by}"),
                    };
                }
                self.judge_certificate(address, known_as, certificate)
            }
            None => self.judge_key(known_as, &offered.public_key()),
        }
    }

    fn judge_key(&self, known_as: &str, key: &PublicKey) -> Judgement {
        let mut other = None;
        let mut note = None;
        for line in self.plain(known_as) {
            let listed = line.entry.public_key();
            if listed.key_data() == key.key_data() {
                return Judgement::Trusted;
            }
            if can_be_checked(&listed.algorithm()) {
                other.get_or_insert_with(|| Judgement::Differs {
                    expected: fingerprint(listed),
                    place: line.place(),
                });
            } else {
                note = Some(format!(
                    "only a key of the kind {} is known ({}), which Foundry can't check",
                    listed.algorithm(),
                    line.place()
                ));
            }
        }
        other.unwrap_or(Judgement::Unknown { note })
    }

    fn judge_certificate(
        &self,
        address: &str,
        known_as: &str,
        certificate: &Certificate,
    ) -> Judgement {
        let bad = |why: String| Judgement::BadCertificate { why };
        let trusted: Vec<_> = self
            .of(known_as)
            .filter(|line| line.entry.marker() == Some(&Marker::CertAuthority))
            .map(|line| line.entry.public_key().fingerprint(HashAlg::Sha256))
            .collect();
        let by = certificate.signature_key().fingerprint(HashAlg::Sha256);
        if certificate.cert_type() != CertType::Host {
            bad("it is a certificate for users, not for hosts".to_owned())
        } else if !trusted.contains(&by) {
            bad(format!(
                "it is signed by {by}, which is no `@cert-authority` for this host"
            ))
        } else if certificate.validate(&trusted).is_err() {
            bad(format!(
                "its signature is wrong or it is not valid now (from {} to {}, seconds since 1970)",
                certificate.valid_after(),
                certificate.valid_before()
            ))
        } else if !certificate
            .valid_principals()
            .iter()
            .any(|name| pattern::glob(name, address))
        {
            bad(format!(
                "it is for {}, not for {address}",
                certificate.valid_principals().join(", ")
            ))
        } else if certificate.critical_options().iter().next().is_some() {
            bad("it has critical options, which nobody knows for hosts".to_owned())
        } else {
            Judgement::Trusted
        }
    }

    /// Records a key in `file`, which is made with mode 0600: one line, appended under a lock.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn record(&mut self, file: &Path, known_as: &str, key: &PublicKey) -> Result<(), String> {
        let line = format!("{known_as} {}\n", one_line(key)?);
        append(file, &line).map_err(|error| format!("{}: {error}", file.display()))?;
        self.add(file, &line);
        Ok(())
    }
}

/// Returns `algorithm base64`, without comment.
pub(super) fn one_line(key: &PublicKey) -> Result<String, String> {
    PublicKey::new(key.key_data().clone(), "")
        .to_openssh()
        .map_err(|error| error.to_string())
}

/// Returns whether russh is built with what it takes to verify signatures of this kind.
pub(super) fn can_be_checked(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { .. })
}

fn append(file: &Path, line: &str) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        private::create_dir(directory)?;
    }
    let mut file = private::options()
        .read(true)
        .append(true)
        .create(true)
        .open(file)?;
    file.lock()?;
    let mut text = String::new();
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(line);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn names(patterns: &HostPatterns, known_as: &str) -> bool {
    match patterns {
        HostPatterns::Patterns(patterns) => {
            pattern::list(patterns.iter().map(String::as_str), known_as)
        }
        HostPatterns::HashedName { salt, hash } => {
            Hmac::<Sha1>::new_from_slice(salt).is_ok_and(|mac| {
                mac.chain_update(known_as.as_bytes())
                    .verify_slice(hash)
                    .is_ok()
            })
        }
    }
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
