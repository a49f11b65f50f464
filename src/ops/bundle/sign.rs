//! Signatures of bundles, in minisign's format and by its keys: of the index, which names each content by its digests. So
//! `minisign -Vm index.json` checks what Foundry checks. Reads no file and asks nobody for a password.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};

use crate::secret::Secret;

/// Longest signature, in bytes: four lines.
pub(super) const LONGEST: u64 = 4096;

/// A key that bundles may be signed by.
#[derive(Debug, Clone)]
pub struct TrustedKey(PublicKey);

impl TrustedKey {
    /// Reads the second line of a `.pub` file, or the whole of one.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        let line = line.unwrap_or_default();
        let wrong = || format!("`{line}` is no public key of minisign: those begin with `RW`");
        if STANDARD.decode(line).map_or(0, |bytes| bytes.len()) != 42 || !line.starts_with("RW") {
            return Err(wrong());
        }
        PublicKey::from_base64(line).map(Self).map_err(|_| wrong())
    }

    /// Returns what people tell keys apart by, as minisign prints it.
    #[must_use]
    pub fn id(&self) -> String {
        id(self.0.keynum())
    }

    /// Returns the key as it is written in configs.
    #[must_use]
    pub fn written(&self) -> String {
        self.0.to_base64()
    }
}

fn id(number: &[u8]) -> String {
    let bytes: [u8; 8] = number.try_into().unwrap_or_default();
    format!("{:016X}", u64::from_le_bytes(bytes))
}

/// What a bundle's signature is worth.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "signature")]
pub enum Signed {
    /// By a key that is trusted.
    Trusted {
        /// Which.
        key: String,
        /// What its maker wrote beside it; signed too.
        comment: String,
    },
    /// By a key that is not.
    Unknown {
        /// Which it says.
        key: String,
    },
    /// There is none.
    No,
}

/// Says what a signature of `text` is worth.
///
/// # Errors
/// When it is none, or a trusted key did not sign this.
pub(super) fn check(text: &[u8], signature: &str, keys: &[TrustedKey]) -> Result<Signed, String> {
    let signature = parsed(signature)?;
    let key = id(signature.keynum());
    // Key ids are nobody's promise: several keys may have one.
    let mut same = keys
        .iter()
        .filter(|key| key.0.keynum() == signature.keynum());
    let Some(first) = same.next() else {
        return Ok(Signed::Unknown { key });
    };
    for trusted in std::iter::once(first).chain(same) {
        if minisign::verify(
            &trusted.0,
            &signature,
            Cursor::new(text),
            true,
            false,
            false,
        )
        .is_ok()
        {
            let comment = signature
                .trusted_comment()
                .map_err(|error| error.to_string())?;
            return Ok(Signed::Trusted { key, comment });
        }
    }
    Err(format!(
        "its signature by key {key} is wrong: it was changed, or another key has that name"
    ))
}

/// Reads a signature. Strictly: what follows takes lengths for granted.
fn parsed(text: &str) -> Result<SignatureBox, String> {
    let wrong = || "its signature is not in minisign's format".to_owned();
    let lines: Vec<&str> = text.lines().collect();
    let [_, signature, comment, global] = lines[..] else {
        return Err(wrong());
    };
    let long = |line: &str, bytes: usize| {
        STANDARD
            .decode(line)
            .is_ok_and(|decoded| decoded.len() == bytes)
    };
    if !long(signature, 74) || !long(global, 64) || !comment.starts_with("trusted comment: ") {
        return Err(wrong());
    }
    SignatureBox::from_string(text).map_err(|_| wrong())
}

/// Why a secret key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It has a password.
    #[error("it is protected by a password")]
    Protected,
    /// Something else.
    #[error("{0}")]
    Wrong(String),
}

/// Signs bundles.
pub struct Signer {
    secret: SecretKey,
    public: PublicKey,
}

impl Signer {
    /// Reads a secret key, as minisign writes it.
    ///
    /// # Errors
    /// When it is none, or the password is wrong or missing.
    pub fn read(
        text: &Secret<String>,
        password: Option<&Secret<String>>,
    ) -> Result<Self, KeyError> {
        let wrong = |error: minisign::PError| KeyError::Wrong(error.to_string());
        let line = text.expose().lines().nth(1).unwrap_or_default();
        let bytes = zeroize::Zeroizing::new(STANDARD.decode(line.trim()).unwrap_or_default());
        if bytes.len() != 158 || &bytes[..2] != b"Ed" {
            let why = "it is no secret key of minisign".to_owned();
            return Err(KeyError::Wrong(why));
        }
        let secret = if bytes[2..4] == [0, 0] {
            // minisign writes no checksum where there is no password; a damaged key is noticed when it signs.
            SecretKey::from_bytes(&bytes).map_err(wrong)?
        } else {
            let password = password.ok_or(KeyError::Protected)?;
            SecretKeyBox::from(text.expose().clone())
                .into_secret_key(Some(password.expose().clone()))
                .map_err(wrong)?
        };
        let public = PublicKey::from_secret_key(&secret).map_err(wrong)?;
        Ok(Self { secret, public })
    }

    /// Returns the key that its signatures are checked with.
    #[must_use]
    pub fn public(&self) -> TrustedKey {
        TrustedKey(self.public.clone())
    }

    /// Signs a text.
    pub(super) fn sign(&self, text: &[u8], comment: &str) -> Result<String, String> {
        // A line of its own is all that it can be.
        let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
        let made = minisign::sign(
            Some(&self.public),
            &self.secret,
            Cursor::new(text),
            Some(&comment),
            Some("signature of a Foundry bundle's index.json"),
        );
        Ok(made.map_err(|error| error.to_string())?.into_string())
    }
}

/// Makes a pair of keys: the texts of both files, the secret one first. Without a password the secret key is protected by
/// nothing but its file's mode.
///
/// # Errors
/// When there is no randomness, or not enough memory to stretch the password.
pub fn generate(password: Option<&Secret<String>>) -> Result<(Secret<String>, TrustedKey), String> {
    let made = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.expose().clone())),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let KeyPair { pk, sk } = made.map_err(|error| error.to_string())?;
    let text = sk
        .to_box(Some("secret key for Foundry bundles"))
        .map_err(|error| error.to_string())?;
    Ok((Secret::new(text.into_string()), TrustedKey(pk)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_text_and_key_alone() {
        let (secret, public) = generate(None).unwrap();
        let signer = Signer::read(&secret, None).unwrap();
        assert_eq!(signer.public().written(), public.written());
        let signature = signer
            .sign(b"the index", "stack: lab\ntrusted comment: x")
            .unwrap();
        let keys = [generate(None).unwrap().1, public.clone()];
        let Ok(Signed::Trusted { key, comment }) = check(b"the index", &signature, &keys) else {
            panic!("{signature}");
        };
        assert_eq!(key, public.id());
        assert_eq!(comment, "stack: labtrusted comment: x");
        let unknown = Signed::Unknown { key: public.id() };
        assert_eq!(check(b"the index", &signature, &keys[..1]), Ok(unknown));
        assert!(check(b"the indeX", &signature, &keys).is_err());
        let other = signature.replace("stack: lab", "stack: bal");
        assert!(check(b"the index", &other, &keys).is_err());
        // A key of the same name signs for nobody else.
        let mut bytes = STANDARD
            .decode(generate(None).unwrap().1.written())
            .unwrap();
        bytes[2..10].copy_from_slice(&STANDARD.decode(public.written()).unwrap()[2..10]);
        let namesake = TrustedKey::parse(&STANDARD.encode(bytes)).unwrap();
        assert_eq!(namesake.id(), public.id());
        assert!(check(b"the index", &signature, std::slice::from_ref(&namesake)).is_err());
        assert!(check(b"the index", &signature, &[namesake, public]).is_ok());
    }

    #[test]
    fn what_is_no_signature_is_refused_and_never_a_panic() {
        let (secret, public) = generate(None).unwrap();
        let signature = Signer::read(&secret, None)
            .unwrap()
            .sign(b"x", "comment")
            .unwrap();
        let lines: Vec<&str> = signature.lines().collect();
        let keys = [public];
        for at in 0..4 {
            for instead in [
                "",
                "AA==",
                "untrusted comment: ",
                "trusted comment: ",
                lines[1],
                lines[3],
            ] {
                let mut changed = lines.clone();
                changed[at] = instead;
                if changed != lines {
                    let text = changed.join("\n");
                    // Of the first line nobody promises anything but how it begins.
                    let fine = at == 0 && instead.starts_with("untrusted");
                    let good = matches!(check(b"x", &text, &keys), Ok(Signed::Trusted { .. }));
                    assert_eq!(good, fine, "{text}");
                }
            }
        }
        for cut in 0..signature.len() - 1 {
            assert!(
                check(b"x", &signature[..cut], &keys).is_err(),
                "cut at {cut}"
            );
        }
        for bit in 0..signature.len() * 8 {
            let mut bytes = signature.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            let first = signature.find('\n').unwrap();
            if bit / 8 > first {
                let found = check(b"x", &text, &keys);
                assert!(!matches!(found, Ok(Signed::Trusted { .. })), "{text}");
            }
        }
    }

    #[test]
    fn a_password_protects_a_key() {
        let password = Secret::new("hunter2 hunter2".to_owned());
        let (secret, public) = generate(Some(&password)).unwrap();
        let wrong = Secret::new("hunter3".to_owned());
        assert!(matches!(
            Signer::read(&secret, None),
            Err(KeyError::Protected)
        ));
        assert!(matches!(
            Signer::read(&secret, Some(&wrong)),
            Err(KeyError::Wrong(_))
        ));
        let signer = Signer::read(&secret, Some(&password)).unwrap();
        assert_eq!(signer.public().id(), public.id());
        let (bare, _) = generate(None).unwrap();
        let mut bytes = STANDARD
            .decode(bare.expose().lines().nth(1).unwrap())
            .unwrap();
        // Of its public half.
        bytes[120] ^= 1;
        let damaged = Secret::new(format!(
            "untrusted comment: x\n{}\n",
            STANDARD.encode(bytes)
        ));
        let signer = Signer::read(&damaged, None).unwrap();
        assert!(signer.sign(b"x", "comment").is_err());
        let none = Secret::new("untrusted comment: x\nRWQ=\n".to_owned());
        assert!(matches!(Signer::read(&none, None), Err(KeyError::Wrong(_))));
        for wrong in ["", "RWQ", "untrusted comment: x", public.id().as_str()] {
            assert!(TrustedKey::parse(wrong).is_err(), "{wrong}");
        }
        let file = format!("untrusted comment: x\n{}\n", public.written());
        assert_eq!(TrustedKey::parse(&file).unwrap().id(), public.id());
    }
}
