//! What is derived from configs: the JSON Schema, the effective config, new configs, and the documentation's example.

use std::sync::Arc;

use foundry::config::{self, ComponentSchema, NewConfig, Problems, Source, Stack};
use serde_json::{Value as Json, json};

const SEED_STACK: &str = include_str!("data/seed/stack.yaml");

fn parse(text: &str) -> Result<Stack, Problems> {
    config::parse(&Arc::new(Source {
        name: "stack.yaml".to_owned(),
        text: text.to_owned(),
    }))
}

fn names(stack: &Stack) -> Vec<&str> {
    stack.hosts.iter().map(|host| &*host.name).collect()
}

/// What recipes for the seed's components would say of their settings.
fn component_schemas() -> Vec<ComponentSchema> {
    let schema = |name: &str, section: Option<&str>, settings: Json| ComponentSchema {
        name: name.to_owned(),
        doc: format!("About {name}"),
        roles: Vec::new(),
        always: name == "prometheus",
        section: section.map(str::to_owned),
        settings,
    };
    let closed = |properties: Json| json!({ "type": ["object", "null"], "additionalProperties": false, "properties": properties });
    vec![
        schema(
            "openbao",
            None,
            closed(json!({
                "version": { "type": "string", "default": "2.7.2" },
                "storage": { "enum": ["raft", "postgresql"], "default": "raft" },
                "audit": closed(json!({ "path": { "type": "string", "default": "/var/log/openbao/audit.log" } })),
                "pin": { "type": "string", "writeOnly": true },
            })),
        ),
        schema("k3s", None, json!({ "type": "object" })),
        schema("zot", None, json!({ "type": "object" })),
        schema("grafana", None, json!({ "type": "object" })),
        schema(
            "prometheus",
            Some("observability.prometheus"),
            closed(
                json!({ "retention": { "type": "string" }, "replicas": { "type": "integer", "default": 1 } }),
            ),
        ),
    ]
}

fn as_json(yaml: &str) -> Json {
    serde_yaml::from_str(yaml).unwrap()
}

/// Checks a value against the part of JSON Schema that ours uses, and fails on any keyword that it does not know.
fn violations(value: &Json, schema: &Json, root: &Json, at: &str) -> Vec<String> {
    let keywords = match schema {
        Json::Bool(true) => return Vec::new(),
        Json::Bool(false) => return vec![format!("{at}: nothing may stand here")],
        Json::Object(keywords) => keywords,
        other => panic!("{at}: no schema: {other}"),
    };
    let mut found = Vec::new();
    let mut want = |good: bool, what: &str| {
        if !good {
            found.push(format!("{at}: {what}, found {value}"));
        }
    };
    let mut below = Vec::new();
    for (keyword, rule) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "writeOnly"
            | "examples" | "patternProperties" => {}
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = root
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("{at}: {rule} leads nowhere"));
                below.extend(violations(value, target, root, at));
            }
            "type" => {
                let allowed = rule
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![rule.clone()]);
                let good = allowed.iter().any(|kind| match kind.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("{at}: no such type: {other}"),
                });
                want(good, &format!("wants {rule}"));
            }
            "enum" => want(
                rule.as_array().unwrap().contains(value),
                &format!("wants one of {rule}"),
            ),
            "anyOf" => {
                let options = rule.as_array().unwrap();
                let good = options
                    .iter()
                    .any(|option| violations(value, option, root, at).is_empty());
                want(good, "fits none");
            }
            "pattern" => {
                let pattern = regex_lite(rule.as_str().unwrap());
                want(value.as_str().is_none_or(pattern), &format!("wants {rule}"));
            }
            "maxLength" => {
                let most = usize::try_from(rule.as_u64().unwrap()).unwrap();
                want(
                    value.as_str().is_none_or(|text| text.len() <= most),
                    "is too long",
                );
            }
            "minimum" => want(
                value.as_i64().is_none_or(|n| n >= rule.as_i64().unwrap()),
                "is too small",
            ),
            "maximum" => want(
                value.as_i64().is_none_or(|n| n <= rule.as_i64().unwrap()),
                "is too large",
            ),
            "required" => {
                for key in rule.as_array().unwrap() {
                    let has = value
                        .as_object()
                        .is_none_or(|map| map.contains_key(key.as_str().unwrap()));
                    want(has, &format!("lacks {key}"));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    below.extend(violations(item, rule, root, &format!("{at}[{index}]")));
                }
            }
            "properties" => {
                for (key, item) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = rule.get(key) {
                        below.extend(violations(item, schema, root, &format!("{at}.{key}")));
                    }
                }
            }
            "additionalProperties" => {
                for (key, item) in value.as_object().into_iter().flatten() {
                    let named = schema["properties"].get(key).is_some();
                    let fits_pattern =
                        schema.get("patternProperties").is_some() && key.starts_with("x-");
                    if !named && !fits_pattern {
                        below.extend(violations(item, rule, root, &format!("{at}.{key}")));
                    }
                }
            }
            other => panic!("{at}: the check does not know the keyword `{other}`"),
        }
    }
    found.extend(below);
    found
}

/// Returns a check for the few patterns that the schema has.
fn regex_lite(pattern: &str) -> fn(&str) -> bool {
    match pattern {
        "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" => |text| {
            !text.is_empty()
                && !text.starts_with('-')
                && !text.ends_with('-')
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        },
        "^https?://" => |text| text.starts_with("https://") || text.starts_with("http://"),
        "^(https?://|file:///)" => |text| {
            ["https://", "http://", "file:///"]
                .iter()
                .any(|scheme| text.starts_with(scheme))
        },
        "^RW[A-Za-z0-9+/]{54}$" => |text| {
            let in_base64 = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
            text.len() == 56 && text.starts_with("RW") && text.bytes().all(in_base64)
        },
        other => panic!("the check does not know the pattern {other}"),
    }
}

#[test]
fn the_schema_takes_what_the_parser_takes() {
    let schema = config::schema(&component_schemas());
    let rich = "\
cluster: { name: test, vip: 10.0.0.1, nodes: [{ hostname: a, role: worker, roles: [control-plane] }] }
hosts:
  - n1
  - { hostname: 'n[2-3]', address: 10.0.0.2, port: 22, user: u, identity: ~/.ssh/k, jump: n1, role: x, labels: { rack: 7 }, local: false }
ssh: { user: admin, port: 22, jump: none }
components: { openbao: { version: '2.1', hosts: 'role:x' }, k3s: {} }
mirrors: [{ prefix: 'https://a/', url: 'file:///b/', digests: mirror }]
bundles: { trusted_keys: [RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3] }
x-any: [1]
";
    for text in [SEED_STACK, rich] {
        assert_eq!(
            violations(&as_json(text), &schema, &schema, "$"),
            Vec::<String>::new()
        );
    }
    parse(rich).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let schema = config::schema(&component_schemas());
    for rest in [
        "hosst: []\n",
        "hosts: [{ hostname: a, prot: 22 }]\n",
        "hosts: [{ hostname: a, port: 70000 }]\n",
        "hosts: [{ address: a }]\n",
        "hosts: [{ hostname: a, local: yes it is }]\n",
        "components: [openbao]\n",
        "version: \"2.0\"\n",
        "ssh: { usr: a }\n",
        "mirrors: [{ prefix: 'https://a/', url: 'ftp://b/' }]\n",
        "bundles: { trusted_keys: [minisign] }\n",
        "bundles: { trusted: [] }\n",
    ] {
        let text = format!("cluster: {{ name: test }}\n{rest}");
        assert!(
            !violations(&as_json(&text), &schema, &schema, "$").is_empty(),
            "{rest}"
        );
        assert!(parse(&text).is_err(), "{rest}");
    }
    for rest in [
        "components: { openbau: {} }\n",
        "components: { openbao: { storage: consul } }\n",
        "observability: { prometheus: { retenton: 30d } }\n",
    ] {
        let text = format!("cluster: {{ name: test }}\n{rest}");
        assert!(
            !violations(&as_json(&text), &schema, &schema, "$").is_empty(),
            "{rest}"
        );
    }
}

#[test]
fn what_holds_is_shown_without_secrets() {
    let stack = parse(
        "\
cluster: { name: test }
hosts: [{ hostname: 'bao-[1-2]', role: openbao }]
components:
  openbao: { hosts: 'role:openbao', pin: hunter1, url: 'https://bao' }
  grafana:
    admin_password: hunter2
    tokens: [hunter3, '${secret:grafana:token}']
    api_key: 'id-${secret:grafana:key}'
observability: { prometheus: { retention: 30d } }
storage: { truenas: { api_key: hunter4 } }
",
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    let shown = serde_yaml::to_string(&config::effective(&stack, &component_schemas())).unwrap();
    assert!(!shown.contains("hunter"), "{shown}");
    insta::assert_snapshot!(shown, @r"
    version: '1.0'
    cluster:
      name: test
    hosts:
    - hostname: bao-1
      address: bao-1
      roles:
      - openbao
    - hostname: bao-2
      address: bao-2
      roles:
      - openbao
    components:
      openbao:
        pin: '[redacted]'
        url: https://bao
        version: 2.7.2
        storage: raft
        audit:
          path: /var/log/openbao/audit.log
        hosts:
        - bao-1
        - bao-2
      grafana:
        admin_password: '[redacted]'
        tokens:
        - '[redacted]'
        - ${secret:grafana:token}
        api_key: '[redacted]${secret:grafana:key}'
      prometheus:
        retention: 30d
        replicas: 1
    observability:
      prometheus:
        retention: 30d
    storage:
      truenas:
        api_key: '[redacted]'
    ");
    let warned: Vec<String> = config::literal_secrets(&stack)
        .into_iter()
        .map(|problem| problem.message)
        .collect();
    assert_eq!(
        warned,
        [
            "`admin_password` looks like a secret written out",
            "`api_key` looks like a secret written out"
        ]
    );
}

#[test]
fn what_is_shown_is_a_config_itself() {
    let stack = parse(SEED_STACK).unwrap();
    let shown = serde_yaml::to_string(&config::effective(&stack, &[])).unwrap();
    let again = parse(&shown).unwrap_or_else(|problems| panic!("{problems}\n{shown}"));
    assert_eq!(names(&again), names(&stack));
    assert_eq!(
        config::effective(&again, &[]),
        config::effective(&stack, &[])
    );
}

#[test]
fn a_new_config_is_valid_and_teaches() {
    let schemas = component_schemas();
    let text = config::new_config(&NewConfig {
        cluster: "prod".to_owned(),
        domain: Some("example.com".to_owned()),
        hosts: ["bao-1=192.0.2.11", "bao-2", "node[01-20]=10.0.0.1"]
            .map(|host| host.parse().unwrap())
            .to_vec(),
        user: Some("admin".to_owned()),
        components: vec![&schemas[0]],
    });
    let stack = parse(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    assert_eq!(stack.hosts.len(), 22);
    insta::assert_snapshot!(text, @r#"
    # yaml-language-server: $schema=./stack.schema.json
    #
    # What this stack should be. `foundry plan` shows what that would change, `foundry build stack` makes it so.
    version: "1.0"

    cluster:
      name: prod
      domain: example.com
      # Machines of the Kubernetes cluster:
      # nodes:
      #   - { hostname: node1.example.com, role: control-plane }
      #   - { hostname: node2.example.com, role: worker }

    # How to log in, where ~/.ssh/config does not say it already:
    ssh:
      user: admin

    # Machines. A range such as node[001-500].example.com stands for many.
    hosts:
      - hostname: bao-1
        address: "192.0.2.11"
      - hostname: bao-2
      - hostname: "node[01-20]"
        address: "10.0.0.1"

    # What to bring up. `foundry component list` shows what there is; settings have defaults.
    components:
      # About openbao
      openbao: {}

    # Passwords and keys are never written here, only references to them. They are looked up in the environment, then in
    # ~/.foundryvars, then in OpenBAO (`foundry secret set foundry/grafana:admin_password`):
    #   admin_password: ${secret:foundry/grafana:admin_password}
    "#);
    let bare = config::new_config(&NewConfig {
        cluster: "x".to_owned(),
        domain: None,
        hosts: Vec::new(),
        user: None,
        components: Vec::new(),
    });
    assert!(parse(&bare).is_ok(), "{bare}");
}

/// The example of docs/config.md, which shows every section there is.
#[test]
fn the_example_of_the_documentation_is_valid() {
    let docs = include_str!("../docs/config.md");
    let example = docs
        .split("```yaml\n")
        .filter_map(|part| part.split("```").next())
        .find(|block| block.starts_with("version:"))
        .unwrap();
    let example = example.replace("ssh-ed25519 AAAA…", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA");
    let stack = parse(&example).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(stack.hosts.len(), 14);
    let schema = config::schema(&[]);
    assert_eq!(
        violations(&as_json(&example), &schema, &schema, "$"),
        Vec::<String>::new()
    );
}
