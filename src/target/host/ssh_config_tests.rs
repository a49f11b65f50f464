//! Tests of `ssh_config`: every spelling, conditions, rules; and the same answers as the real `ssh` gives.

use super::*;

fn read(files: &[(&str, &str)]) -> (tempfile::TempDir, SshConfig) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".ssh")).unwrap();
    for (name, text) in files {
        std::fs::write(home.path().join(".ssh").join(name), text).unwrap();
    }
    let file = home.path().join(".ssh/config");
    let config = SshConfig::read([&file], home.path(), "ada").unwrap();
    (home, config)
}

#[test]
fn options_are_found_in_every_spelling() {
    let (home, config) = read(&[(
        "config",
        "# first\nUser=anna\nHost bao-?\n\tPort 2222\n  HostName \"%h.example.com\"\n  IdentityFile ~/.ssh/lab\n  ProxyJump = a, root@b:22\nHost *\nIdentityFile %d/keys/%r\nPort 99\n",
    )]);
    let said = config.of("bao-1").unwrap();
    assert_eq!(
        said,
        SshOptions {
            address: Some("bao-1.example.com".into()),
            port: Some(2222),
            user: Some("anna".into()),
            identities: vec![home.path().join(".ssh/lab"), home.path().join("keys/anna")],
            jumps: vec!["a".into(), "root@b:22".into()],
            proxy_command: None,
            rules: Arc::default(),
        }
    );
    assert_eq!(config.of("other").unwrap().port, Some(99));
    let (_home, config) = read(&[("config", "ProxyJump a,root@b:22\nPort x\n")]);
    assert!(config.of("h").unwrap_err().contains("`Port x` of h"));
}

#[test]
fn includes_hold_where_they_stand() {
    let (_home, config) = read(&[
        ("config", "Host x\nInclude more.d-*\nPort 7\n"),
        ("more.d-1", "Host y\nUser inner\n"),
        ("more.d-2", "Host x\nUser both\nPort 1\n"),
    ]);
    let x = config.of("x").unwrap();
    assert_eq!((x.port, x.user.as_deref()), (Some(1), Some("both")));
    assert_eq!(config.of("y").unwrap(), SshOptions::default());
}

#[test]
fn an_include_of_itself_ends() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config");
    std::fs::write(&file, format!("Include {}\n", file.display())).unwrap();
    let error = SshConfig::read([&file], home.path(), "ada").unwrap_err();
    assert!(error.contains("nests deeper"), "{error}");
}

#[test]
fn a_match_block_that_is_not_understood_does_not_leak_into_the_one_before() {
    let (_home, config) = read(&[(
        "config",
        "Host a\nUser one\nMatch exec \"true\"\nPort 1\nMatch host a,b\nPort 2\nMatch all\nUser late\n",
    )]);
    let a = config.of("a").unwrap();
    assert_eq!((a.user.as_deref(), a.port), (Some("one"), Some(2)));
    assert_eq!(config.of("c").unwrap().user.as_deref(), Some("late"));
}

#[test]
fn none_turns_off_and_no_file_says_nothing() {
    let (_home, config) = read(&[(
        "config",
        "Host a\nProxyJump none\nProxyCommand nc %h\nRevokedHostKeys none\n",
    )]);
    assert_eq!(config.of("a").unwrap(), SshOptions::default());
    let nowhere = PathBuf::from("/nowhere/config");
    let config = SshConfig::read([&nowhere], Path::new("/"), "u").unwrap();
    assert_eq!(config.of("a").unwrap(), SshOptions::default());
}

#[test]
fn rules_are_read() {
    let (home, config) = read(&[(
        "config",
        "IdentitiesOnly yes\nRevokedHostKeys ~/.ssh/revoked\nUserKnownHostsFile ~/.ssh/a \"/b c\"\nGlobalKnownHostsFile none\n\
         StrictHostKeyChecking yes\nIdentityAgent none\nHostKeyAlias alias\nKexAlgorithms ^x\nCertificateFile /c1\nCertificateFile /c2\n\
         PreferredAuthentications publickey,keyboard-interactive\nBatchMode yes\nPubkeyAuthentication no\n",
    )]);
    let said = config.of("h").unwrap();
    assert_eq!(
        *said.rules,
        Rules {
            certificates: vec!["/c1".into(), "/c2".into()],
            identities_only: true,
            agent: AgentAt::None,
            alias: Some("alias".to_owned()),
            user_known_hosts: Some(vec![home.path().join(".ssh/a"), "/b c".into()]),
            global_known_hosts: Some(Vec::new()),
            revoked: Some(home.path().join(".ssh/revoked")),
            strict: true,
            batch: true,
            no_keys: true,
            no_password: true,
            exchanges: Some("^x".to_owned()),
            ..Rules::default()
        }
    );
}

#[test]
fn what_is_not_followed_is_warned_of_once() {
    let (_home, config) = read(&[(
        "config",
        "StrictHostKeyChecking no\nPKCS11Provider /lib/x.so\nVerifyHostKeyDNS no\nCompression yes\n",
    )]);
    config.of("h").unwrap();
    config.of("i").unwrap();
    let warned = config.warned.lock().unwrap().clone();
    assert_eq!(
        warned.into_iter().collect::<Vec<_>>(),
        ["PKCS11Provider", "StrictHostKeyChecking"]
    );
    let (_home, config) = read(&[("config", "StrictHostKeyChecking yes\n")]);
    config.of("h").unwrap();
    assert!(config.warned.lock().unwrap().is_empty());
}

/// What `ssh -G` says of a host, by option.
fn real(config: &Path, host: &str) -> Option<std::collections::HashMap<String, Vec<String>>> {
    let output = std::process::Command::new("ssh")
        .args(["-G", "-F"])
        .arg(config)
        .arg(host)
        .output()
        .ok()?;
    assert!(output.status.success(), "{output:?}");
    let mut said = std::collections::HashMap::<String, Vec<String>>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some((key, value)) = line.split_once(' ') {
            said.entry(key.to_owned())
                .or_default()
                .push(value.to_owned());
        }
    }
    Some(said)
}

#[test]
fn the_real_ssh_reads_the_same() {
    let texts = [
        "Host a b\n Port 1\n User x\nHost *\n Port 2\n User y\n",
        "Port 9\nPort 8\nHost a\nHostName=10.0.0.1\nHost b\nHostName %h.example.com\n",
        "Host !a *\n User none-of-a\nHost a\n User \"of-a\"\n",
        "Match host a,b\n Port 3\nMatch originalhost c user ada,root\n Port 4\nMatch all\n Port 5\n",
        "Host a\n HostName real.example\nMatch host real.example\n Port 6\n IdentitiesOnly yes\nMatch !host real.example\n Port 7\n",
        "Host *.x a\n IdentitiesOnly yes\n RevokedHostKeys /r\nHost *\n RevokedHostKeys /s\n HostKeyAlias k # comment\n",
        "Host a\n ProxyJump j1,j2\n ProxyCommand nc %h\nHost b\n ProxyCommand nc x\n ProxyJump j3\n",
        "UserKnownHostsFile /u1 /u2\nUserKnownHostsFile /u3\nGlobalKnownHostsFile /g1\nStrictHostKeyChecking yes\nIdentityAgent none\n",
        "Host a\n Include inner\n Port 33\nHost *\n Port 44\n",
    ];
    let hosts = ["a", "b", "c", "d.x"];
    let home = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for text in texts {
        // OpenSSH looks for relative ones in the real ~/.ssh.
        let inner = home.path().join("inner");
        std::fs::write(&inner, "Host b\n Port 11\nHost a\n User inner\n").unwrap();
        let text = text.replace("Include inner", &format!("Include {}", inner.display()));
        let file = home.path().join("config");
        std::fs::write(&file, &text).unwrap();
        let user = nix::unistd::User::from_uid(nix::unistd::getuid())
            .unwrap()
            .unwrap()
            .name;
        let config = SshConfig::read([&file], home.path(), &user).unwrap();
        for host in hosts {
            let Some(real) = real(&file, host) else {
                return;
            };
            let ours = config.of(host).unwrap();
            let one = |key: &str| real.get(key).map(|all| all[0].clone());
            let text = format!("{text}\n{host}");
            let address = ours.address.unwrap_or_else(|| host.to_owned());
            assert_eq!(Some(address), one("hostname"), "{text}");
            assert_eq!(
                Some(ours.port.unwrap_or(22).to_string()),
                one("port"),
                "{text}"
            );
            assert_eq!(
                Some(ours.user.unwrap_or(user.clone())),
                one("user"),
                "{text}"
            );
            let jumps = (!ours.jumps.is_empty()).then(|| ours.jumps.join(","));
            assert_eq!(jumps, one("proxyjump"), "{text}");
            let rules = &ours.rules;
            let yes = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
            assert_eq!(yes(rules.identities_only), one("identitiesonly"), "{text}");
            let path = |path: &PathBuf| path.display().to_string();
            let revoked = rules.revoked.as_ref().map(path);
            assert_eq!(
                revoked,
                one("revokedhostkeys").filter(|file| file != "none"),
                "{text}"
            );
            assert_eq!(rules.alias, one("hostkeyalias"), "{text}");
            let list = |files: &Vec<PathBuf>| files.iter().map(path).collect::<Vec<_>>().join(" ");
            if let Some(files) = &rules.user_known_hosts {
                assert_eq!(Some(list(files)), one("userknownhostsfile"), "{text}");
            }
            if let Some(files) = &rules.global_known_hosts {
                assert_eq!(Some(list(files)), one("globalknownhostsfile"), "{text}");
            }
            assert_eq!(
                rules.strict,
                one("stricthostkeychecking").as_deref() == Some("true"),
                "{text}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 36);
}
