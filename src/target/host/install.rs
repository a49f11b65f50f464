//! A key of a host's own: makes one, and puts its public half where sshd looks for it. Stores no private key.

use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use zeroize::Zeroizing;

use super::error::words;
use super::sudo::quote;
use crate::probe::{AccessError, AccessKind, Program};
use crate::run::Writer;
use crate::secret::Secret;

/// Adds `$line` to the authorized keys of `$user`, once: written beside and moved over, owned by the user.
const SCRIPT: &str = include_str!("install_key.sh");

/// Makes an Ed25519 key pair: the private half as OpenSSH writes it to a file, the public half as one line of
/// authorized_keys that ends in `comment`.
///
/// # Errors
/// When the system has no randomness to give.
pub fn generate_key(comment: &str) -> Result<(Secret<String>, String), String> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|error| error.to_string())?;
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, comment).map_err(|error| error.to_string())?;
    let text = |error: russh::keys::ssh_key::Error| error.to_string();
    let private = key.to_openssh(LineEnding::LF).map_err(text)?;
    let public = key.public_key().to_openssh().map_err(text)?;
    Ok((Secret::new(private.as_str().to_owned()), public))
}

/// Lets whoever holds the key of `public` log in as `user`; a second time changes nothing.
///
/// # Errors
/// When the host can't be told, or `user` has no home there.
pub async fn install_key(
    writer: &dyn Writer,
    host: &std::sync::Arc<str>,
    user: &str,
    public: &str,
) -> Result<(), AccessError> {
    let text = format!(
        "user={} line={}\n{SCRIPT}",
        quote(user),
        quote(public.trim())
    );
    let program = Program {
        text: Secret::new(text),
        deadline: Duration::from_secs(60),
    };
    let reply = writer.run(&program).await?;
    if reply.status == Some(0) {
        return Ok(());
    }
    Err(super::error::access(
        host,
        AccessKind::Host,
        format!(
            "the key could not be put in place: {}",
            words(&reply.stderr, 1024)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use russh::keys::{PublicKey, decode_secret_key};

    use super::*;

    #[test]
    fn a_made_key_can_be_read_again_and_its_halves_belong_together() {
        let (private, public) = generate_key("bao-1 of lab").unwrap();
        let key = decode_secret_key(private.expose(), None).unwrap();
        let line = PublicKey::from_openssh(&public).unwrap();
        assert_eq!(key.public_key().key_data(), line.key_data());
        assert!(public.starts_with("ssh-ed25519 AAAA") && public.ends_with(" bao-1 of lab"));
        assert_ne!(public, generate_key("bao-1 of lab").unwrap().1);
    }
}
