//! The effective config: hosts expanded, defaults filled in, secrets redacted, references kept. Pure; does not print.

use serde_json::{Map, Value as Json, json};

use super::cover::looks_secret;
use super::problem::Problem;
use super::schema::ComponentSchema;
use super::setting::{Node, Setting};
use super::stack::{Component, Host, MirrorDigests, Stack};
use crate::secret::{REDACTED, STACK_NAMESPACE, references};

/// Returns the effective config. `components` brings the recipes' defaults and says what is secret.
#[must_use]
pub fn effective(stack: &Stack, components: &[ComponentSchema]) -> Json {
    let mut cluster = json!({ "name": stack.name });
    if let Some(domain) = &stack.domain {
        cluster["domain"] = Json::from(domain.as_str());
    }
    if let Some(vip) = &stack.vip {
        cluster["vip"] = Json::from(vip.to_string());
    }
    let named = stack
        .components
        .iter()
        .map(|(name, component)| (name.as_str(), Some(component)));
    let unnamed = components
        .iter()
        .filter(|schema| schema.always && !stack.components.contains_key(&schema.name))
        .map(|schema| (schema.name.as_str(), None));
    let shown: Map<String, Json> = named
        .chain(unnamed)
        .map(|(name, component)| {
            let schema = components.iter().find(|schema| schema.name == name);
            (
                name.to_owned(),
                component_settings(stack, component, schema),
            )
        })
        .collect();
    let mut config = json!({
        "version": "1.0",
        "cluster": cluster,
        "hosts": stack.hosts.iter().map(host).collect::<Vec<_>>(),
        "components": shown,
    });
    for (name, node) in &stack.sections {
        config[name] = to_json(node, "", None);
    }
    if !stack.trusted_keys.is_empty() {
        config["bundles"] = json!({ "trusted_keys": stack.trusted_keys });
    }
    if !stack.mirrors.is_empty() {
        let mirrors = stack.mirrors.iter().map(|mirror| {
            let digests = match mirror.digests {
                MirrorDigests::Pinned => "pinned",
                MirrorDigests::Mirror => "mirror",
            };
            json!({ "prefix": mirror.prefix, "url": mirror.url, "digests": digests })
        });
        config["mirrors"] = mirrors.collect();
    }
    config
}

/// Returns a component's settings: as written, then from its section, then by default.
fn component_settings(
    stack: &Stack,
    component: Option<&Component>,
    schema: Option<&ComponentSchema>,
) -> Json {
    let settings = schema.map(|schema| &schema.settings);
    let mut value = component.map_or_else(
        || json!({}),
        |component| to_json(&component.settings, "", settings),
    );
    let section = schema
        .and_then(|schema| schema.section.as_deref())
        .and_then(|path| stack.section(path));
    if let Some(section) = section {
        fill(&mut value, &to_json(section, "", settings));
    }
    if let Some(settings) = settings {
        fill_defaults(&mut value, settings);
    }
    let hosts = component.and_then(|component| component.hosts.as_ref());
    if let (Some(hosts), Json::Object(value)) = (hosts, &mut value) {
        let names: Vec<&str> = hosts.iter().map(|id| &*stack.host(*id).name).collect();
        value.insert("hosts".to_owned(), json!(names));
    }
    let rollout = component.and_then(|component| component.rollout.as_ref());
    if let (Some(rollout), Json::Object(value)) = (rollout, &mut value) {
        value.insert("rollout".to_owned(), to_json(rollout, "", None));
    }
    value
}

/// Finds passwords and the like that are written out in the config, as warnings.
#[must_use]
pub fn literal_secrets(stack: &Stack) -> Vec<Problem> {
    let mut found = Vec::new();
    let nodes = stack
        .components
        .values()
        .map(|component| &component.settings)
        .chain(stack.sections.values());
    for node in nodes {
        find_literals(node, &mut found);
    }
    found
}

fn find_literals(node: &Node, found: &mut Vec<Problem>) {
    match &node.value {
        Setting::Map(entries) => {
            for (key, (_, value)) in entries {
                if let Setting::Text(text) = &value.value
                    && looks_secret(key)
                    && !text.is_empty()
                    && !is_reference(text)
                {
                    found.push(
                        Problem::at(value.span, format!("`{key}` looks like a secret written out"))
                            .secret()
                            .label("anyone who reads the file knows it")
                            .help(format!(
                                "store it with `foundry secret set`, and write ${{secret:foundry/…:{key}}}"
                            )),
                    );
                }
                find_literals(value, found);
            }
        }
        Setting::List(items) => items.iter().for_each(|item| find_literals(item, found)),
        _ => {}
    }
}

fn is_reference(text: &str) -> bool {
    references(text, STACK_NAMESPACE).is_ok_and(|found| !found.is_empty())
}

fn host(host: &Host) -> Json {
    let mut shown = json!({ "hostname": &*host.name, "address": host.address });
    let mut put = |key: &str, value: Json| {
        if let Json::Object(shown) = &mut shown {
            shown.insert(key.to_owned(), value);
        }
    };
    if let Some(port) = host.port {
        put("port", json!(port));
    }
    if let Some(user) = &host.user {
        put("user", json!(user));
    }
    if let Some(identity) = &host.identity {
        put("identity", json!(identity));
    }
    if let Some(jump) = &host.jump {
        put("jump", json!(jump));
    }
    if host.local {
        put("local", json!(true));
    }
    if !host.roles.is_empty() {
        put("roles", json!(host.roles));
    }
    if !host.labels.is_empty() {
        put("labels", json!(host.labels));
    }
    if let Some(key) = &host.host_key {
        put("host_key", json!(key));
    }
    shown
}

/// Returns a node as JSON. Text below a key that looks secret, or that the schema marks so, is redacted but for references.
fn to_json(node: &Node, key: &str, schema: Option<&Json>) -> Json {
    let marked = schema.is_some_and(|schema| schema["writeOnly"] == json!(true));
    match &node.value {
        Setting::Null => Json::Null,
        Setting::Bool(value) => json!(value),
        Setting::Int(_) | Setting::Float(_) if marked || looks_secret(key) => json!(REDACTED),
        Setting::Int(value) => json!(value),
        Setting::Float(value) => json!(value),
        Setting::Text(text) if marked || looks_secret(key) => Json::from(redact(text)),
        Setting::Text(text) => json!(text),
        Setting::List(items) => {
            let schema = schema.and_then(|schema| schema.get("items"));
            items
                .iter()
                .map(|item| to_json(item, key, schema))
                .collect()
        }
        Setting::Map(entries) => entries
            .iter()
            .map(|(inner, (_, node))| {
                let schema = schema.and_then(|schema| schema.get("properties")?.get(inner));
                // What stands below `tokens:` is no less secret than the key says.
                let name = if looks_secret(key) {
                    key
                } else {
                    inner.as_str()
                };
                (inner.clone(), to_json(node, name, schema))
            })
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// Keeps the references of a text and redacts what stands between.
fn redact(text: &str) -> String {
    let mut shown = String::new();
    let mut from = 0;
    // A stack whose references are badly written does not come this far.
    for (range, _) in references(text, STACK_NAMESPACE).unwrap_or_default() {
        if range.start > from {
            shown.push_str(REDACTED);
        }
        shown.push_str(&text[range.clone()]);
        from = range.end;
    }
    if from < text.len() {
        shown.push_str(REDACTED);
    }
    shown
}

/// Takes over what `other` has and `value` has not, maps within maps as well.
fn fill(value: &mut Json, other: &Json) {
    let (Json::Object(value), Json::Object(other)) = (value, other) else {
        return;
    };
    for (key, from) in other {
        match value.get_mut(key) {
            Some(to) => fill(to, from),
            None => {
                value.insert(key.clone(), from.clone());
            }
        }
    }
}

/// Takes over a schema's defaults where nothing is written.
fn fill_defaults(value: &mut Json, schema: &Json) {
    let (Json::Object(value), Some(properties)) = (value, schema["properties"].as_object()) else {
        return;
    };
    for (key, schema) in properties {
        if let Some(default) = schema.get("default") {
            let unset = value.get(key).is_none_or(Json::is_null);
            if unset {
                value.insert(key.clone(), default.clone());
            }
        } else if schema.get("properties").is_some() {
            let mut inner = value.get(key).cloned().unwrap_or_else(|| json!({}));
            fill_defaults(&mut inner, schema);
            if inner.as_object().is_some_and(|inner| !inner.is_empty()) {
                value.insert(key.clone(), inner);
            }
        }
    }
}
