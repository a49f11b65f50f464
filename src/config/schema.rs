//! JSON Schema of a config, for editors: the sections that are the same in every stack, and the recipes' settings as
//! they are handed in. Does not know recipes.

use serde_json::{Map, Value as Json, json};

use super::parse::SECTIONS;

/// What a recipe says of its component's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentSchema {
    /// The component's name.
    pub name: String,
    /// One line for people.
    pub doc: String,
    /// Role whose hosts it runs on when none are named.
    pub roles: Vec<String>,
    /// Whether every stack has it without naming it.
    pub always: bool,
    /// Dotted path of the top-level section that is merged under its settings (`observability.prometheus`).
    pub section: Option<String>,
    /// JSON Schema (an object) of its settings, `hosts` left out. `default` is what holds when nothing is written;
    /// `writeOnly` marks what is secret.
    pub settings: Json,
}

/// Returns the schema of a whole config. With `components`, no other components may be named.
#[must_use]
pub fn schema(components: &[ComponentSchema]) -> Json {
    let known: Map<String, Json> = components
        .iter()
        .map(|component| (component.name.clone(), component_schema(component)))
        .collect();
    let other = if components.is_empty() {
        json!({ "$ref": "#/$defs/component" })
    } else {
        json!(false)
    };
    let mut properties = json!({
        "version": { "description": "Version of the config's format.", "enum": ["1.0", "1", 1.0, 1] },
        "cluster": cluster(),
        "hosts": {
            "description": "Machines beside the cluster's nodes, or more about those.",
            "type": ["array", "null"], "items": { "anyOf": [host(&json!({ "$ref": "#/$defs/role" })), { "type": "string" }] },
        },
        "ssh": {
            "description": "What holds for all hosts that say nothing themselves. Without it, ~/.ssh/config decides.",
            "type": ["object", "null"], "additionalProperties": false,
            "properties": { "user": text(USER), "port": { "$ref": "#/$defs/port" }, "identity": text(IDENTITY), "jump": text(JUMP) },
        },
        "components": {
            "description": "What to bring up. A component without settings is written `name: {}`.",
            "type": ["object", "null"], "properties": known, "additionalProperties": other,
        },
        "mirrors": mirrors(),
        "bundles": {
            "description": "Whose bundles are loaded.",
            "type": ["object", "null"], "additionalProperties": false,
            "properties": {
                "trusted_keys": {
                    "description": "Public keys that may sign them, as `foundry bundle keygen` and `minisign` write them.",
                    "type": ["array", "string", "null"], "items": { "type": "string", "pattern": "^RW[A-Za-z0-9+/]{54}$" },
                },
            },
        },
    });
    for section in SECTIONS {
        properties[section] = self::section(section, components);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Foundry stack",
        "type": "object",
        "required": ["cluster"],
        "properties": properties,
        "patternProperties": { "^x-": { "description": "Anything, to be repeated with anchors." } },
        "additionalProperties": false,
        "$defs": {
            "port": { "description": "SSH port.", "type": "integer", "minimum": 1, "maximum": 65535 },
            "role": { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" },
            "component": {
                "type": ["object", "null"],
                "properties": { "hosts": { "$ref": "#/$defs/hosts" }, "rollout": { "$ref": "#/$defs/rollout" } },
            },
            "rollout": rollout(),
            "hosts": {
                "description": "Where it runs: names, ranges, `role:name`, or `*` for every host.",
                "type": ["array", "string", "null"], "items": { "type": "string" },
            },
        },
    })
}

const USER: &str = "SSH user.";
const IDENTITY: &str =
    "Private key file; `~` is your home, other relative paths begin at the config's folder.";
const JUMP: &str = "Host to jump through: one of this stack, `user@host:port`, or `none`.";

fn text(description: &str) -> Json {
    json!({ "description": description, "type": "string" })
}

fn cluster() -> Json {
    json!({
        "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": {
            "name": {
                "description": "Tells this stack from others, on hosts and in reports.",
                "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "maxLength": 63,
            },
            "domain": text("Domain of what runs in the cluster."),
            "vip": text("IP address under which the control plane is reached."),
            "nodes": {
                "description": "Machines of the Kubernetes cluster.",
                "type": ["array", "null"], "items": host(&json!({ "enum": ["control-plane", "worker"] })),
            },
        },
    })
}

/// Returns the schema of an entry of `nodes` or `hosts`, whose roles are `role`.
fn host(role: &Json) -> Json {
    let roles = json!({
        "description": "What the host is for; components run on the hosts of their role.",
        "anyOf": [role, { "type": "array", "items": role }],
    });
    json!({
        "type": "object", "required": ["hostname"], "additionalProperties": false,
        "properties": {
            "hostname": text("Name, or a range of names: `node[001-500].example.com`."),
            "address": text("Where to connect to, if not the name: an IP address (the first, of a range of hosts), a name, or a range."),
            "port": { "$ref": "#/$defs/port" },
            "user": text(USER),
            "identity": text(IDENTITY),
            "jump": text(JUMP),
            "role": roles,
            "roles": roles,
            "labels": { "description": "Free labels.", "type": ["object", "null"], "additionalProperties": { "type": ["string", "number", "boolean"] } },
            "host_key": text("Pinned host key, as `ssh-ed25519 AAAA…`."),
            "local": { "description": "The machine that Foundry runs on.", "type": "boolean" },
        },
    })
}

fn mirrors() -> Json {
    json!({
        "description": "Where downloads go instead of upstream; the first that fits wins.",
        "type": ["array", "null"],
        "items": {
            "type": "object", "required": ["prefix", "url"], "additionalProperties": false,
            "properties": {
                "prefix": { "description": "Beginning of an upstream URL.", "type": "string", "pattern": "^https?://" },
                "url": { "description": "What stands in its place.", "type": "string", "pattern": "^(https?://|file:///)" },
                "digests": {
                    "description": "Whose digests count: those pinned in recipes, or those of the mirror's own checksum file.",
                    "enum": ["pinned", "mirror"], "default": "pinned",
                },
            },
        },
    })
}

fn component_schema(component: &ComponentSchema) -> Json {
    let mut schema = component.settings.clone();
    if !schema.is_object() {
        schema = json!({ "type": ["object", "null"] });
    }
    schema["description"] = Json::from(component.doc.as_str());
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    schema["properties"]["hosts"] = json!({ "$ref": "#/$defs/hosts" });
    schema["properties"]["rollout"] = json!({ "$ref": "#/$defs/rollout" });
    schema
}

/// Returns the schema of how a component moves over its hosts.
fn rollout() -> Json {
    let share = || json!({ "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+%?$" });
    let span = || json!({ "type": "string", "examples": ["90s", "10m"] });
    let said = |mut schema: Json, description: &str| {
        schema["description"] = Json::from(description);
        schema
    };
    json!({
        "description": "How it moves over its hosts; what is not said is as its recipe says. `false`: all at once.",
        "type": ["object", "boolean", "null"], "additionalProperties": false,
        "properties": {
            "canary": {
                "description": "A first batch: how many hosts, or which.",
                "anyOf": [share(), { "type": "array", "items": { "type": "string" } }],
            },
            "batches": {
                "description": "Sizes of batches, as numbers or percentages of all its hosts; the last holds for all further ones.",
                "anyOf": [share(), { "type": "array", "items": share() }],
            },
            "soak": said(span(), "How long a batch must have been up before it is looked at again and the next begins."),
            "gate": {
                "description": "Steps that must be satisfied before the next batch begins; `false` for none.",
                "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }, { "const": false }],
            },
            "gate_timeout": said(span(), "How long to wait for them (5m)."),
            "max_failures": said(share(), "How many hosts may fail before no further host begins (0)."),
            "max_unreachable": said(share(), "How many hosts may be out of reach before no further host begins."),
            "max_unavailable": said(share(), "How many hosts may be in the works, failed or out of reach at any moment."),
        },
    })
}

/// Returns the schema of a top-level section: what recipes lay claim to, and room for the rest.
fn section(name: &str, components: &[ComponentSchema]) -> Json {
    let claimed: Map<String, Json> = components
        .iter()
        .filter_map(|component| {
            let (top, below) = component.section.as_deref()?.split_once('.')?;
            (top == name).then(|| (below.to_owned(), component.settings.clone()))
        })
        .collect();
    json!({ "type": ["object", "null"], "properties": claimed })
}
