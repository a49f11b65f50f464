//! `foundry host …` as a person runs it, where no host is needed.

use assert_cmd::Command;
use tempfile::TempDir;

const CONFIG: &str = "\
# Ours
cluster: { name: prod }
ssh: { user: admin }
hosts:
  - hostname: bastion # the way in
    address: 192.0.2.1
    port: 2222
  - { hostname: bao-1, address: 10.0.0.11, roles: [openbao], labels: { rack: a1 }, jump: bastion }
  - hostname: here
    local: true
";

fn home(config: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("prod.yaml"), config).unwrap();
    home
}

fn foundry(home: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("foundry").unwrap();
    command
        .args(args)
        .env("FOUNDRY_HOME", home.path())
        .env("HOME", home.path())
        .env_remove("FOUNDRY_CONFIG")
        .env_remove("SSH_AUTH_SOCK")
        .env("NO_COLOR", "1");
    command
}

fn done(home: &TempDir, args: &[&str]) -> String {
    let run = foundry(home, args).assert().success();
    String::from_utf8(run.get_output().stdout.clone()).unwrap()
}

fn refused(home: &TempDir, args: &[&str], code: i32) -> String {
    let run = foundry(home, args).assert().code(code);
    String::from_utf8(run.get_output().stderr.clone()).unwrap()
}

#[test]
fn the_list_shows_what_the_config_says() {
    let home = home(CONFIG);
    insta::assert_snapshot!(done(&home, &["host", "list"]), @r"
    HOST     ADDRESS       PORT  USER   ROLES    LABELS   JUMP
    bastion  192.0.2.1     2222  admin  -        -        -
    bao-1    10.0.0.11     -     admin  openbao  rack=a1  bastion
    here     this machine  -     admin  -        -        -
    ");
    let listed = done(&home, &["host", "list", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed[1],
        serde_json::json!({
            "host": "bao-1", "address": "10.0.0.11", "port": null, "user": "admin", "roles": ["openbao"],
            "labels": { "rack": "a1" }, "jump": "bastion", "local": false,
        })
    );
    assert_eq!(listed.as_array().unwrap().len(), 3);
}

#[test]
fn the_machine_itself_needs_no_ssh() {
    let home = home("cluster: { name: x }\nhosts: [{ hostname: here, local: true }]\n");
    let listed = done(&home, &["host", "list", "--output", "json", "--probe"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    // Root needs no sudo; anybody else may have one that asks.
    if listed[0]["probe"]["reachable"] == true {
        assert_eq!(listed[0]["probe"]["arch"], std::env::consts::ARCH);
    } else {
        let error = listed[0]["probe"]["error"].as_str().unwrap();
        assert!(error.contains("sudo"), "{error}");
    }
    let said = foundry(&home, &["host", "ssh", "here", "--", "echo", "it is me"])
        .env("SHELL", "/bin/sh")
        .assert()
        .success();
    assert_eq!(said.get_output().stdout, b"it is me\n");
    let said = refused(&home, &["host", "add", "here"], 3);
    assert!(said.contains("is this machine itself"), "{said}");
}

#[test]
fn hosts_out_of_reach_are_named_with_the_reason() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let home = home(&format!(
        "cluster: {{ name: x }}\nhosts: [{{ hostname: a, address: 127.0.0.1, port: {port} }}]\n"
    ));
    let run = foundry(&home, &["host", "list", "--probe"])
        .assert()
        .code(1);
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(
        said.contains("STATE") && said.contains("can't be reached: Connection refused"),
        "{said}"
    );
    let before = std::fs::read(home.path().join("prod.yaml")).unwrap();
    let address = ["--address", "127.0.0.1", "--port", &port.to_string()];
    let said = refused(&home, &[&["host", "add", "b"], &address[..]].concat(), 1);
    assert!(said.contains("can't be reached"), "{said}");
    assert_eq!(
        std::fs::read(home.path().join("prod.yaml")).unwrap(),
        before
    );
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_touched() {
    let home = home(CONFIG);
    for (args, said) in [
        (&["ssh", "bao-2"][..], "did you mean `bao-1`?"),
        (&["configure", "bao-2"], "did you mean `bao-1`?"),
        (&["configure"], "<HOST>"),
        (&["add", "Bad Name"], "`Bad Name` is no host name"),
        (&["add", "x", "--port", "0"], "--port"),
        (
            &["add", "x", "--jump", "bastoin"],
            "did you mean `bastion`?",
        ),
        (
            &["add", "x", "--host-key", "nonsense"],
            "is no OpenSSH public key",
        ),
        (&["add", "x", "--interactive"], "there is no terminal"),
        (&["add", "bastion", "--user", "ada"], "is there already"),
        (&["add", "x", "--config", "-"], "can't be changed"),
    ] {
        let all = refused(&home, &[&["host"], args].concat(), 3);
        assert!(all.contains(said), "{args:?}: {all}");
    }
    let text = std::fs::read_to_string(home.path().join("prod.yaml")).unwrap();
    assert_eq!(text, CONFIG);
    assert!(!home.path().join("keys").exists());
}
