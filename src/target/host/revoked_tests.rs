//! Tests of `revoked`: against the files and the verdicts of the real `ssh-keygen`.

use std::path::PathBuf;
use std::process::Command;

use russh::keys::Certificate;

use super::*;

/// A folder with keys, certificates and lists made by `ssh-keygen`.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Option<Self> {
        let bench = Self(tempfile::tempdir().unwrap());
        Command::new("ssh-keygen").arg("-?").output().ok()?;
        for name in ["ca", "other-ca", "a", "b", "c"] {
            bench.keygen(&["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name]);
        }
        for (ca, name, id, serial) in [
            ("ca", "a", "host-a", "7"),
            ("ca", "b", "host-b", "70"),
            ("other-ca", "c", "host-c", "7"),
        ] {
            let public = format!("{name}.pub");
            bench.keygen(&[
                "-q", "-s", ca, "-h", "-I", id, "-n", "h", "-z", serial, &public,
            ]);
        }
        Some(bench)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn keygen(&self, arguments: &[&str]) {
        let done = Command::new("ssh-keygen")
            .args(arguments)
            .current_dir(&self.0)
            .output();
        let done = done.unwrap();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }

    fn key(&self, name: &str) -> PublicKeyOrCertificate {
        PublicKey::read_openssh_file(self.at(&format!("{name}.pub")))
            .unwrap()
            .into()
    }

    fn certificate(&self, name: &str) -> PublicKeyOrCertificate {
        let file = self.at(&format!("{name}-cert.pub"));
        Certificate::read_file(&file).unwrap().into()
    }
}

#[test]
fn lists_revoke_what_ssh_keygen_says_they_do() {
    let Some(bench) = Bench::new() else { return };
    let hash = |name: &str| {
        let key = PublicKey::read_openssh_file(bench.at(&format!("{name}.pub"))).unwrap();
        key.fingerprint(russh::keys::HashAlg::Sha256).to_string()
    };
    let public = |name: &str| std::fs::read_to_string(bench.at(&format!("{name}.pub"))).unwrap();
    let specifications = [
        ("key", public("a"), false),
        ("explicit", format!("key: {}", public("b")), true),
        ("sha1", format!("sha1: {}", public("a")), true),
        ("sha256", format!("hash: {}\n", hash("c")), true),
        ("serial", "serial: 7\n".to_owned(), true),
        ("range", "serial: 60-80\n".to_owned(), true),
        // Many single ones become a bitmap.
        (
            "bitmap",
            (1..100)
                .step_by(3)
                .map(|n| format!("serial: {n}\n"))
                .collect(),
            true,
        ),
        ("id", "id: host-b\n".to_owned(), true),
        ("nothing", String::new(), true),
    ];
    for (name, text, needs_ca) in specifications {
        std::fs::write(bench.at(name), text).unwrap();
        let list = format!("{name}.krl");
        let mut arguments = vec!["-q", "-k", "-f", &list];
        if needs_ca {
            arguments.extend(["-s", "ca.pub"]);
        }
        arguments.push(name);
        bench.keygen(&arguments);
        let revoked = Revoked::read(&bench.at(&list)).unwrap();
        for key in ["a", "b", "c", "ca"] {
            for (offered, file) in [
                (Some(bench.key(key)), format!("{key}.pub")),
                (
                    (key != "ca").then(|| bench.certificate(key)),
                    format!("{key}-cert.pub"),
                ),
            ] {
                let Some(offered) = offered else { continue };
                let judged = Command::new("ssh-keygen")
                    .args(["-Q", "-f", &list, &file])
                    .current_dir(&bench.0)
                    .output();
                let theirs = !judged.unwrap().status.success();
                assert_eq!(revoked.holds(&offered), theirs, "{name} {file}");
            }
        }
    }
}

#[test]
fn plain_lists_revoke_keys_and_authorities() {
    let Some(bench) = Bench::new() else { return };
    let text = format!(
        "# gone\n\n{}{}",
        std::fs::read_to_string(bench.at("a.pub")).unwrap(),
        std::fs::read_to_string(bench.at("other-ca.pub")).unwrap()
    );
    std::fs::write(bench.at("list"), text).unwrap();
    let revoked = Revoked::read(&bench.at("list")).unwrap();
    assert!(revoked.holds(&bench.key("a")));
    assert!(revoked.holds(&bench.certificate("a")));
    assert!(revoked.holds(&bench.certificate("c")), "its authority");
    assert!(!revoked.holds(&bench.key("c")));
    assert!(!revoked.holds(&bench.certificate("b")));
}

#[test]
fn a_list_that_can_not_be_read_is_an_error() {
    let Some(bench) = Bench::new() else { return };
    std::fs::write(bench.at("spec"), "serial: 1-5\nid: x\n").unwrap();
    bench.keygen(&["-q", "-k", "-f", "krl", "-s", "ca.pub", "spec"]);
    let whole = std::fs::read(bench.at("krl")).unwrap();
    // Ends where a section does are the only ones at which it looks whole.
    let mut good = 0;
    for length in 0..whole.len() {
        std::fs::write(bench.at("cut"), &whole[..length]).unwrap();
        good += usize::from(Revoked::read(&bench.at("cut")).is_ok());
    }
    assert!(good <= 2, "{good}");
    for (text, why) in [
        ("not a key\n", "line 1"),
        ("SSHKRL\n\0\0\0\0\x02", "version 2"),
    ] {
        std::fs::write(bench.at("odd"), text).unwrap();
        let error = Revoked::read(&bench.at("odd")).unwrap_err();
        assert!(
            error.contains(why) && error.contains("RevokedHostKeys"),
            "{error}"
        );
    }
    assert!(Revoked::read(&bench.at("nowhere")).is_err());
}
