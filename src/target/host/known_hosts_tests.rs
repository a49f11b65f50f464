//! Tests of `known_hosts`: matching, judging, recording.

use russh::keys::PrivateKey;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

use super::*;

fn secret(seed: u8) -> PrivateKey {
    PrivateKey::new(
        KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32])),
        "",
    )
    .unwrap()
}

fn key(seed: u8) -> PublicKey {
    secret(seed).public_key().clone()
}

fn known(text: &str) -> KnownHosts {
    let mut known = KnownHosts::default();
    known.add(Path::new("known_hosts"), text);
    known
}

fn judge(text: &str, address: &str, port: u16, offered: &PublicKey) -> Judgement {
    let known_as = super::super::route::known_as(address, port);
    known(text).judge(
        address,
        &known_as,
        &PublicKeyOrCertificate::from(offered.clone()),
        None,
    )
}

fn differs(seed: u8, line: usize) -> Judgement {
    Judgement::Differs {
        expected: fingerprint(&key(seed)),
        place: format!("known_hosts:{line}"),
    }
}

const UNKNOWN: Judgement = Judgement::Unknown { note: None };

#[test]
fn names_ports_and_patterns() {
    let one = one_line(&key(1)).unwrap();
    for (hosts, address, port, trusted) in [
        ("a.example.com", "a.example.com", 22, true),
        ("a.example.com", "A.Example.com", 22, true),
        ("a.example.com", "a.example.com", 2222, false),
        ("[a.example.com]:2222", "a.example.com", 2222, true),
        ("[a.example.com]:2222", "a.example.com", 22, false),
        ("x,10.0.0.1,y", "10.0.0.1", 22, true),
        ("*.example.com", "b.example.com", 22, true),
        ("*.example.com,!b.example.com", "b.example.com", 22, false),
        ("[*.example.com]:22?", "b.example.com", 222, true),
        ("fe80::1", "fe80::1", 22, true),
        ("[fe80::1]:2200", "fe80::1", 2200, true),
    ] {
        let wanted = if trusted { Judgement::Trusted } else { UNKNOWN };
        let text = format!("# comment\n\n{hosts}\t{one} comment # more\n");
        assert_eq!(
            judge(&text, address, port, &key(1)),
            wanted,
            "{hosts} {address} {port}"
        );
    }
}

#[test]
fn hashed_names() {
    // Made by `ssh-keygen -H` from `bao-1.example.com` and `[10.0.0.1]:2222`.
    let one = one_line(&key(1)).unwrap();
    let hash = |name: &str| {
        use russh::keys::ssh_key::known_hosts::HostPatterns;
        let salt = b"01234567890123456789".to_vec();
        let tag = Hmac::<Sha1>::new_from_slice(&salt)
            .unwrap()
            .chain_update(name.as_bytes())
            .finalize()
            .into_bytes();
        let mut hash = [0; 20];
        hash.copy_from_slice(&tag);
        HostPatterns::HashedName { salt, hash }.to_string()
    };
    let text = format!(
        "{} {one}\n{} {one}\n",
        hash("bao-1.example.com"),
        hash("[10.0.0.1]:2222")
    );
    assert_eq!(
        judge(&text, "bao-1.example.com", 22, &key(1)),
        Judgement::Trusted
    );
    assert_eq!(judge(&text, "10.0.0.1", 2222, &key(1)), Judgement::Trusted);
    assert_eq!(judge(&text, "10.0.0.1", 22, &key(1)), UNKNOWN);
    assert_eq!(
        judge(&text, "bao-1.example.com", 22, &key(2)),
        differs(1, 1)
    );
}

#[test]
fn a_name_hashed_by_openssh_is_found() {
    // `printf 'bao.example.com ssh-ed25519 …' | ssh-keygen -H`, OpenSSH 9.2.
    let line = include_str!("testdata/hashed_known_host");
    let listed = known(line);
    assert_eq!(listed.algorithms("bao.example.com"), [Algorithm::Ed25519]);
    assert!(listed.algorithms("bao.example.org").is_empty());
}

#[test]
fn another_key_differs_unless_the_right_one_is_listed_too() {
    let (one, two) = (one_line(&key(1)).unwrap(), one_line(&key(2)).unwrap());
    assert_eq!(
        judge(&format!("a {one}\n"), "a", 22, &key(2)),
        differs(1, 1)
    );
    assert_eq!(
        judge(&format!("a {one}\na {two}\n"), "a", 22, &key(2)),
        Judgement::Trusted
    );
}

#[test]
fn a_key_that_cannot_be_checked_is_mentioned_and_decides_nothing() {
    let rsa = include_str!("testdata/rsa.pub").trim();
    let Judgement::Unknown { note: Some(note) } = judge(&format!("a {rsa}\n"), "a", 22, &key(1))
    else {
        panic!("not unknown");
    };
    assert!(
        note.contains("ssh-rsa") && note.contains("known_hosts:1"),
        "{note}"
    );
}

#[test]
fn revoked_wins() {
    let one = one_line(&key(1)).unwrap();
    let text = format!("a {one}\n@revoked * {one}\n");
    assert_eq!(
        judge(&text, "a", 22, &key(1)),
        Judgement::Revoked {
            place: "known_hosts:2".into()
        }
    );
    assert_eq!(judge(&text, "b", 22, &key(2)), UNKNOWN);
}

#[test]
fn broken_lines_are_left_out() {
    let one = one_line(&key(1)).unwrap();
    let text = format!("a\na ssh-ed25519 !!!\n@strange a {one}\n|1|x|y {one}\na {one}\n");
    assert_eq!(judge(&text, "a", 22, &key(1)), Judgement::Trusted);
    assert_eq!(known(&text).lines.len(), 1);
}

fn certificate(kind: CertType, principal: &str, window: (u64, u64)) -> PublicKeyOrCertificate {
    let mut builder =
        Builder::new(vec![7; 16], key(1).key_data().clone(), window.0, window.1).unwrap();
    builder.cert_type(kind).unwrap();
    builder.valid_principal(principal).unwrap();
    PublicKeyOrCertificate::from(builder.sign(&secret(9)).unwrap())
}

#[test]
fn certificates_are_judged_by_their_authority() {
    let ever = (0, u64::from(u32::MAX) * 2);
    let text = format!(
        "@cert-authority *.example.com {}\n",
        one_line(&key(9)).unwrap()
    );
    let judge = |text: &str, offered: &PublicKeyOrCertificate| {
        known(text).judge("a.example.com", "[a.example.com]:22", offered, None)
    };
    let text_port = text.replace("*.example.com", "[*.example.com]:22");
    let good = certificate(CertType::Host, "a.example.com", ever);
    assert_eq!(judge(&text_port, &good), Judgement::Trusted);
    for (text, offered, word) in [
        (
            text_port.clone(),
            certificate(CertType::User, "a.example.com", ever),
            "for users",
        ),
        (
            text_port.clone(),
            certificate(CertType::Host, "b.example.com", ever),
            "for b.example.com",
        ),
        (
            text_port.clone(),
            certificate(CertType::Host, "a.example.com", (0, 1)),
            "not valid now",
        ),
        (
            format!("@cert-authority * {}\n", one_line(&key(8)).unwrap()),
            certificate(CertType::Host, "a.example.com", ever),
            "no `@cert-authority`",
        ),
    ] {
        let Judgement::BadCertificate { why } = judge(&text, &offered) else {
            panic!("taken: {word}");
        };
        assert!(why.contains(word), "{why}");
    }
    let revoked = format!("{text_port}@revoked * {}\n", one_line(&key(9)).unwrap());
    assert!(matches!(judge(&revoked, &good), Judgement::Revoked { .. }));
    assert!(known(&text).has_authority("x.example.com"));
    assert!(!known(&text).has_authority("x.example.org"));
}

#[test]
fn recorded_keys_are_found_again_by_others() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("deep/known_hosts");
    let mut mine = KnownHosts::default();
    mine.record(&file, "[a]:2222", &key(1)).unwrap();
    // A file that somebody edited and left without a last newline.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.trim_end()).unwrap();
    mine.record(&file, "b", &key(2)).unwrap();

    let read = KnownHosts::read(std::slice::from_ref(&file)).unwrap();
    for listed in [&mine, &read] {
        assert_eq!(
            listed.judge("a", "[a]:2222", &key(1).into(), None),
            Judgement::Trusted
        );
        assert_eq!(
            listed.judge("b", "b", &key(2).into(), None),
            Judgement::Trusted
        );
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn many_record_at_once_and_no_line_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("known_hosts");
    std::thread::scope(|scope| {
        for seed in 0..16 {
            let file = &file;
            scope.spawn(move || {
                KnownHosts::default()
                    .record(file, &format!("host-{seed}"), &key(seed))
                    .unwrap();
            });
        }
    });
    let read = KnownHosts::read(std::slice::from_ref(&file)).unwrap();
    assert_eq!(read.lines.len(), 16);
}
