//! Settings → values, and what recipes refuse.

use crate::stacks::{ALL, SEED, STACKS, config_of, expanded, graph, input, json, step, text};

fn stack(name: &str) -> String {
    let found = STACKS.iter().find(|(stack, _)| *stack == name);
    config_of(found.unwrap_or_else(|| panic!("no stack {name}")).1)
}

/// Returns values of a chart as YAML.
fn values(config: &str, label: &str) -> String {
    let graph = graph(config);
    serde_yaml::to_string(&json(&input(step(&graph, label), "values"))).unwrap()
}

#[test]
fn the_seed_s_retentions_and_volumes_reach_the_charts() {
    let prometheus = values(SEED, "prometheus:chart");
    // 85 % of 50 GiB.
    for line in ["retention: 30d", "retentionSize: 43520MB"] {
        assert!(prometheus.contains(line), "{line} in\n{prometheus}");
    }
    let loki = values(SEED, "loki:chart");
    assert!(loki.contains("retention_period: 2160h"), "{loki}");
    // No S3 in that stack.
    assert!(loki.contains("object_store: filesystem"), "{loki}");
    let zot = values(SEED, "zot:chart");
    for line in [
        "tag: v2.0.0",
        "storageClassName: foundry-zot",
        "scheme: HTTPS",
        "secretName: tls",
    ] {
        assert!(zot.contains(line), "{line} in\n{zot}");
    }
}

#[test]
fn zot_keeps_every_upstream_under_its_own_name() {
    let graph = graph(&stack("alone"));
    let values = json(&input(step(&graph, "zot:chart"), "values"));
    let config = values["configFiles"]["config.json"].as_str().unwrap();
    let config: serde_json::Value = serde_json::from_str(config).unwrap();
    insta::assert_snapshot!(config["extensions"]["sync"]["registries"].to_string(), @r#"[{"urls":["https://registry-1.docker.io"],"onDemand":true,"tlsVerify":true,"maxRetries":3,"retryDelay":"5s","preserveDigest":true,"content":[{"prefix":"**","destination":"/docker.io"}]}]"#);
    assert_eq!(config["http"]["compat"], serde_json::json!(["docker2s2"]));
    assert!(config["http"].get("auth").is_none(), "{config}");
    // Never in the clear beyond the cluster.
    let tls = config["http"].get("tls").is_some();
    assert_eq!(values["service"]["type"] == "NodePort", tls, "{values}");
}

#[test]
fn what_belongs_to_components_that_are_not_there_is_left_out() {
    let alone = stack("alone");
    for (chart, key) in [
        ("contour:chart", "/metrics/serviceMonitor/enabled"),
        ("cert-manager:chart", "/prometheus/servicemonitor/enabled"),
    ] {
        let graph = graph(&alone);
        let values = json(&input(step(&graph, chart), "values"));
        assert_eq!(
            values.pointer(key),
            Some(&serde_json::json!(false)),
            "{chart} {key}"
        );
    }
    let graph = graph(&alone);
    let dns = json(&input(step(&graph, "external-dns:chart"), "values"));
    assert_eq!(
        dns["sources"],
        serde_json::json!(["service", "ingress", "contour-httpproxy"])
    );
    let grafana = json(&input(step(&graph, "grafana:chart"), "values"));
    assert_eq!(
        grafana["plugins"],
        serde_json::json!(["grafana-clock-panel"])
    );
}

#[test]
fn secrets_reach_secrets_and_no_values() {
    for (name, components) in STACKS {
        let graph = graph(&config_of(components));
        for step in graph.steps.iter().filter(|step| step.task.is_some()) {
            if let Some(values) = step.inputs.get("values") {
                assert!(
                    values.holes().is_empty(),
                    "{name}: values of {} hold what is not known yet",
                    step.label
                );
            }
        }
    }
    let graph = graph(&config_of(ALL));
    let objects = text(step(&graph, "velero:credentials"), "objects");
    insta::assert_snapshot!(objects, @r#"
    apiVersion: v1
    kind: Secret
    metadata:
      name: s3
      namespace: foundry-velero
    stringData:
      # A file of lines within a scalar.
      cloud: "[default]\naws_access_key_id=madeup==\naws_secret_access_key=madeup==\n"
    ---
    # Under the name that Velero looks for, and there before it starts, it uses this one and makes none.
    apiVersion: v1
    kind: Secret
    metadata:
      name: velero-repo-credentials
      namespace: foundry-velero
    stringData:
      repository-password: "madeup=="
    "#);
}

#[test]
fn minio_is_there_only_where_no_other_s3_is() {
    let has = |config: &str| {
        let graph = graph(config);
        graph
            .steps
            .iter()
            .any(|step| step.label.to_string() == "minio:chart")
    };
    assert!(has(&stack("storage")));
    assert!(!has(&stack("elsewhere")));
    let forced = stack("elsewhere").replace("minio: {}", "minio: { deploy: always }");
    assert!(has(&forced));
}

#[test]
fn what_can_not_work_is_refused_with_the_way_out() {
    let said: String = [
        "openbao: {}\n  k3s: {}\n  s3: {}\n  velero: { plugin_version: v1.14.2 }",
        "openbao: {}\n  k3s: {}\n  velero: {}",
        "openbao: {}\n  k3s: {}\n  external-dns: {}",
        "k3s: {}\n  grafana: {}",
        "openbao: {}\n  k3s: {}\n  storage: { truenas: { api_url: 'http://nas' } }",
        "openbao: {}\n  k3s: {}\n  storage: { default: longhorn }",
        "openbao: {}\n  k3s: {}\n  s3: { endpoint: 'https://s3.example.org' }",
        "openbao: {}\n  grafana: {}",
    ]
    .iter()
    .map(
        |components| match expanded(&config_of(&format!("components:\n  {components}\n"))) {
            Ok(_) => format!("nothing refused of {components:?}\n"),
            Err(said) => format!("{said}\n"),
        },
    )
    .collect();
    insta::assert_snapshot!(said, @r"
    stack.yaml:16:29: `plugin_version` can't be `v1.14.2`: it writes backups that can't be read to stores other than Amazon's (velero#9951): use 1.14.3
    stack.yaml:15:3: `velero` needs a store: neither `s3` nor `minio` is part of the stack, and `velero.s3.endpoint` is empty (add `s3: {}` under `components:`)
    stack.yaml:15:3: `external-dns` needs `provider`: the stack has no `powerdns` (name whose DNS it writes to, such as `provider: cloudflare`, or add `powerdns: {}` under `components:`)
    stack.yaml:14:3: `grafana` needs `admin_password`: without OpenBAO in the stack there is nowhere to keep one that Foundry makes (`admin_password: ${secret:foundry/grafana:admin_password}`, and the value in ~/.foundryvars or the environment)
    stack.yaml:15:14: `truenas.api_url` must begin with https://: TrueNAS takes back an API key that it was sent in the clear
    stack.yaml:15:14: `storage` needs `truenas.api_key` (make one in TrueNAS under Credentials › API Keys, store it by `foundry secret set truenas:api_key`, and refer to it: `${secret:foundry/truenas:api_key}`)
    stack.yaml:15:14: `storage.default` is `longhorn`, which is not set up
    stack.yaml:15:9: `s3` needs `access_key` and `secret_key` for https://s3.example.org
    recipes/grafana/recipe.toml:34:10: `grafana` needs `k3s`, which is not part of this stack (add `k3s:` under `components:`, or write `k3s:api?` if it can do without)
    ");
}
