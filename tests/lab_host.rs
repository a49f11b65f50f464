//! `foundry host …` on real Debian hosts: added by password and by key, listed, opened.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

mod support;

use support::lab::lab_with;

const CONFIG: &str = "\
# Ours, and not to be touched
cluster: { name: prod } # the name
hosts: []  # none yet
";

fn text(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn hosts_are_added_listed_and_opened() {
    let Some(lab) = lab_with(&["--hosts", "2", "--password-login"]) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("prod.yaml");
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o640)).unwrap();
    let foundry = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foundry"));
        command
            .args(args)
            .env("FOUNDRY_HOME", home.path())
            .env("HOME", home.path())
            .env("NO_COLOR", "1")
            .env_remove("FOUNDRY_CONFIG")
            .env_remove("SSH_AUTH_SOCK");
        command
    };
    let (first, second) = (&lab.hosts()[0], &lab.hosts()[1]);
    let identity = lab.identity().display().to_string();
    let address = first.address.to_string();
    let port = first.port.to_string();
    let by_key = [
        "host",
        "add",
        "bao-1",
        "--address",
        &address,
        "--port",
        &port,
        "--user",
        &first.user,
        "--role",
        "openbao",
        "--identity",
        &identity,
        "--no-configure",
    ];

    // An unknown host key, and nobody to ask.
    let run = foundry(&by_key).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert!(text(&run).contains("--host-key"), "{}", text(&run));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), CONFIG);

    // Another host's key.
    let wrong = [&by_key[..], &["--host-key", &second.host_key]].concat();
    let run = foundry(&wrong).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), CONFIG);

    // The right one.
    let right = [&by_key[..], &["--host-key", &first.host_key]].concat();
    let run = foundry(&right).output().unwrap();
    assert!(run.status.success(), "{}", text(&run));
    let key = home.path().join("keys/bao-1");
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&config), 0o640);
    let written = std::fs::read_to_string(&config).unwrap();
    assert!(
        written.starts_with("# Ours, and not to be touched\ncluster: { name: prod } # the name\nhosts:  # none yet\n  - hostname: bao-1\n"),
        "{written}"
    );
    assert!(written.contains(&first.host_key), "{written}");
    assert!(
        written.contains("identity: \"~/keys/bao-1\"\n"),
        "{written}"
    );

    // Registered and working: nothing to do.
    let run = foundry(&["host", "add", "bao-1"]).output().unwrap();
    assert_eq!(run.status.code(), Some(3), "{}", text(&run));
    assert!(text(&run).contains("its key works"), "{}", text(&run));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), written);

    // The key was lost on the host, as if the add had been cut off before: it is installed again.
    lab.ssh(0, "sed -i /foundry/d ~/.ssh/authorized_keys");
    let run = foundry(&["host", "list", "--probe"]).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    let again = [
        "host",
        "add",
        "bao-1",
        "--identity",
        &identity,
        "--no-configure",
    ];
    let run = foundry(&again).output().unwrap();
    assert!(run.status.success(), "{}", text(&run));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), written);

    // By password, as a person types it, who also says yes to the host key.
    let password = std::fs::read_to_string(lab.identity().with_file_name("password")).unwrap();
    let address = second.address.to_string();
    let port = second.port.to_string();
    let args = [
        "host",
        "add",
        "bao-2",
        "--address",
        &address,
        "--port",
        &port,
        "--user",
        "debian",
        "--no-configure",
    ];
    let said = at_a_terminal(&foundry(&args), password.trim());
    assert!(
        said.contains("logged in as debian with the password"),
        "{said}"
    );
    assert!(
        said.contains("a new connection logged in with it"),
        "{said}"
    );
    assert!(!said.contains(password.trim()), "the password was shown");
    let written = std::fs::read_to_string(&config).unwrap();
    assert!(written.contains("host_key: \"ssh-ed25519 "), "{written}");

    let run = foundry(&["host", "ssh", "bao-2", "--", "id", "-un"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&run.stdout),
        "debian\n",
        "{}",
        text(&run)
    );
    let run = foundry(&["host", "ssh", "bao-1", "--", "exit 7"])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(7), "{}", text(&run));

    // The base is what there is to make, on this host alone.
    let run = foundry(&["host", "configure", "bao-1", "--dry-run"])
        .output()
        .unwrap();
    let plan = text(&run);
    assert!(run.status.success(), "{plan}");
    assert!(plan.contains("hostname@bao-1"), "{plan}");
    assert!(!plan.contains("@bao-2"), "{plan}");

    let run = foundry(&["host", "configure", "bao-1"]).output().unwrap();
    assert!(run.status.success(), "{}", text(&run));
    assert_eq!(lab.ssh(0, "hostname"), "bao-1\n");

    // sudo on the second wants a password, and a list asks nobody.
    let run = foundry(&["host", "list", "--probe"]).output().unwrap();
    let listed = text(&run);
    assert_eq!(run.status.code(), Some(1), "{listed}");
    assert!(
        listed.contains("reachable x86_64, Debian") || listed.contains("reachable aarch64, Debian"),
        "{listed}"
    );
    assert!(listed.contains("sudo wants a password"), "{listed}");
}

/// Runs a command at a terminal of its own and answers its questions: yes to the host key, and the password.
fn at_a_terminal(command: &Command, password: &str) -> String {
    use std::io::{Read as _, Write as _};
    use std::process::Stdio;

    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-qec", &words.join(" "), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script.env("TERM", "xterm").spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut questions = vec![
        ("Password of debian@bao-2", format!("{password}\n")),
        ("Is it the right one?", "y\n".to_owned()),
    ];
    let (mut said, mut seen) = (String::new(), 0);
    let mut buffer = [0; 4096];
    loop {
        let read = stdout.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            break;
        }
        said += &String::from_utf8_lossy(&buffer[..read]);
        if let Some((question, answer)) = questions.last()
            && let Some(at) = said[seen..].find(question)
        {
            seen += at + question.len();
            // What is typed before the question listens is thrown away when it begins to.
            wait_until_it_listens(child.id());
            stdin.write_all(answer.as_bytes()).unwrap();
            questions.pop();
        }
    }
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(questions.is_empty(), "not all was asked: {said}");
    said
}

/// Waits until the program under `script` has turned its terminal's echo off, as each of its questions does to listen.
fn wait_until_it_listens(script: u32) {
    let listens = || {
        let children =
            std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).ok()?;
        let program = children.split_whitespace().next()?;
        let terminal = std::fs::read_link(format!("/proc/{program}/fd/0")).ok()?;
        let stty = Command::new("stty")
            .arg("-aF")
            .arg(terminal)
            .output()
            .ok()?;
        let modes = String::from_utf8_lossy(&stty.stdout).into_owned();
        Some(modes.split_whitespace().any(|mode| mode == "-echo"))
    };
    let began = std::time::Instant::now();
    while listens() != Some(true) {
        assert!(
            began.elapsed().as_secs() < 60,
            "nothing listens at the terminal"
        );
    }
}
