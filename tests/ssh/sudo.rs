//! Users who are not root, and the first log-in by password.

use super::upload::file;
use super::*;

/// A user of this machine, for the length of a test.
struct User {
    name: String,
    sudoers: std::path::PathBuf,
}

impl User {
    /// Makes one with a password, and a home directory; `None` where that can't be.
    fn make(password: &str) -> Option<Self> {
        let can = nix::unistd::geteuid().is_root()
            && ["/usr/sbin/useradd", "/usr/sbin/chpasswd", "/usr/bin/sudo"]
                .iter()
                .all(|tool| Path::new(tool).exists());
        if !can {
            skip("needs root, useradd, chpasswd and sudo");
            return None;
        }
        let name = format!("foundry-t{}", std::process::id());
        let made = std::process::Command::new("useradd")
            .args(["-m", "-s", "/bin/sh", &name])
            .status();
        assert!(made.unwrap().success());
        let user = Self {
            sudoers: Path::new("/etc/sudoers.d").join(&name),
            name,
        };
        user.password(password);
        Some(user)
    }

    fn password(&self, password: &str) {
        use std::io::Write as _;
        let mut child = std::process::Command::new("chpasswd")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{}:{password}", self.name).unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }

    fn sudo(&self, rule: Option<&str>) {
        match rule {
            Some(rule) => std::fs::write(&self.sudoers, format!("{} {rule}\n", self.name)).unwrap(),
            None => std::fs::remove_file(&self.sudoers).unwrap(),
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.sudoers);
        let _ = std::process::Command::new("userdel")
            .args(["-r", "-f", &self.name])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[tokio::test]
async fn sudo_with_and_without_a_password() {
    let Some(sshd) = Sshd::start("") else { return };
    let Some(user) = User::make("kn0ck kn0ck") else {
        return;
    };
    let mut unprivileged = host("a", &sshd);
    unprivileged.user = Some(user.name.clone());
    let stack = stack(vec![unprivileged]);
    let with = |password| {
        let person = Arc::new(Person {
            password,
            ..Person::default()
        });
        let settings = AccessSettings {
            prompts: Some(person.clone()),
            ..settings(&sshd.path(""))
        };
        (person, Fleet::new(stack.clone(), settings))
    };
    let upload = |fleet: Arc<dyn Writer>| {
        let upload = Upload {
            owner: "root:root".into(),
            ..file(&sshd, b"some bytes\n", &sshd.path("uploaded"))
        };
        async move { fleet.upload(&upload).await }
    };

    // Not in sudoers at all.
    let (_, fleet) = with(Some("kn0ck kn0ck"));
    let error = run(&fleet, "id -u").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Sudo, "{error}");

    // Without a password: one exec each.
    user.sudo(Some("ALL=(ALL) NOPASSWD: ALL"));
    let (person, fleet) = with(None);
    assert_eq!(out(&run(&fleet, "id -u").await.unwrap()), "0\n");
    assert_eq!(run(&fleet, "exit 1").await.unwrap().status, Some(1));
    assert_eq!((fleet.execs(H), person.asked().len()), (2, 0));
    upload(fleet.writer(H).await.unwrap()).await.unwrap();

    // With one: asked for once, by however many at once.
    user.sudo(Some("ALL=(ALL) ALL"));
    let (person, fleet) = with(Some("kn0ck kn0ck"));
    let all = (0..5).map(|_| {
        run(
            &fleet,
            "id -u; cat /proc/*/cmdline 2>/dev/null | grep -c 'kn0ck kn0c[k]'",
        )
    });
    for reply in futures::future::join_all(all).await {
        let reply = reply.unwrap();
        assert_eq!(
            out(&reply),
            "0\n0\n",
            "{}",
            String::from_utf8_lossy(&reply.stderr)
        );
    }
    assert_eq!(person.asked(), ["sudo a"]);
    std::fs::remove_file(sshd.path("uploaded")).unwrap();
    upload(fleet.writer(H).await.unwrap()).await.unwrap();
    assert_eq!(
        std::fs::read(sshd.path("uploaded")).unwrap(),
        b"some bytes\n"
    );
    // The first thing on a host may be an upload.
    let (person, fleet) = with(Some("kn0ck kn0ck"));
    upload(fleet.writer(H).await.unwrap()).await.unwrap();
    assert_eq!(person.asked(), ["sudo a"]);

    // sudo stops asking meanwhile: the password must not be run as a command.
    user.sudo(Some("ALL=(ALL) NOPASSWD: ALL"));
    let reply = run(&fleet, "id -u").await.unwrap();
    assert_eq!(
        (out(&reply).as_str(), reply.stderr.as_slice()),
        ("0\n", &b""[..])
    );
    user.sudo(Some("ALL=(ALL) ALL"));

    // The wrong one: sudo's words, soon, and not asked for again.
    let (person, fleet) = with(Some("wr0ng"));
    let began = Instant::now();
    let error = run(&fleet, "id -u").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Sudo);
    assert!(error.message.contains("incorrect password"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
    let execs = fleet.execs(H);
    assert_eq!(
        run(&fleet, "id -u").await.unwrap_err().kind,
        AccessKind::Sudo
    );
    assert_eq!((person.asked().len(), fleet.execs(H)), (1, execs));

    // Nobody to ask.
    let nobody = Fleet::new(stack.clone(), settings(&sshd.path("")));
    let error = run(&nobody, "id -u").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Sudo);
    assert!(error.hint.unwrap().contains("NOPASSWD"));
    user.sudo(None);
}

#[tokio::test]
async fn a_password_lets_a_key_be_installed_once() {
    let Some(user) = User::make("first time") else {
        return;
    };
    let Some(sshd) =
        Sshd::start("PasswordAuthentication yes\nAuthorizedKeysFile .ssh/authorized_keys")
    else {
        return;
    };
    user.sudo(Some("ALL=(ALL) NOPASSWD: ALL"));
    let mut fresh = host("a", &sshd);
    fresh.user = Some(user.name.clone());
    fresh.identity = None;
    let person = Arc::new(Person {
        password: Some("first time"),
        ..Person::default()
    });
    let asking = AccessSettings {
        prompts: Some(person.clone()),
        ..settings(&sshd.path(""))
    };
    let fleet = Fleet::new(stack(vec![fresh.clone()]), asking);
    let writer = fleet.writer(H).await.unwrap();
    assert_eq!(person.asked(), ["login a"]);
    let (private, public) = generate_key("a of test").unwrap();
    let name: Arc<str> = "a".into();
    for _ in 0..2 {
        install_key(&*writer, &name, &user.name, &public)
            .await
            .unwrap();
    }
    let keys = format!("/home/{}/.ssh/authorized_keys", user.name);
    assert_eq!(
        std::fs::read_to_string(keys).unwrap(),
        format!("{public}\n")
    );
    let error = install_key(&*writer, &name, "no-such-user", &public)
        .await
        .unwrap_err();
    assert!(
        error.message.contains("there is no user no-such-user"),
        "{error}"
    );

    let file = sshd.path("own");
    private_file(&file, &private);
    fresh.identity = Some(file);
    let fleet = Fleet::new(stack(vec![fresh]), settings(&sshd.path("")));
    assert_eq!(out(&run(&fleet, "id -u").await.unwrap()), "0\n");

    // Hosts that ask for it in another way.
    let Some(sshd) = Sshd::start("UsePAM yes\nKbdInteractiveAuthentication yes") else {
        return;
    };
    let mut asks = host("a", &sshd);
    asks.user = Some(user.name.clone());
    asks.identity = None;
    for (password, taken) in [("first time", true), ("wrong", false)] {
        let asking = AccessSettings {
            prompts: Some(Arc::new(Person {
                password: Some(password),
                ..Person::default()
            })),
            ..settings(&sshd.path(""))
        };
        let result = Fleet::new(stack(vec![asks.clone()]), asking)
            .reader(H)
            .await;
        match result.err() {
            None => assert!(taken),
            Some(error) => {
                assert!(!taken, "{error}");
                assert_eq!(error.kind, AccessKind::Auth);
                assert!(error.message.contains("tried the password"), "{error}");
            }
        }
    }
}
