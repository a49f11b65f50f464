//! Tests of `route`: whose word counts, nested jumps, circles.

use std::collections::BTreeMap;

use super::*;
use crate::config::{Source, Span};

fn host(name: &str, jump: Option<&str>) -> Host {
    Host {
        name: name.into(),
        address: format!("{name}.example.com"),
        port: None,
        user: None,
        identity: None,
        jump: jump.map(str::to_owned),
        local: false,
        roles: Vec::new(),
        labels: BTreeMap::new(),
        host_key: None,
        span: Span::default(),
    }
}

fn stack(hosts: Vec<Host>) -> Stack {
    Stack {
        source: Arc::new(Source {
            name: "test".into(),
            text: String::new(),
        }),
        name: "test".into(),
        domain: None,
        vip: None,
        hosts,
        components: indexmap::IndexMap::new(),
        sections: indexmap::IndexMap::new(),
        mirrors: Vec::new(),
        pins: Arc::default(),
        trusted_keys: Vec::new(),
    }
}

fn ssh(text: &str) -> SshConfig {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config");
    std::fs::write(&file, text).unwrap();
    SshConfig::read([&file], home.path(), "ada").unwrap()
}

fn key(hosts: Vec<Host>, text: &str) -> Result<String, RouteError> {
    let stack = stack(hosts);
    find(&stack, &stack.hosts[0], &ssh(text), "ada").map(|route| route.key())
}

#[test]
fn the_stack_wins_over_the_ssh_configuration() {
    let text = "Host a.example.com\nHostName 10.0.0.1\nPort 2222\nUser bob\nIdentityFile /k/ssh\n";
    assert_eq!(
        key(vec![host("a", None)], text).unwrap(),
        "bob@10.0.0.1:2222"
    );
    let mut own = host("a", None);
    own.port = Some(22);
    own.user = Some("root".into());
    own.identity = Some("/k/own".into());
    let stack = stack(vec![own]);
    let route = find(&stack, &stack.hosts[0], &ssh(text), "ada").unwrap();
    assert_eq!(route.key(), "root@10.0.0.1:22");
    assert_eq!(
        route.target().identities,
        [PathBuf::from("/k/own"), PathBuf::from("/k/ssh")]
    );
    assert_eq!(
        key(vec![host("b", None)], text).unwrap(),
        "ada@b.example.com:22"
    );
}

#[test]
fn jumps_nest_by_name_and_by_login() {
    let hosts = vec![
        host("a", Some("b")),
        host("b", Some("root@outer.example.com:2200")),
    ];
    assert_eq!(
        key(
            hosts,
            "Host outer.example.com\nProxyJump gate\nHost gate\nUser g\n"
        )
        .unwrap(),
        "g@gate:22 > root@outer.example.com:2200 > ada@b.example.com:22 > ada@a.example.com:22"
    );
    assert_eq!(
        key(vec![host("a", None)], "Host a*\nProxyJump x, y@[::1]:7\n").unwrap(),
        "ada@x:22 > y@[::1]:7 > ada@a.example.com:22"
    );
}

#[test]
fn circles_are_refused_and_shown() {
    let hosts = vec![
        host("a", Some("b")),
        host("b", Some("c")),
        host("c", Some("a")),
    ];
    assert_eq!(
        key(hosts, "").unwrap_err().to_string(),
        "its jump hosts go in a circle: a → b → c → a"
    );
    assert!(matches!(
        key(vec![host("a", Some("a"))], ""),
        Err(RouteError::Loop(_))
    ));
    assert!(matches!(
        key(vec![host("a", None)], "Host *\nProxyJump x\n"),
        Err(RouteError::Loop(_))
    ));
}

#[test]
fn two_hosts_may_share_a_jump_and_a_host_may_be_one() {
    let hosts = vec![host("a", Some("b")), host("b", None), host("c", Some("b"))];
    assert_eq!(
        key(hosts, "").unwrap(),
        "ada@b.example.com:22 > ada@a.example.com:22"
    );
}

#[test]
fn what_cannot_work_is_said() {
    let mut local = host("b", None);
    local.local = true;
    assert_eq!(
        key(vec![host("a", Some("b")), local], ""),
        Err(RouteError::Local("b".into()))
    );
    assert_eq!(
        key(vec![host("a", Some("x:y"))], ""),
        Err(RouteError::Unreadable("x:y".into()))
    );
    assert_eq!(
        key(vec![host("a", None)], "Host *\nProxyCommand nc %h %p\n"),
        Err(RouteError::ProxyCommand("nc %h %p".into()))
    );
}

#[test]
fn logins_are_split() {
    for (text, wanted) in [
        ("a", Some((None, "a", None))),
        ("u@a:22", Some((Some("u"), "a", Some(22)))),
        ("u@[::1]:22", Some((Some("u"), "::1", Some(22)))),
        ("fe80::1", Some((None, "fe80::1", None))),
        ("-oProxyCommand=x", None),
        ("u@", None),
        ("@a", None),
        ("a:0", None),
        ("a:99999", None),
        ("[::1", None),
        ("", None),
    ] {
        assert_eq!(parse_login(text), wanted, "{text}");
    }
}
