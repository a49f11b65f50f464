//! Host keys that differ or that nothing is known of.

use super::*;

#[tokio::test]
async fn another_host_key_than_the_known_one_is_refused_and_nobody_is_asked() {
    let Some(sshd) = Sshd::start("") else { return };
    let other = generate_key("").unwrap().1;
    let person = Arc::new(Person {
        trusts: true,
        ..Person::default()
    });
    let asking = AccessSettings {
        host_keys: HostKeys::Ask,
        prompts: Some(person.clone()),
        ..settings(&sshd.path(""))
    };
    let mut pinned = host("a", &sshd);
    pinned.host_key = Some(other.clone());
    let fleet = Fleet::new(stack(vec![pinned]), asking.clone());
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    assert!(error.message.contains("`host_key` in the stack"), "{error}");

    let mut known = host("a", &sshd);
    known.host_key = None;
    std::fs::write(
        &asking.known_hosts,
        format!("# mine\n[127.0.0.1]:{} {other}\n", sshd.port),
    )
    .unwrap();
    let fleet = Fleet::new(stack(vec![known]), asking.clone());
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    let place = format!("{}:2", asking.known_hosts.display());
    assert!(error.message.contains(&place), "{error}");
    assert!(error.message.contains("expected SHA256:"), "{error}");
    assert_eq!(person.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_or_asked_about_once() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut unknown = host("a", &sshd);
    unknown.host_key = None;
    let stack = stack(vec![unknown]);
    let strict = settings(&sshd.path(""));
    let error = Fleet::new(stack.clone(), strict.clone())
        .reader(H)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    let hint = error.hint.unwrap();
    let line: Vec<&str> = sshd.host_key.split(' ').take(2).collect();
    assert!(hint.contains(&line.join(" ")), "{hint}");

    let asked = |trusts| {
        let person = Arc::new(Person {
            trusts,
            ..Person::default()
        });
        let settings = AccessSettings {
            host_keys: HostKeys::Ask,
            prompts: Some(person.clone()),
            ..strict.clone()
        };
        (person, Fleet::new(stack.clone(), settings))
    };
    let (person, fleet) = asked(false);
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    assert_eq!(person.asked().len(), 1);
    assert!(!strict.known_hosts.exists());

    let (person, fleet) = asked(true);
    fleet.reader(H).await.unwrap();
    assert_eq!(person.asked().len(), 1);
    assert!(person.asked()[0].starts_with("key a SHA256:"));
    // Written down: the next one is strict and gets in.
    Fleet::new(stack.clone(), strict).reader(H).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_revoked_is_refused_though_it_is_pinned() {
    let Some(sshd) = Sshd::start("") else { return };
    let settings = settings(&sshd.path(""));
    std::fs::write(
        &settings.known_hosts,
        format!("@revoked * {}\n", sshd.host_key),
    )
    .unwrap();
    let fleet = Fleet::new(stack(vec![host("a", &sshd)]), settings.clone());
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::HostKey);
    let place = format!("{}:1", settings.known_hosts.display());
    assert!(error.message.contains("is marked as revoked"), "{error}");
    assert!(error.message.contains(&place), "{error}");
    // So does the command line for a person's shell.
    let mut command = ssh_command(&fleet, H).unwrap();
    command.args(["-F", "none", "-o", "BatchMode=yes", "true"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("REVOKED"),
        "{said}"
    );
    std::fs::write(&settings.known_hosts, "").unwrap();
    let fleet = Fleet::new(stack(vec![host("a", &sshd)]), settings);
    let mut command = ssh_command(&fleet, H).unwrap();
    let output = command
        .args(["-F", "none", "-o", "BatchMode=yes", "true"])
        .output();
    assert!(output.unwrap().status.success());
}

/// Whether one gets in: the real `ssh`, and Foundry, which must agree.
async fn get_in(sshd: &Sshd, options: &str, agent: Option<&Path>) -> bool {
    let config = sshd.path("ssh_config");
    let text = format!(
        "{options}\nHost lab-1\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n\
         GlobalKnownHostsFile none\nStrictHostKeyChecking yes\nIdentityAgent none\n",
        sshd.port,
        sshd.user,
        sshd.identity.display(),
        sshd.path("kh").display(),
    );
    std::fs::write(&config, &text).unwrap();
    let mut real = tokio::process::Command::new("ssh");
    real.arg("-F")
        .arg(&config)
        .args(["-o", "BatchMode=yes", "lab-1", "true"])
        .stdin(std::process::Stdio::null());
    match agent {
        Some(agent) => real.env("SSH_AUTH_SOCK", agent),
        None => real.env_remove("SSH_AUTH_SOCK"),
    };
    let real = real.output().await.unwrap();
    let mut bare = host("lab-1", sshd);
    bare.address = "lab-1".into();
    (bare.port, bare.user, bare.identity, bare.host_key) = (None, None, None, None);
    let settings = AccessSettings {
        ssh_config: Some(config),
        agent: agent.map(Path::to_owned),
        ..settings(&sshd.path("home"))
    };
    let fleet = Fleet::new(stack(vec![bare]), settings);
    let ours = run(&fleet, "true").await;
    assert_eq!(
        ours.is_ok(),
        real.status.success(),
        "{options}: {:?} {}",
        ours.err(),
        String::from_utf8_lossy(&real.stderr)
    );
    ours.is_ok()
}

#[tokio::test]
async fn rules_of_the_ssh_configuration_let_in_whom_ssh_lets_in() {
    let Some(sshd) = Sshd::start("") else { return };
    let known = format!(
        "[127.0.0.1]:{} {}\nalias {}\n",
        sshd.port, sshd.host_key, sshd.host_key
    );
    std::fs::write(sshd.path("kh"), &known).unwrap();
    let at = |name: &str| sshd.path(name).display().to_string();
    let other = generate_key("").unwrap().1;
    std::fs::write(sshd.path("revoked"), format!("{}\n", sshd.host_key)).unwrap();
    std::fs::write(sshd.path("others"), format!("{other}\n")).unwrap();
    for name in ["revoked", "others"] {
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-k", "-f", &at(&format!("{name}.krl")), &at(name)])
            .status();
        assert!(made.unwrap().success());
    }
    std::fs::write(sshd.path("cut.krl"), "SSHKRL\n\0\0\0").unwrap();
    std::fs::write(
        sshd.path("kh2"),
        format!("{known}@revoked * {}\n", sshd.host_key),
    )
    .unwrap();
    for (options, wanted) in [
        (String::new(), true),
        (format!("RevokedHostKeys {}", at("revoked")), false),
        (format!("RevokedHostKeys {}", at("revoked.krl")), false),
        (format!("RevokedHostKeys {}", at("others")), true),
        (format!("RevokedHostKeys {}", at("others.krl")), true),
        (format!("RevokedHostKeys {}", at("cut.krl")), false),
        (format!("RevokedHostKeys {}", at("nowhere")), false),
        (
            format!("Host other\nRevokedHostKeys {}", at("revoked")),
            true,
        ),
        (format!("UserKnownHostsFile {}", at("kh2")), false),
        (
            format!("UserKnownHostsFile {} {}", at("others"), at("kh")),
            true,
        ),
        ("UserKnownHostsFile none".to_owned(), false),
        ("HostKeyAlias alias".to_owned(), true),
        ("HostKeyAlias other".to_owned(), false),
        ("HostKeyAlgorithms ecdsa-sha2-nistp256".to_owned(), false),
        ("HostKeyAlgorithms -ssh-ed25519*".to_owned(), false),
        ("HostKeyAlgorithms ^ecdsa-sha2-nistp256".to_owned(), true),
        ("KexAlgorithms curve25519-sha256".to_owned(), true),
        ("Ciphers aes128-ctr\nMACs hmac-sha2-256".to_owned(), true),
        (
            "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256".to_owned(),
            false,
        ),
        ("PubkeyAcceptedAlgorithms ssh-ed25519".to_owned(), true),
        ("PubkeyAuthentication no".to_owned(), false),
        ("PreferredAuthentications password".to_owned(), false),
    ] {
        assert_eq!(get_in(&sshd, &options, None).await, wanted, "{options}");
    }
}

#[tokio::test]
async fn identities_only_leaves_the_agents_other_keys_out() {
    let Some(sshd) = Sshd::start("") else { return };
    std::fs::write(
        sshd.path("kh"),
        format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key),
    )
    .unwrap();
    // The key that the host takes is in the agent alone; another one lies where a key is named.
    let socket = sshd.path("agent");
    let agent = tokio::process::Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the agent listens", || socket.exists());
    let taken = sshd.path("taken");
    std::fs::rename(&sshd.identity, &taken).unwrap();
    let added = std::process::Command::new("ssh-add")
        .arg("-q")
        .arg(&taken)
        .env("SSH_AUTH_SOCK", &socket)
        .status();
    assert!(added.unwrap().success());
    let public = std::process::Command::new("ssh-keygen")
        .arg("-y")
        .arg("-f")
        .arg(&taken)
        .output();
    std::fs::write(sshd.path("taken.pub"), public.unwrap().stdout).unwrap();
    let stranger = generate_key("").unwrap().0;
    private_file(&sshd.identity, &stranger);
    let named = format!(
        "IdentitiesOnly yes\nIdentityFile {}",
        sshd.path("taken.pub").display()
    );
    for (options, wanted) in [
        ("IdentityAgent SSH_AUTH_SOCK", true),
        ("IdentityAgent SSH_AUTH_SOCK\nIdentitiesOnly yes", false),
        ("IdentityAgent none", false),
        (
            &format!("IdentityAgent {}\n{named}", socket.display()),
            true,
        ),
    ] {
        assert_eq!(
            get_in(&sshd, options, Some(&socket)).await,
            wanted,
            "{options}"
        );
    }
    drop(agent);
}
