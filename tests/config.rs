//! The config as people meet it: the seed's own examples to the letter, and what is said about every kind of mistake.

use std::sync::Arc;

use foundry::config::{self, Problems, Setting, Source, Stack, Style};

const STYLE: Style = Style {
    colour: false,
    unicode: true,
    width: 100,
};

const SEED_STACK: &str = include_str!("data/seed/stack.yaml");

/// The seed's fragments, each of which begins with `components:`.
const SEED_COMPONENTS: [&str; 5] = [
    include_str!("data/seed/component-openbao.yaml"),
    include_str!("data/seed/component-k3s.yaml"),
    include_str!("data/seed/component-zot.yaml"),
    include_str!("data/seed/component-grafana.yaml"),
    include_str!("data/seed/component-minio.yaml"),
];

fn parse(text: &str) -> Result<Stack, Problems> {
    config::parse(&Arc::new(Source {
        name: "stack.yaml".to_owned(),
        text: text.to_owned(),
    }))
}

/// Parses what stands below a valid `cluster` section.
fn parse_rest(rest: &str) -> Result<Stack, Problems> {
    parse(&format!("cluster: {{ name: test }}\n{rest}"))
}

/// Returns what is drawn for a config with mistakes.
fn drawn(text: &str) -> String {
    config::render(&parse(text).unwrap_err(), STYLE)
}

/// Returns the problems of each text as lines.
fn said(texts: &[&str]) -> String {
    texts
        .iter()
        .map(|text| match parse_rest(text) {
            Ok(_) => format!("no problem in {text:?}\n"),
            Err(problems) => format!("{problems}\n"),
        })
        .collect()
}

fn names(stack: &Stack) -> Vec<&str> {
    stack.hosts.iter().map(|host| &*host.name).collect()
}

#[test]
fn the_stack_of_the_seed_parses_unchanged() {
    let stack = parse(SEED_STACK).unwrap();
    assert_eq!(stack.name, "production");
    assert_eq!(stack.domain.as_deref(), Some("example.com"));
    assert_eq!(
        names(&stack),
        [
            "node1.example.com",
            "node2.example.com",
            "openbao.example.com"
        ]
    );
    assert_eq!(stack.hosts[0].roles, ["control-plane"]);
    assert_eq!(stack.hosts[1].roles, ["worker"]);
    assert_eq!(
        stack.components.keys().collect::<Vec<_>>(),
        ["openbao", "k3s", "zot", "grafana"]
    );
    let openbao = &stack.components["openbao"];
    let hosts: Vec<&str> = openbao
        .hosts
        .iter()
        .flatten()
        .map(|id| &*stack.host(*id).name)
        .collect();
    assert_eq!(hosts, ["openbao.example.com"]);
    let Setting::Map(settings) = &openbao.settings.value else {
        panic!("settings are a map");
    };
    assert_eq!(
        settings["version"].1.value,
        Setting::Text("2.1.0".to_owned())
    );
    assert!(!settings.contains_key("hosts"));
    assert_eq!(
        stack.sections.keys().collect::<Vec<_>>(),
        ["observability", "storage"]
    );
}

#[test]
fn every_component_example_of_the_seed_parses() {
    for text in SEED_COMPONENTS {
        let stack = parse_rest(text).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(!stack.components.is_empty(), "{text}");
    }
    let stack = parse_rest(SEED_COMPONENTS[0]).unwrap();
    assert_eq!(
        names(&stack),
        ["openbao1.example.com", "openbao2.example.com"]
    );
}

#[test]
fn a_component_may_be_empty_and_its_version_unquoted() {
    let stack =
        parse_rest("components:\n  openbao:\n  zot: {}\n  k3s: { version: 1.30 }\n").unwrap();
    assert_eq!(stack.components["openbao"].hosts, None);
    let Setting::Map(settings) = &stack.components["k3s"].settings.value else {
        panic!("settings are a map");
    };
    assert_eq!(
        settings["version"].1.value,
        Setting::Text("1.30".to_owned())
    );
}

#[test]
fn hosts_take_ranges_defaults_and_merge_with_nodes() {
    let stack = parse(
        "\
cluster:
  name: test
  vip: 10.0.0.100
  nodes:
    - { hostname: 'node[01-03]', role: worker }
ssh: { user: admin, port: 2222, jump: bastion, identity: ~/.ssh/id }
hosts:
  - { hostname: bastion, address: 192.0.2.1, port: 22, host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA }
  - { hostname: 'node[01-03]', address: 10.0.0.9, role: storage, labels: { rack: 7 } }
  - { hostname: 'far[1-2].example.com', address: 'gw[8-9].example.com', jump: me@out.example.com:2200, roles: [a, b, a] }
  - { hostname: here, local: true }
  - { hostname: direct, jump: none, user: root }
components:
  one: { hosts: ['role:storage', direct] }
  all: { hosts: '*' }
",
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    let mut table = String::new();
    for host in &stack.hosts {
        table.push_str(&format!(
            "{} {} port={:?} user={:?} jump={:?} local={} roles={} labels={:?}\n",
            host.name,
            host.address,
            host.port,
            host.user.as_deref().unwrap_or(""),
            host.jump.as_deref().unwrap_or(""),
            host.local,
            host.roles.join(","),
            host.labels,
        ));
    }
    insta::assert_snapshot!(table, @r#"
    node01 10.0.0.9 port=Some(2222) user="admin" jump="bastion" local=false roles=storage,worker labels={"rack": "7"}
    node02 10.0.0.10 port=Some(2222) user="admin" jump="bastion" local=false roles=storage,worker labels={"rack": "7"}
    node03 10.0.0.11 port=Some(2222) user="admin" jump="bastion" local=false roles=storage,worker labels={"rack": "7"}
    bastion 192.0.2.1 port=Some(22) user="admin" jump="" local=false roles= labels={}
    far1.example.com gw8.example.com port=Some(2222) user="admin" jump="me@out.example.com:2200" local=false roles=a,b labels={}
    far2.example.com gw9.example.com port=Some(2222) user="admin" jump="me@out.example.com:2200" local=false roles=a,b labels={}
    here here port=Some(2222) user="admin" jump="" local=true roles= labels={}
    direct direct port=Some(2222) user="root" jump="" local=false roles= labels={}
    "#);
    assert_eq!(stack.components["one"].hosts.as_ref().unwrap().len(), 4);
    assert_eq!(stack.components["all"].hosts.as_ref().unwrap().len(), 8);
}

#[test]
fn ten_thousand_hosts_are_fine_and_one_more_is_not() {
    let text = |last: u32| format!("hosts: [{{ hostname: 'node[00001-{last}].example.com' }}]\n");
    assert_eq!(parse_rest(&text(10_000)).unwrap().hosts.len(), 10_000);
    assert!(parse_rest(&text(10_001)).is_err());
}

#[test]
fn drawn_problems() {
    insta::assert_snapshot!(drawn("\
cluster:
  name: production
  domain: example.com
  nodse:
    - hostname: node1.example.com
hosts:
  - hostname: node[1-1000000].example.com
  - hostname: bao-1
    jump: bao-2
    port: ssh
  - hostname: bao-2
    jump: bao-1
  - hostname: bao-1
    user: root
componets: {}
components:
  openbao:
    version: newest
    hosts: role:openbaoo
  grafana: on
"), @r#"
     error: unknown key `nodse` in `cluster`
      ╭─[stack.yaml:4:3]
    3 │   domain: example.com
    4 │   nodse:
      ·   ──┬──
      ·     ╰── not known here
    5 │     - hostname: node1.example.com
      ╰────
     help: did you mean `nodes`?

     error: `node[1-1000000].example.com` stands for 1000000 hosts, and a config may have 10000 in all
      ╭─[stack.yaml:7:15]
    6 │ hosts:
    7 │   - hostname: node[1-1000000].example.com
      ·               ─────────────┬─────────────
      ·                            ╰── too many hosts
    8 │   - hostname: bao-1
      ╰────
     help: is there a digit too many? Larger fleets want several configs

     error: jumps go in a circle: bao-1 → bao-2 → bao-1
       ╭─[stack.yaml:9:11]
     8 │   - hostname: bao-1
     9 │     jump: bao-2
       ·           ──┬──
       ·             ╰── from here
    10 │     port: ssh
    11 │   - hostname: bao-2
    12 │     jump: bao-1
       ·           ──┬──
       ·             ╰── and here
    13 │   - hostname: bao-1
       ╰────

     error: `port` wants a port from 1 to 65535, found text
       ╭─[stack.yaml:10:11]
     9 │     jump: bao-2
    10 │     port: ssh
       ·           ─┬─
       ·            ╰── not a port from 1 to 65535
    11 │   - hostname: bao-2
       ╰────

     error: host `bao-1` is declared twice
       ╭─[stack.yaml:13:15]
     7 │   - hostname: node[1-1000000].example.com
     8 │   - hostname: bao-1
       ·               ──┬──
       ·                 ╰── first time
     9 │     jump: bao-2
    10 │     port: ssh
    11 │   - hostname: bao-2
    12 │     jump: bao-1
    13 │   - hostname: bao-1
       ·               ──┬──
       ·                 ╰── second time
    14 │     user: root
       ╰────

     error: unknown key `componets` in a config
       ╭─[stack.yaml:15:1]
    14 │     user: root
    15 │ componets: {}
       · ────┬────
       ·     ╰── not known here
    16 │ components:
       ╰────
     help: did you mean `components`?

     error: `newest` is no version
       ╭─[stack.yaml:18:14]
    17 │   openbao:
    18 │     version: newest
       ·              ───┬──
       ·                 ╰── not a version
    19 │     hosts: role:openbaoo
       ╰────
     help: write it as upstream does: "2.1.0", "v1.28.5+k3s1"; leave it out for the recipe's own

     error: `grafana` wants a map of settings, found text
       ╭─[stack.yaml:20:12]
    19 │     hosts: role:openbaoo
    20 │   grafana: on
       ·            ─┬
       ·             ╰── not a map of settings
       ╰────
    "#);
}

#[test]
fn unknown_hosts_are_suggested() {
    insta::assert_snapshot!(said(&[
        "hosts: [{ hostname: node1.example.com }]\ncomponents: { a: { hosts: [node2.example.com] } }\n",
        "hosts: [{ hostname: node1.example.com }]\ncomponents: { a: { hosts: [other] } }\n",
        "hosts: [{ hostname: a, roles: [openbao] }]\ncomponents: { a: { hosts: 'role:openbou' } }\n",
        "components: { a: { hosts: [node1.example.com, ndoe1.example.com] } }\n",
        "hosts: [{ hostname: node1, jump: bastoin }, { hostname: bastion }]\n",
        "hosts: [{ hostname: node1, jump: elsewhere }]\n",
    ]), @r"
    stack.yaml:3:28: unknown host `node2.example.com` (did you mean `node1.example.com`?)
    stack.yaml:3:28: unknown host `other` (declare it: `hosts: [{ hostname: other }]`)
    stack.yaml:3:27: no host has the role `openbou` (did you mean `openbao`?)
    stack.yaml:2:47: unknown host `ndoe1.example.com` (did you mean `node1.example.com`?)
    stack.yaml:2:34: unknown host `bastoin` to jump through (did you mean `bastion`?)
    stack.yaml:2:34: unknown host `elsewhere` to jump through (a machine outside the stack is written `user@host:port`)
    ");
}

#[test]
fn wrong_values_are_named() {
    insta::assert_snapshot!(said(&[
        "version: \"2.0\"\n",
        "version: 1.0\ncluster: x\n",
        "components: [openbao]\n",
        "components: { Open_BAO: {} }\n",
        "components: { a: { version: [1] } }\n",
        "components: { a: { hosts: [] } }\n",
        "hosts: node1\n",
        "hosts: [12, { address: x }]\n",
        "hosts: [{ hostname: '${secret:a:b}' }]\n",
        "hosts: [{ hostname: 10.0.0.1 }]\n",
        "hosts: [{ hostname: Node1 }]\n",
        "hosts: [{ hostname: 'n[3-1]' }]\n",
        "hosts: [{ hostname: 'n[1-2]', address: one }]\n",
        "hosts: [{ hostname: 'n[1-2]', address: 255.255.255.255 }]\n",
        "hosts: [{ hostname: n1, address: 'a b' }]\n",
        "hosts: [{ hostname: n1, port: 0 }]\n",
        "hosts: [{ hostname: n1, port: 70000 }]\n",
        "hosts: [{ hostname: n1, user: '-oProxyCommand=x' }]\n",
        "hosts: [{ hostname: n1, local: yes }]\n",
        "hosts: [{ hostname: n1, host_key: abc }]\n",
        "hosts: [{ hostname: n1, lables: {} }]\n",
        "hosts: [{ hostname: 'n[1-2]', local: true }]\n",
        "hosts: [{ hostname: 'n[1-3]' }, { hostname: 'n[2-5]' }]\n",
        "mirrors: [{ prefix: 'https://a/', url: 'ftp://b/' }, { url: 'https://c/', digests: pined }]\n",
        "mirrors: [{ prefix: 'https://a/', url: 'http://127.0.0.1@b/', digests: mirror }, { prefix: 'https://c/', url: 'http://[::1]:80/', digests: mirror }]\n",
        "x-anything: { goes: here }\nobservability: {}\nobservabilty: {}\n",
    ]), @r#"
    stack.yaml:2:10: a config of version 2.0 can't be read (a component's version goes below its name in `components`)
    stack.yaml:3:1: key `cluster` is given twice
    stack.yaml:2:13: `components` wants a map, found a list (write each as `name:`, with its settings below; `openbao: {}` if there are none)
    stack.yaml:2:15: `Open_BAO` is no component name (names are lower-case letters, digits and `-`)
    stack.yaml:2:29: `version` wants a version such as "2.1.0", found a list
    stack.yaml:2:27: `hosts` of `a` is empty (leave `hosts` out to let roles decide, or name hosts)
    stack.yaml:2:8: `hosts` wants a list, found text
    stack.yaml:2:9: an entry of `hosts` wants a map with `hostname`, found a number
    stack.yaml:2:13: an entry of `hosts` has no `hostname`
    stack.yaml:2:21: `hostname` can't hold a secret reference (secret references may stand in the settings of components)
    stack.yaml:2:21: `10.0.0.1` is no host name (give the host a name, and write the IP address as its `address`)
    stack.yaml:2:21: `Node1` is no host name (names are lower-case letters, digits and `-`, in parts joined by dots)
    stack.yaml:2:21: `3-1` runs backwards
    stack.yaml:2:40: 1 address for the 2 hosts of `n[1-2]` (write a range of as many, or the first IP address: it counts up)
    stack.yaml:2:40: 2 addresses from 255.255.255.255 on go beyond the last there is
    stack.yaml:2:34: `a b` is no address
    stack.yaml:2:31: `port` wants a port from 1 to 65535
    stack.yaml:2:31: `port` wants a port from 1 to 65535
    stack.yaml:2:31: `-oProxyCommand=x` is no user name
    stack.yaml:2:32: `local` wants `true` or `false`, found text
    stack.yaml:2:35: `host_key` is no OpenSSH public key (`ssh-keyscan -t ed25519 HOST` prints it; compare it with the console's)
    stack.yaml:2:25: unknown key `lables` in an entry of `hosts` (did you mean `labels`?)
    stack.yaml:2:38: more than one host is `local` (`local` is the machine that Foundry runs on, and there is one)
    stack.yaml:2:45: host `n2` (and 1 more) is declared twice
    stack.yaml:2:40: `ftp://b/` does not begin with https://, http://, file:///
    stack.yaml:2:54: an entry of `mirrors` has no `prefix`
    stack.yaml:2:84: `digests` can't be `pined` (did you mean `pinned`?)
    stack.yaml:2:40: `digests: mirror` takes the word of `http://127.0.0.1@b/`, which anybody on the way can change (let the mirror speak https://, or leave `digests` out: then the recipes' own digests hold)
    stack.yaml:4:1: unknown key `observabilty` in a config (did you mean `observability`?)
    "#);
}

#[test]
fn nodes_want_a_role_and_a_name() {
    let problems = parse(
        "cluster:\n  domain: example..com\n  vip: nowhere\n  nodes:\n    - { hostname: a }\n    - { hostname: b, role: workr }\n    - { hostname: c, role: openbao }\n",
    )
    .unwrap_err();
    insta::assert_snapshot!(problems.to_string(), @r"
    stack.yaml:1:1: `cluster` has no `name` (the name tells this stack from others, on hosts and in reports)
    stack.yaml:2:11: `example..com` is no domain (such as `example.com`, in lower case)
    stack.yaml:3:8: `vip` wants an IP address, found `nowhere`
    stack.yaml:5:19: a cluster node has no role (add `role: control-plane` or `role: worker`)
    stack.yaml:6:28: unknown role `workr` of a cluster node (did you mean `worker`?)
    stack.yaml:7:28: unknown role `openbao` of a cluster node (nodes are `control-plane` or `worker`; other roles go into `hosts`)
    ");
    insta::assert_snapshot!(parse("").unwrap_err().to_string(), @r"stack.yaml: is empty (`foundry config init` writes one to begin with)");
    insta::assert_snapshot!(parse("components: {}\n").unwrap_err().to_string(), @r"stack.yaml: has no `cluster` (begin with `cluster: { name: … }`)");
}

#[test]
fn merging_contradictions_is_refused() {
    let problems = parse(
        "cluster: { name: t, nodes: [{ hostname: a, role: worker, address: 10.0.0.1 }] }\nhosts: [{ hostname: a, address: 10.0.0.2 }]\n",
    )
    .unwrap_err();
    insta::assert_snapshot!(problems.to_string(), @r"stack.yaml:2:33: `address` of host `a` is given twice, and differently");
}

#[test]
fn jumps_in_a_circle_are_one_problem() {
    insta::assert_snapshot!(said(&[
        "hosts: [{ hostname: a, jump: a }]\n",
        "hosts:\n- { hostname: x, jump: a }\n- { hostname: a, jump: b }\n- { hostname: b, jump: c }\n- { hostname: c, jump: a }\n",
        "ssh: { jump: bastion }\nhosts:\n- { hostname: x }\n- { hostname: bastion, jump: x }\n",
    ]), @r"
    stack.yaml:2:30: jumps go in a circle: a → a
    stack.yaml:4:24: jumps go in a circle: a → b → c → a
    stack.yaml:2:14: jumps go in a circle: x → bastion → x
    ");
}

#[test]
fn secret_references_are_checked_in_place() {
    insta::assert_snapshot!(drawn("\
cluster: { name: test }
components:
  grafana:
    admin_password: ${secret:foundry/grafana:admin_password
    url: \"postgres://${secret:a-b/c:user}:${secret:a/b-c:user}@db\"
storage:
  api_key: ${secret:foundry/truenas}
"), @r#"
     error: `${secret:foundry/grafana:admin_password` is no secret reference: its `}` is missing
      ╭─[stack.yaml:4:21]
    3 │   grafana:
    4 │     admin_password: ${secret:foundry/grafana:admin_password
      ·                     ───────────────────┬───────────────────
      ·                                        ╰── here
    5 │     url: "postgres://${secret:a-b/c:user}:${secret:a/b-c:user}@db"
      ╰────

     error: secrets `foundry/a-b/c:user` and `foundry/a/b-c:user` share the environment variable FOUNDRY_SECRET_foundry_a_b_c_user
      ╭─[stack.yaml:5:43]
    4 │     admin_password: ${secret:foundry/grafana:admin_password
    5 │     url: "postgres://${secret:a-b/c:user}:${secret:a/b-c:user}@db"
      ·                      ──────────┬───────── ──────────┬─────────
      ·                                │                    ╰── this one
      ·                                ╰── and this one
    6 │ storage:
      ╰────
     help: rename one of them: all but letters and digits becomes `_` there

     error: `${secret:foundry/truenas}` is no secret reference: it has no key, as `path/to/secret:key` has
      ╭─[stack.yaml:7:12]
    6 │ storage:
    7 │   api_key: ${secret:foundry/truenas}
      ·            ────────────┬────────────
      ·                        ╰── here
      ╰────
    "#);
}

#[test]
fn a_bomb_and_a_password_in_a_snippet() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in "bcdefghij".chars().zip("abcdefghi".chars()) {
        let aliases = vec![format!("*{before}"); 10].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{aliases}]\n"));
    }
    insta::assert_snapshot!(drawn(&bomb), @r"
     error: aliases multiply to more values than a config may hold
      ╭─[stack.yaml:6:8]
    5 │ e: &* [**, **, **, **, **, **, **, **, **, **]
    6 │ f: &* [**, **, **, **, **, **, **, **, **, **]
      ·        ──
    7 │ g: &* [**, **, **, **, **, **, **, **, **, **]
      ╰────
     help: spell out what the aliases (`*name`) multiply
    ");
    insta::assert_snapshot!(drawn("\
cluster: { name: test }
components:
  grafana:
    admin_password: hunter2
    admin_password: hunter3
"), @r"
     error: key `admin_password` is given twice
      ╭─[stack.yaml:5:5]
    3 │   grafana:
    4 │     admin_password: *******
      ·     ───────┬──────
      ·            ╰── first time
    5 │     admin_password: *******
      ·     ───────┬──────
      ·            ╰── second time
      ╰────
    ");
}
