//! Private key files: reads each once, asks once for the passphrase of an encrypted one. Logs in nowhere.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use russh::keys::{Certificate, PrivateKey, PublicKey, decode_secret_key};
use tokio::sync::Mutex;

use super::settings::{Password, PasswordWanted, Prompts};
use crate::secret::private;

/// A key that can sign.
#[derive(Clone)]
pub(super) struct Signer {
    pub key: Arc<PrivateKey>,
    /// The certificate that lies beside it (`<file>-cert.pub`).
    pub certificate: Option<Certificate>,
}

/// Why a file gives no key, in words that follow its name.
pub(super) type Useless = String;

/// All key files that were looked at. One that was declined or wrong isn't asked about again.
#[derive(Default)]
pub(super) struct Keys {
    files: Mutex<HashMap<PathBuf, Result<Signer, Useless>>>,
    /// Public halves that were found: all hosts of a fleet name the same file.
    public: std::sync::Mutex<HashMap<PathBuf, PublicKey>>,
}

impl Keys {
    /// Returns the public half of a key file, without asking anybody; `None` if there is none to be had.
    pub fn public_half(&self, file: &Path) -> Option<PublicKey> {
        let mut public = self.public.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = public.get(file) {
            return Some(known.clone());
        }
        let found = public_half(file)?;
        public.insert(file.to_owned(), found.clone());
        Some(found)
    }

    /// Returns the key in `file`, for logging in as `user` on `host`.
    ///
    /// # Errors
    /// When there is none to be had; the text says why.
    pub async fn load(
        &self,
        file: &Path,
        host: &Arc<str>,
        user: &str,
        prompts: Option<&Arc<dyn Prompts>>,
    ) -> Result<Signer, Useless> {
        // Held over the question: a second host that wants the same key waits for the one answer.
        let mut files = self.files.lock().await;
        if let Some(known) = files.get(file) {
            return known.clone();
        }
        let wanted = PasswordWanted {
            host: Arc::clone(host),
            user: user.to_owned(),
            what: Password::Passphrase(file.to_owned()),
        };
        let result = read(file, &wanted, prompts).await;
        files.insert(file.to_owned(), result.clone());
        result
    }
}

async fn read(
    file: &Path,
    wanted: &PasswordWanted,
    prompts: Option<&Arc<dyn Prompts>>,
) -> Result<Signer, Useless> {
    // As `ssh`: a key that others could have copied logs nobody in.
    let text = zeroize::Zeroizing::new(private::read(file).map_err(|error| error.to_string())?);
    let certificate = Certificate::read_file(&beside(file, "-cert.pub")).ok();
    let key = match decode_secret_key(&text, None) {
        Err(russh::keys::Error::KeyIsEncrypted) => {
            let prompts =
                prompts.ok_or("is encrypted, and nobody can be asked for its passphrase")?;
            let passphrase = prompts
                .password(wanted)
                .await
                .ok_or("is encrypted, and no passphrase was given")?;
            // The key derivation takes a good part of a second, on purpose.
            tokio::task::spawn_blocking(move || {
                decode_secret_key(&text, Some(passphrase.expose().as_str()))
                    .map_err(|error| format!("can't be decrypted: {error}"))
            })
            .await
            .map_err(|error| error.to_string())??
        }
        Err(russh::keys::Error::UnsupportedKeyType {
            key_type_string, ..
        }) => return Err(unsupported(&key_type_string)),
        Err(error) => return Err(format!("is not a private key that can be read: {error}")),
        Ok(key) => key,
    };
    if key.algorithm().is_rsa() {
        return Err(unsupported("RSA"));
    }
    Ok(Signer {
        key: Arc::new(key),
        certificate,
    })
}

fn unsupported(kind: &str) -> Useless {
    format!(
        "is an {kind} key, which Foundry can't sign with itself (an SSH agent that holds it can; `ssh-keygen -t ed25519` makes a better one)"
    )
}

/// Returns the public half of a key file without asking anybody: from the file itself (OpenSSH's format shows it even
/// when encrypted), from the `.pub` beside it, or because the file is a public key.
fn public_half(file: &Path) -> Option<PublicKey> {
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).ok()?);
    PublicKey::from_openssh(text.trim())
        .ok()
        .or_else(|| {
            Some(
                PrivateKey::from_openssh(text.as_bytes())
                    .ok()?
                    .public_key()
                    .clone(),
            )
        })
        .or_else(|| PublicKey::read_openssh_file(beside(file, ".pub")).ok())
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_key_that_others_could_have_copied_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id_ed25519");
        let (key, _) = super::super::install::generate_key("a test").unwrap();
        private::write(&file, key.expose().as_bytes()).unwrap();
        let load = async |mode: u32| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            Keys::default().load(&file, &"a".into(), "ada", None).await
        };
        assert!(load(0o600).await.is_ok());
        for mode in [0o666, 0o644, 0o640] {
            let why = load(mode).await.map(drop).unwrap_err();
            assert!(
                why.contains(&format!("others can read it (mode {mode:04o})")),
                "{why}"
            );
        }
    }
}
