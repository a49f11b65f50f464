//! The key pairs of a lab: one for its admin user, one for each host, made here so that they are known from the start.
//! Knows no host.

use std::path::Path;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use zeroize::Zeroizing;

use crate::secret::{Secret, private};

use super::LabError;
use super::error::{file, system};

/// Makes an ed25519 key pair with `comment`.
///
/// # Errors
/// If the system has no randomness.
pub(super) fn generate(comment: &str) -> Result<PrivateKey, LabError> {
    let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&*random::<32>()?));
    key.set_comment(comment);
    Ok(key)
}

/// Returns a password of 20 letters and digits, about 119 bits.
///
/// # Errors
/// If the system has no randomness.
pub(super) fn password() -> Result<Secret<String>, LabError> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789ABCDEFG";
    let letters = random::<20>()?.map(|byte| char::from(LETTERS[usize::from(byte % 64)]));
    Ok(Secret::new(letters.iter().collect()))
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, LabError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(system("get random bytes"))?;
    Ok(bytes)
}

/// Returns the private key in OpenSSH's format.
///
/// # Errors
/// If the key cannot be encoded.
pub(super) fn private_text(key: &PrivateKey) -> Result<Zeroizing<String>, LabError> {
    key.to_openssh(LineEnding::LF)
        .map_err(system("encode a private key"))
}

/// Returns the public key as `ssh-ed25519 AAAA…`, without its comment.
///
/// # Errors
/// If the key cannot be encoded.
pub(super) fn public_text(key: &PrivateKey) -> Result<String, LabError> {
    let mut public = key.public_key().clone();
    public.set_comment("");
    let text = public.to_openssh().map_err(system("encode a public key"))?;
    Ok(text.trim_end().to_owned())
}

/// Returns the key pair in `path`, made there first if there is none.
///
/// # Errors
/// If the file cannot be read or written, or holds no key.
pub(super) fn load_or_generate(path: &Path, comment: &str) -> Result<PrivateKey, LabError> {
    if path.exists() {
        return russh::keys::load_secret_key(path, None)
            .map_err(system(format!("read the key {}", path.display())));
    }
    let key = generate(comment)?;
    write_private(path, private_text(&key)?.as_bytes())?;
    Ok(key)
}

/// Writes `path` atomically, readable by its owner alone from its first byte on.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), LabError> {
    private::write(path, content).map_err(file("write", path))
}

/// Makes `directory` and what is missing above it, open to its owner alone; one that is there stays as it is.
///
/// # Errors
/// If it cannot be made.
#[cfg(target_os = "linux")]
pub(super) fn make_private(directory: &Path) -> Result<(), LabError> {
    private::create_dir(directory).map_err(file("make", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/id_ed25519");
        let made = load_or_generate(&path, "lab").unwrap();
        let read = load_or_generate(&path, "lab").unwrap();
        assert_eq!(public_text(&made).unwrap(), public_text(&read).unwrap());
        assert!(public_text(&made).unwrap().starts_with("ssh-ed25519 AAAA"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn passwords_differ() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 20);
    }
}
