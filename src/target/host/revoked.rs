//! Files of revoked keys (`RevokedHostKeys`): lists of public keys, and OpenSSH's binary lists (KRL) by key, fingerprint, serial
//! number and name of certificates. A file that can't be read to its end is an error, never an empty list. Knows no host.

use std::collections::HashSet;
use std::path::Path;

use russh::keys::{PublicKey, PublicKeyOrCertificate};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// How a binary list begins.
const MAGIC: &[u8] = b"SSHKRL\n\0";

/// Longest file, in bytes.
const LONGEST: u64 = 64 << 20;

/// Keys that must not be taken.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    /// As they go over the wire.
    keys: HashSet<Vec<u8>>,
    sha1: HashSet<Vec<u8>>,
    sha256: HashSet<Vec<u8>>,
    certificates: Vec<OfAuthority>,
}

/// Certificates of one authority, or of any.
#[derive(Debug, Default)]
struct OfAuthority {
    /// The authority's key; empty: whoever signed it.
    key: Vec<u8>,
    /// From and to, both revoked.
    serials: Vec<(u64, u64)>,
    /// Where each begins, and a bit for each number from there on, the last byte's lowest bit first.
    bitmaps: Vec<(u64, Vec<u8>)>,
    names: HashSet<Vec<u8>>,
}

impl Revoked {
    /// Reads `file`.
    ///
    /// # Errors
    /// When it can't be read, or not be understood.
    pub fn read(file: &Path) -> Result<Self, String> {
        let wrong = |why: String| format!("RevokedHostKeys {}: {why}", file.display());
        let length = std::fs::metadata(file)
            .map_err(|error| wrong(error.to_string()))?
            .len();
        if length > LONGEST {
            return Err(wrong(format!("is longer than {} MiB", LONGEST >> 20)));
        }
        let bytes = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let parsed = match bytes.strip_prefix(MAGIC) {
            Some(rest) => Self::binary(rest),
            None => Self::lines(&String::from_utf8_lossy(&bytes)),
        };
        parsed.map_err(wrong)
    }

    /// Returns whether what a host offers is in it: its key, its certificate, or the authority that signed that.
    pub fn holds(&self, offered: &PublicKeyOrCertificate) -> bool {
        // A key without its bytes can't be compared, and so can't be taken.
        let Ok(key) = offered.public_key().to_bytes() else {
            return true;
        };
        if self.holds_key(&key) {
            return true;
        }
        let Some(certificate) = offered.certificate() else {
            return false;
        };
        let signer = PublicKey::new(certificate.signature_key().clone(), "");
        let Ok(signer) = signer.to_bytes() else {
            return true;
        };
        self.holds_key(&signer)
            || self
                .certificates
                .iter()
                .filter(|of| of.key.is_empty() || of.key == signer)
                .any(|of| {
                    of.names.contains(certificate.key_id().as_bytes())
                        // An authority that gives no numbers gives 0 to all.
                        || (certificate.serial() != 0 && of.holds(certificate.serial()))
                })
    }

    fn holds_key(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
            || (!self.sha256.is_empty() && self.sha256.contains(&*Sha256::digest(key)))
            || (!self.sha1.is_empty() && self.sha1.contains(&*Sha1::digest(key)))
    }

    fn lines(text: &str) -> Result<Self, String> {
        let mut revoked = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = PublicKey::from_openssh(line).and_then(|key| key.to_bytes());
            revoked
                .keys
                .insert(key.map_err(|error| format!("line {}: {error}", index + 1))?);
        }
        Ok(revoked)
    }

    /// Reads a binary list after its magic number (OpenSSH's PROTOCOL.krl).
    fn binary(bytes: &[u8]) -> Result<Self, String> {
        let mut from = Fields(bytes);
        let version = from.number(4)?;
        if version != 1 {
            return Err(format!("is a list of version {version}, only 1 is known"));
        }
        // Its own version, its date, flags; something reserved, a comment.
        for _ in 0..3 {
            from.number(8)?;
        }
        from.text()?;
        from.text()?;
        let mut revoked = Self::default();
        while !from.0.is_empty() {
            let kind = from.number(1)?;
            if kind == 4 {
                return Err("is signed, which is not supported".to_owned());
            }
            let mut section = Fields(from.text()?);
            match kind {
                1 => revoked.certificates.push(OfAuthority::read(&mut section)?),
                2 => section.texts(&mut revoked.keys)?,
                3 => section.texts(&mut revoked.sha1)?,
                5 => section.texts(&mut revoked.sha256)?,
                255 => section.extension()?,
                other => return Err(format!("has a section of the unknown kind {other}")),
            }
        }
        Ok(revoked)
    }
}

impl OfAuthority {
    fn read(from: &mut Fields<'_>) -> Result<Self, String> {
        let mut of = Self {
            key: from.text()?.to_vec(),
            ..Self::default()
        };
        from.text()?;
        while !from.0.is_empty() {
            let kind = from.number(1)?;
            let mut section = Fields(from.text()?);
            match kind {
                0x20 => {
                    while !section.0.is_empty() {
                        let serial = section.number(8)?;
                        of.serials.push((serial, serial));
                    }
                }
                0x21 => of.serials.push((section.number(8)?, section.number(8)?)),
                0x22 => of
                    .bitmaps
                    .push((section.number(8)?, section.text()?.to_vec())),
                0x23 => section.texts(&mut of.names)?,
                0x39 => section.extension()?,
                other => return Err(format!("has certificates by the unknown means {other}")),
            }
        }
        Ok(of)
    }

    fn holds(&self, serial: u64) -> bool {
        let in_bitmap = |(first, bits): &(u64, Vec<u8>)| {
            let Some(at) = serial
                .checked_sub(*first)
                .and_then(|at| usize::try_from(at).ok())
            else {
                return false;
            };
            let byte = bits
                .len()
                .checked_sub(1 + at / 8)
                .map(|from_end| bits[from_end]);
            byte.is_some_and(|byte| byte >> (at % 8) & 1 == 1)
        };
        self.serials
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&serial))
            || self.bitmaps.iter().any(in_bitmap)
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let (now, later) = self.0.split_at_checked(bytes).ok_or("is cut off")?;
        self.0 = later;
        Ok(now)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, String> {
        let digits = self.take(bytes)?.iter();
        Ok(digits.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn text(&mut self) -> Result<&'a [u8], String> {
        let length = self.number(4)?;
        self.take(usize::try_from(length).map_err(|_| "is cut off")?)
    }

    fn texts(&mut self, into: &mut HashSet<Vec<u8>>) -> Result<(), String> {
        while !self.0.is_empty() {
            into.insert(self.text()?.to_vec());
        }
        Ok(())
    }

    /// Skips something that a later OpenSSH has thought of, unless it must be understood.
    fn extension(&mut self) -> Result<(), String> {
        let name = String::from_utf8_lossy(self.text()?).into_owned();
        if self.number(1)? != 0 {
            return Err(format!(
                "has the extension {name}, which must be understood and is not"
            ));
        }
        self.text().map(drop)
    }
}

#[cfg(test)]
#[path = "revoked_tests.rs"]
mod tests;
