//! The embedded recipes, expanded over stacks as people write them. Runs nothing.

use std::sync::Arc;

use foundry::catalog::{Catalog, Value};
use foundry::config::{self, Source};
use foundry::graph::{Graph, Input, Part, Step, Target, expand};

const HOSTS: &str = "
hosts:
  - { hostname: bao-1.example.com, address: 10.0.0.1, roles: [openbao] }
  - { hostname: bao-2.example.com, address: 10.0.0.2, roles: [openbao], labels: { internal-address: 192.168.0.2 } }
  - { hostname: bao-3.example.com, address: 10.0.0.3, roles: [openbao] }
";

fn try_graph(components: &str) -> Result<Graph, String> {
    let source = Arc::new(Source {
        name: "stack.yaml".to_owned(),
        text: format!("cluster: {{ name: lab, domain: example.com }}\n{HOSTS}\n{components}"),
    });
    let stack = config::parse(&source).map_err(|problems| problems.to_string())?;
    let catalog = Catalog::embedded().map_err(|problems| problems.to_string())?;
    expand(&Arc::new(stack), &catalog).map_err(|problems| problems.to_string())
}

fn graph(components: &str) -> Graph {
    try_graph(components).unwrap_or_else(|problems| panic!("{problems}"))
}

fn step<'a>(graph: &'a Graph, label: &str) -> &'a Step {
    let found = graph
        .steps
        .iter()
        .find(|step| step.label.to_string() == label);
    found.unwrap_or_else(|| {
        let labels: Vec<String> = graph
            .steps
            .iter()
            .map(|step| step.label.to_string())
            .collect();
        panic!("no step {label} among {}", labels.join(" "))
    })
}

fn labels(graph: &Graph, component: &str) -> Vec<String> {
    let mut names: Vec<String> = graph
        .steps
        .iter()
        .filter(|step| &*step.label.component == component && step.task.is_some())
        .map(|step| step.label.step.to_string())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Returns an input's text, holes as `‹…›`.
fn text(step: &Step, name: &str) -> String {
    match &step.inputs[name] {
        Input::Known(Value::Text(text)) => text.clone(),
        Input::Text(parts) => parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text.as_str(),
                Part::Hole(_) => "‹hole›",
                Part::Encoded(..) => "‹encoded›",
            })
            .collect(),
        Input::Hole(_) => "‹hole›".to_owned(),
        other => panic!("{name} is {other:?}"),
    }
}

/// Returns whether `later` comes after `earlier`, through however many steps.
fn after(graph: &Graph, later: &str, earlier: &str) -> bool {
    let mut open = vec![step(graph, later)];
    let mut seen = std::collections::HashSet::new();
    while let Some(one) = open.pop() {
        for &need in &one.needs {
            let need_step = graph.step(need);
            if need_step.label.to_string() == earlier {
                return true;
            }
            if seen.insert(need) {
                open.push(need_step);
            }
        }
    }
    false
}

#[test]
fn a_stack_of_three_has_what_its_hosts_need_and_nothing_more() {
    let graph = graph("components: { openbao: {} }");
    assert_eq!(
        labels(&graph, "base"),
        [
            "hostname",
            "journald",
            "journald-config",
            "packages",
            "time"
        ]
    );
    assert_eq!(
        labels(&graph, "openbao"),
        [
            "artifact",
            "ca",
            "ca-copy",
            "ca-file",
            "cert",
            "config",
            "config-folder",
            "data-folder",
            "folder",
            "handover",
            "health",
            "init",
            "join",
            "kv",
            "link",
            "log-folder",
            "log-rotate",
            "policy",
            "seal-key",
            "service",
            "unit",
            "user"
        ]
    );
    let init = step(&graph, "openbao:init");
    assert!(matches!(&init.target, Target::Group(hosts) if hosts.len() == 3));
    let kv = step(&graph, "openbao:kv");
    assert!(
        matches!(&kv.target, Target::Service(name, hosts) if &**name == "bao" && hosts.len() == 3)
    );
}

#[test]
fn everything_stages_at_once_and_servers_come_one_after_the_other() {
    let graph = graph("components: { openbao: {} }");
    let here = |step: &str| format!("openbao:{step}@bao-1.example.com");
    // The download waits for nothing but the packages, and nothing that is staged waits for it.
    for staged in ["user", "folder", "cert", "config", "unit", "ca-file"] {
        assert!(
            !after(&graph, &here(staged), &here("artifact")),
            "{staged} waits for the download"
        );
        assert!(
            after(&graph, &here("service"), &here(staged)),
            "the service does not wait for {staged}"
        );
    }
    assert!(after(&graph, &here("service"), &here("artifact")));
    for host in ["bao-1", "bao-2", "bao-3"] {
        let service = format!("openbao:service@{host}.example.com");
        let join = format!("openbao:join@{host}.example.com");
        assert!(after(&graph, "openbao:init", &service));
        assert!(after(&graph, "openbao:handover", &join));
        assert!(after(&graph, &join, "openbao:init"));
        assert!(after(&graph, "openbao:health", &join));
    }
    let pool = |label: &str| {
        let id = step(&graph, label).pool.unwrap();
        let pool = &graph.pools[id.0 as usize];
        (pool.name.to_string(), pool.depth)
    };
    assert_eq!(
        pool("openbao:join@bao-2.example.com"),
        ("openbao:raft-join".into(), 1)
    );
    assert_eq!(
        pool("openbao:service@bao-2.example.com"),
        ("openbao:restart".into(), 1)
    );
}

#[test]
fn the_server_s_config_is_made_for_its_host() {
    let graph = graph("components: { openbao: { version: v2.6.2, audit: { enabled: false } } }");
    insta::assert_snapshot!(text(step(&graph, "openbao:config@bao-2.example.com"), "content"), @r#"
    # Made by Foundry from the stack's config: changes here are overwritten.
    cluster_name = "lab"
    api_addr     = "https://192.168.0.2:8200"
    cluster_addr = "https://192.168.0.2:8201"

    ui        = true
    log_level = "info"

    default_lease_ttl = "768h"
    max_lease_ttl     = "768h"

    storage "raft" {
      path    = "/opt/openbao/data"
      node_id = "bao-2.example.com"
      # What upstream advises for production: a lost leader is noticed in a second, not in five.
      performance_multiplier = 1
    }

    listener "tcp" {
      address         = "0.0.0.0:8200"
      tls_cert_file   = "/opt/openbao/tls/cert.pem"
      tls_key_file    = "/opt/openbao/tls/key.pem"
      tls_min_version = "tls12"
    }

    seal "static" {
      current_key_id = ‹encoded›
      current_key    = "file:///run/credentials/openbao.service/seal"
    }
    "#);
    let unit = text(step(&graph, "openbao:unit@bao-1.example.com"), "content");
    assert!(
        unit.contains("ExecStart=/opt/foundry/openbao/2.6.2/bao server"),
        "{unit}"
    );
    // Nodes speak to each other on the internal address where there is one.
    let Input::Known(Value::Map(members)) =
        &step(&graph, "openbao:join@bao-2.example.com").inputs["members"]
    else {
        panic!("members are no map");
    };
    let addresses: Vec<&Value> = members.values().collect();
    assert_eq!(
        addresses,
        ["10.0.0.1", "192.168.0.2", "10.0.0.3"]
            .map(|address| Value::Text(address.to_owned()))
            .iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn shamir_and_postgresql_and_a_firewall_change_the_steps() {
    let graph = graph(
        "components:
  base:
    firewall: { enabled: true, tcp: ['443'] }
    sysctl: { net.ipv4.ip_forward: '1' }
    timezone: Etc/UTC
    admin: { name: ops, sudo: nopasswd, authorized_keys: ['ssh-ed25519 AAAA ops'] }
  openbao:
    seal: shamir
    storage: postgresql
    connection_url: ${secret:openbao:connection_url}
    names: [bao.example.com]
",
    );
    let steps = labels(&graph, "openbao");
    for (there, name) in [
        (true, "unseal"),
        (true, "firewall"),
        (false, "seal-key"),
        (false, "join"),
        (false, "data-folder"),
    ] {
        assert_eq!(
            steps.iter().any(|step| step == name),
            there,
            "{name} in {steps:?}"
        );
    }
    let config = text(step(&graph, "openbao:config@bao-1.example.com"), "content");
    assert!(config.contains("connection_url = ‹encoded›"), "{config}");
    assert!(!config.contains("seal \"static\""), "{config}");
    assert!(after(
        &graph,
        "openbao:handover",
        "openbao:unseal@bao-3.example.com"
    ));
    let base = labels(&graph, "base");
    for name in [
        "admin",
        "sudo",
        "sudoers",
        "firewall",
        "firewall-rules",
        "sysctl",
        "timezone",
    ] {
        assert!(base.iter().any(|step| step == name), "{name} in {base:?}");
    }
    let rules = text(
        step(&graph, "base:firewall-rules@bao-1.example.com"),
        "content",
    );
    assert!(rules.contains("        tcp dport 443 accept\n"), "{rules}");
    let sudoers = text(step(&graph, "base:sudoers@bao-1.example.com"), "content");
    assert_eq!(sudoers, "ops ALL=(ALL:ALL) NOPASSWD: ALL\n");
}

#[test]
fn the_asset_s_name_follows_the_version() {
    let url = |version: &str| {
        let graph = graph(&format!(
            "components: {{ openbao: {{ version: {version} }} }}"
        ));
        match &step(&graph, "openbao:artifact@bao-1.example.com").inputs["url"] {
            Input::Known(Value::Map(urls)) => match &urls["amd64"] {
                Value::Text(url) => url.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let base = "https://github.com/openbao/openbao/releases/download";
    assert_eq!(
        url("2.7.2"),
        format!("{base}/v2.7.2/openbao_2.7.2_linux_amd64.tar.gz")
    );
    assert_eq!(
        url("2.5.3"),
        format!("{base}/v2.5.3/bao_2.5.3_Linux_x86_64.tar.gz")
    );
}

#[test]
fn what_openbao_can_not_do_is_said_with_the_reason() {
    let said = try_graph("components: { openbao: { storage: consul } }").unwrap_err();
    assert!(said.contains("OpenBAO has no Consul storage"), "{said}");
}

#[test]
fn a_database_that_is_there_is_never_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("foundry.sqlite3");
    std::fs::write(&database, "zones and keys").unwrap();
    let script = std::fs::read_to_string("recipes/powerdns/database.sh")
        .unwrap()
        .replace("/var/lib/powerdns", folder.path().to_str().unwrap());
    let ended = std::process::Command::new("sh")
        .args(["-eu", "-c", &script])
        .status()
        .unwrap();
    assert!(ended.success());
    assert_eq!(
        std::fs::read_to_string(&database).unwrap(),
        "zones and keys"
    );
}
