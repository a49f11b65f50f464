//! A key of a host's own: makes one, and puts its public half where sshd looks for it. Stores no private key.

use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use zeroize::Zeroizing;

use super::error::words;
use super::sudo::quote;
use crate::probe::{AccessError, AccessKind, Program, with_functions};
use crate::run::Writer;
use crate::secret::Secret;

/// Adds `$line` to the authorized keys of `$user`, once: written beside and moved over, by the user, whose folder it is.
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
    let program = Program {
        text: Secret::new(program_text(user, public)),
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

fn program_text(user: &str, public: &str) -> String {
    format!(
        "set -eu\nuser={} line={}\n{}",
        quote(user),
        quote(public.trim()),
        with_functions(SCRIPT)
    )
}

#[cfg(test)]
mod tests {
    use russh::keys::{PublicKey, decode_secret_key};

    use super::*;

    /// Runs the script for the user ada, whose home is `home`, with accounts of its own.
    fn install(
        folder: &std::path::Path,
        home: &std::path::Path,
        key: &str,
    ) -> std::process::Output {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        for (name, line) in [
            (
                "passwd",
                format!("ada:x:64242:64242::{}:/bin/sh\n", home.display()),
            ),
            ("group", "ada:x:64242:\n".to_owned()),
        ] {
            let known = std::fs::read_to_string(format!("/etc/{name}")).unwrap();
            std::fs::write(folder.join(name), known + &line).unwrap();
        }
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-eu", "-c"])
            .arg(
                "for one in passwd group; do mount --bind \"$1/$one\" \"/etc/$one\"; done; exec sh",
            )
            .arg("sh")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(program_text("ada", key).as_bytes())
            .unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    #[test]
    fn a_key_goes_to_the_user_that_is_meant_and_through_no_link_to_another() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("ada");
        let etc = folder.path().join("etc");
        for one in [&home, &etc] {
            std::fs::create_dir(one).unwrap();
        }
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        chown(&home, Some(64242), Some(64242)).unwrap();
        symlink(&etc, home.join(".ssh")).unwrap();
        let refused = install(folder.path(), &home, "ssh-ed25519 AAAA it's me");
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("belongs to ada"), "{said}");
        assert_eq!(std::fs::read_dir(&etc).unwrap().count(), 0);
        std::fs::remove_file(home.join(".ssh")).unwrap();
        for _ in 0..2 {
            let done = install(folder.path(), &home, "ssh-ed25519 AAAA it's me");
            assert!(done.status.success(), "{done:?}");
        }
        let file = home.join(".ssh/authorized_keys");
        let keys = std::fs::read_to_string(&file).unwrap();
        assert_eq!(keys, "ssh-ed25519 AAAA it's me\n");
        assert_eq!(std::fs::metadata(&file).unwrap().uid(), 64242);
    }

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
