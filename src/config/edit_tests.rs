//! Texts before and after: what a person wrote stays to the letter.

use super::*;

fn source(text: &str) -> Arc<Source> {
    Arc::new(Source {
        name: "s.yaml".to_owned(),
        text: text.to_owned(),
    })
}

fn entry() -> HostEntry {
    HostEntry {
        hostname: "new-1".to_owned(),
        port: Some(2222),
        ..HostEntry::default()
    }
}

const HEAD: &str = "cluster: { name: x }\n";

#[test]
fn hosts_are_added_where_the_others_are() {
    for (case, before, after) in [
        (
            "no section",
            "",
            "\nhosts:\n  - hostname: new-1\n    port: 2222\n",
        ),
        (
            "no section, no last newline",
            "components: {}",
            "components: {}\n\nhosts:\n  - hostname: new-1\n    port: 2222\n",
        ),
        (
            "no section, a blank line and a comment last",
            "components: {}\n# end\n\n",
            "components: {}\n# end\n\nhosts:\n  - hostname: new-1\n    port: 2222\n",
        ),
        (
            "no section, an end of the document",
            "components: {}\n...\n",
            "components: {}\n\nhosts:\n  - hostname: new-1\n    port: 2222\n...\n",
        ),
        (
            "an empty list, spaces after it",
            "hosts: []  \ncomponents: {}\n",
            "hosts:  \n  - hostname: new-1\n    port: 2222\ncomponents: {}\n",
        ),
        (
            "an empty list and a comment",
            "hosts: [ ] # none yet\n",
            "hosts: # none yet\n  - hostname: new-1\n    port: 2222\n",
        ),
        (
            "nothing at all after the colon",
            "hosts:\ncomponents: {}\n",
            "hosts:\n  - hostname: new-1\n    port: 2222\ncomponents: {}\n",
        ),
        (
            "null and a comment, no last newline",
            "hosts: ~ # none",
            "hosts: # none\n  - hostname: new-1\n    port: 2222",
        ),
        (
            "entries, comments between and after",
            "hosts:\n  # first\n  - hostname: a # one\n    port: 1\n\n  - b\n  # - c\n\n# What to bring up\ncomponents: {}\n",
            "hosts:\n  # first\n  - hostname: a # one\n    port: 1\n\n  - b\n  # - c\n  - hostname: new-1\n    port: 2222\n\n# What to bring up\ncomponents: {}\n",
        ),
        (
            "entries in line with the key",
            "hosts:\n- a\n- hostname: b\n  labels:\n    k: v\n# after\ncomponents: {}\n",
            "hosts:\n- a\n- hostname: b\n  labels:\n    k: v\n- hostname: new-1\n  port: 2222\n# after\ncomponents: {}\n",
        ),
        (
            "deep, wide, trailing spaces, a range, entries in braces",
            "hosts:   \n      - { hostname: 'n[1-3]' }  \n      -   hostname: b   \n",
            "hosts:   \n      - { hostname: 'n[1-3]' }  \n      -   hostname: b   \n      - hostname: new-1\n        port: 2222\n",
        ),
        (
            "a quoted value over lines",
            "hosts:\n  - hostname: a\n    labels: { k: \"one\n\n      two: [\" }\n\ncomponents: {}\n",
            "hosts:\n  - hostname: a\n    labels: { k: \"one\n\n      two: [\" }\n  - hostname: new-1\n    port: 2222\n\ncomponents: {}\n",
        ),
        (
            "a list in brackets",
            "hosts: [a, { hostname: b, roles: [r] }] # two\n",
            "hosts: [a, { hostname: b, roles: [r] }, { hostname: new-1, port: 2222 }] # two\n",
        ),
        (
            "a list in brackets over lines",
            "hosts: [\n  a, # it's one ]\n  \"b\", # two\n]\ncomponents: {}\n",
            "hosts: [\n  a, # it's one ]\n  \"b\", { hostname: new-1, port: 2222 } # two\n]\ncomponents: {}\n",
        ),
        (
            "an anchor",
            "hosts: &all\n  - a\nx-other: *all\n",
            "hosts: &all\n  - a\n  - hostname: new-1\n    port: 2222\nx-other: *all\n",
        ),
        (
            "no entry but a quoted key",
            "\"hosts\":\n  - a\n",
            "\"hosts\":\n  - a\n  - hostname: new-1\n    port: 2222\n",
        ),
    ] {
        for newline in ["\n", "\r\n"] {
            let text = |body: &str| format!("{HEAD}{body}").replace('\n', newline);
            let got = add_host(&source(&text(before)), &entry())
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(got, text(after), "{case}");
        }
    }
}

#[test]
fn a_whole_config_in_braces_stays_one() {
    let got = add_host(&source("{ cluster: { name: x } }\n"), &entry()).unwrap();
    assert_eq!(
        got,
        "{ cluster: { name: x }, hosts: [{ hostname: new-1, port: 2222 }] }\n"
    );
    let again = HostEntry {
        hostname: "b".to_owned(),
        ..HostEntry::default()
    };
    assert_eq!(
        add_host(&source(&got), &again).unwrap(),
        "{ cluster: { name: x }, hosts: [{ hostname: new-1, port: 2222 }, { hostname: b }] }\n"
    );
}

#[test]
fn every_field_reads_back() {
    let entry = HostEntry {
        hostname: "bao-1.example.com".to_owned(),
        address: Some("10.0.0.7".to_owned()),
        port: Some(22),
        user: Some("1e5".to_owned()),
        roles: vec!["openbao".to_owned(), "k3s".to_owned()],
        jump: Some("ada@[fe80::1]:22".to_owned()),
        host_key: Some("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== root@a: #b".to_owned()),
    };
    for hosts in ["hosts: []\n", "hosts: [a]\n", ""] {
        let got = add_host(&source(&format!("{HEAD}{hosts}")), &entry).unwrap();
        let stack = parse(&source(&got)).unwrap();
        let host = find(&stack, "bao-1.example.com").unwrap();
        assert_eq!(Some(&host.address), entry.address.as_ref(), "{got}");
        assert_eq!(host.port, entry.port);
        assert_eq!(host.user, entry.user);
        assert_eq!(host.roles, ["k3s", "openbao"]);
        assert_eq!(host.jump, entry.jump);
        assert_eq!(host.host_key, entry.host_key);
    }
}

#[test]
fn what_can_not_be_is_refused() {
    let bad_name = HostEntry {
        hostname: "Bad Name".to_owned(),
        ..HostEntry::default()
    };
    for (before, entry, said) in [
        (
            "hosts: [new-1]\n",
            entry(),
            "host `new-1` is there already (s.yaml:2)",
        ),
        (
            "hosts:\n  - hostname: 'new-[1-9]'\n",
            entry(),
            "host `new-1` is there already (s.yaml:3)",
        ),
        (
            "hosts: []\n",
            bad_name,
            "host `Bad Name` can't be written into s.yaml:",
        ),
        // Two sections would share one list, and one of them would change unasked.
        (
            "x-hosts: &all [a]\nhosts: *all\n",
            entry(),
            "host `new-1` can't be written into s.yaml:",
        ),
        ("hosts: [\n", entry(), "s.yaml"),
    ] {
        let error = add_host(&source(&format!("{HEAD}{before}")), &entry)
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{before}: {error}");
    }
}

#[test]
fn a_field_is_set_in_the_hosts_own_entry() {
    for (case, before, after) in [
        (
            "a name alone",
            "hosts:\n  - a # one\n  - b\n",
            "hosts:\n  - hostname: a # one\n    identity: /k/a\n  - b\n",
        ),
        (
            "a name alone in brackets",
            "hosts: [b, a]\n",
            "hosts: [b, { hostname: a, identity: /k/a }]\n",
        ),
        (
            "an entry on lines",
            "hosts:\n  - port: 22\n    hostname: \"a\"  # one\n    user: u\n",
            "hosts:\n  - port: 22\n    hostname: \"a\"  # one\n    identity: /k/a\n    user: u\n",
        ),
        (
            "an entry in braces",
            "hosts:\n  - { port: 22, hostname: a } # one\n",
            "hosts:\n  - { port: 22, hostname: a, identity: /k/a } # one\n",
        ),
        (
            "a field that is there",
            "hosts:\n  - hostname: a\n    identity: '~/old' # old\n",
            "hosts:\n  - hostname: a\n    identity: /k/a # old\n",
        ),
        (
            "a host of a component",
            "components: { openbao: { hosts: [a] } }\nhosts: [a]\n",
            "components: { openbao: { hosts: [a] } }\nhosts: [{ hostname: a, identity: /k/a }]\n",
        ),
    ] {
        let got = set_host_field(&source(&format!("{HEAD}{before}")), "a", "identity", "/k/a")
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let wanted = format!("{HEAD}{after}").replace(" /k/a", " \"/k/a\"");
        assert_eq!(got, wanted, "{case}");
        assert_eq!(
            own_field(&source(&got), "a", "identity")
                .unwrap()
                .as_deref(),
            Some("/k/a")
        );
    }
}

#[test]
fn a_node_of_the_cluster_gets_an_entry_beside_it() {
    let text = "cluster:\n  name: x\n  nodes:\n    - { hostname: a, role: worker }\n";
    let got = set_host_field(&source(text), "a", "identity", "/k/a").unwrap();
    assert_eq!(
        got,
        format!("{text}\nhosts:\n  - hostname: a\n    identity: \"/k/a\"\n")
    );
}

#[test]
fn a_host_of_a_range_has_no_entry_to_change() {
    let text = format!("{HEAD}hosts: ['a[1-3]']\n");
    let error = set_host_field(&source(&text), "a2", "identity", "/k").unwrap_err();
    assert!(error.to_string().contains("declared twice"), "{error}");
    let error = set_host_field(&source(&text), "b", "identity", "/k").unwrap_err();
    assert_eq!(error.to_string(), "s.yaml has no host `b`");
}
