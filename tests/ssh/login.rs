//! Keys, agents, certificates, and the SSH configuration that names them.

use super::*;

#[tokio::test]
async fn the_ssh_configuration_is_honoured() {
    let Some(sshd) = Sshd::start("") else { return };
    let config = sshd.path("ssh_config");
    std::fs::write(
        &config,
        format!(
            "Host lab-?\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n",
            sshd.port,
            sshd.user,
            sshd.identity.display(),
            sshd.path("kh").display(),
        ),
    )
    .unwrap();
    std::fs::write(
        sshd.path("kh"),
        format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key),
    )
    .unwrap();
    let mut bare = host("lab-1", &sshd);
    bare.address = "lab-1".into();
    (bare.port, bare.user, bare.identity, bare.host_key) = (None, None, None, None);
    let settings = AccessSettings {
        ssh_config: Some(config),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![bare]), settings);
    assert_eq!(out(&run(&fleet, "echo in").await.unwrap()), "in\n");
}

#[tokio::test]
async fn no_key_is_taken_and_the_error_lists_them() {
    let Some(sshd) = Sshd::start("Banner /etc/hostname") else {
        return;
    };
    let (private, _) = generate_key("").unwrap();
    let stranger = sshd.path("stranger");
    private_file(&stranger, &private);
    let rsa = sshd.path("id_rsa");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(&rsa)
        .status();
    assert!(made.unwrap().success());
    let mut refused = host("a", &sshd);
    refused.identity = Some(sshd.path("missing"));
    let settings = AccessSettings {
        default_keys: vec![stranger.clone(), rsa.clone()],
        agent: Some(sshd.path("no agent")),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![refused]), settings);
    let error = fleet.reader(H).await.err().unwrap();
    assert_eq!(error.kind, AccessKind::Auth);
    for word in [
        &format!("key file {} is not there", sshd.path("missing").display()),
        &stranger.display().to_string(),
        &format!("{} is an RSA key", rsa.display()),
        "the agent at",
        "it takes publickey",
        "it says:",
    ] {
        assert!(error.message.contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn an_encrypted_key_asks_for_its_passphrase_once_for_all_hosts() {
    let Some(sshd) = Sshd::start("") else { return };
    let encrypted = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "letmein", "-f"])
        .arg(&sshd.identity)
        .stdout(std::process::Stdio::null())
        .status();
    assert!(encrypted.unwrap().success());
    let mut localhost = host("b", &sshd);
    localhost.address = "localhost".into();
    let both = stack(vec![host("a", &sshd), localhost]);
    let person = Arc::new(Person {
        password: Some("letmein"),
        ..Person::default()
    });
    let asking = AccessSettings {
        prompts: Some(person.clone()),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(both.clone(), asking);
    let (a, b) = tokio::join!(fleet.reader(H), fleet.reader(HostId(1)));
    a.unwrap();
    b.unwrap();
    assert_eq!(person.asked().len(), 1);

    let wrong = AccessSettings {
        prompts: Some(Arc::new(Person {
            password: Some("wrong"),
            ..Person::default()
        })),
        ..settings(&sshd.path(""))
    };
    let error = Fleet::new(both.clone(), wrong)
        .reader(H)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, AccessKind::Auth);
    assert!(error.message.contains("can't be decrypted"), "{error}");
    let error = Fleet::new(both, settings(&sshd.path("")))
        .reader(H)
        .await
        .err()
        .unwrap();
    assert!(error.message.contains("nobody can be asked"), "{error}");
}

/// An SSH agent of the test's own.
struct Agent {
    child: std::process::Child,
    socket: std::path::PathBuf,
}

impl Agent {
    fn start(sshd: &Sshd) -> Self {
        let socket = sshd.path("agent");
        let child = std::process::Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("the agent listens", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        Self { child, socket }
    }

    fn add(&self, key: &Path) {
        let added = std::process::Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .status();
        assert!(added.unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn keys_of_the_agent_are_taken_rsa_too() {
    let Some(sshd) = Sshd::start("") else { return };
    let agent = Agent::start(&sshd);
    let rsa = sshd.path("id_rsa");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(&rsa)
        .status();
    assert!(made.unwrap().success());
    agent.add(&rsa);
    let public = std::fs::read_to_string(sshd.path("id_rsa.pub")).unwrap();
    std::fs::write(sshd.path("authorized_keys"), public).unwrap();
    for identity in [None, Some(rsa.clone()), Some(sshd.path("id_rsa.pub"))] {
        let mut keyless = host("a", &sshd);
        keyless.identity = identity;
        let settings = AccessSettings {
            agent: Some(agent.socket.clone()),
            ..settings(&sshd.path(""))
        };
        let fleet = Fleet::new(stack(vec![keyless]), settings);
        fleet.reader(H).await.unwrap();
    }
}

#[tokio::test]
async fn certificates_of_users_and_hosts_are_taken() {
    let Some(sshd) = Sshd::start("") else { return };
    let keygen = |arguments: &[&str]| {
        let done = std::process::Command::new("ssh-keygen")
            .arg("-q")
            .args(arguments)
            .status();
        assert!(done.unwrap().success(), "{arguments:?}");
    };
    let at = |name: &str| sshd.path(name).display().to_string();
    keygen(&["-t", "ed25519", "-N", "", "-f", &at("ca")]);
    keygen(&["-t", "ed25519", "-N", "", "-f", &at("user")]);
    keygen(&["-t", "ed25519", "-N", "", "-f", &at("host")]);
    keygen(&[
        "-s",
        &at("ca"),
        "-I",
        "u",
        "-n",
        &sshd.user,
        &at("user.pub"),
    ]);
    keygen(&[
        "-s",
        &at("ca"),
        "-I",
        "h",
        "-h",
        "-n",
        "127.0.0.1",
        &at("host.pub"),
    ]);
    let extra = format!(
        "TrustedUserCAKeys {}\nHostKey {}\nHostCertificate {}",
        at("ca.pub"),
        at("host"),
        at("host-cert.pub")
    );
    let Some(signed) = Sshd::start(&extra) else {
        return;
    };
    let mut certified = host("a", &signed);
    certified.identity = Some(sshd.path("user"));
    certified.host_key = None;
    let settings = settings(&sshd.path(""));
    let authority = std::fs::read_to_string(at("ca.pub")).unwrap();
    std::fs::write(
        &settings.known_hosts,
        format!("@cert-authority [127.0.0.1]:* {authority}"),
    )
    .unwrap();
    let fleet = Fleet::new(stack(vec![certified]), settings);
    assert_eq!(out(&run(&fleet, "echo in").await.unwrap()), "in\n");
    assert!(signed.log().contains("Accepted publickey") && signed.log().contains("ED25519-CERT"));
}
