//! A recipe's settings → JSON Schema, for the schema of the whole config. Knows no stack.

use serde_json::{Map, Value as Json, json};

use super::convert::to_json;
use super::recipe::{Recipe, SettingSpec};
use super::task::ValueType;

/// What a secret reference looks like.
const REFERENCE: &str = r"^\$\{secret:[^}]+\}$";

/// Returns the JSON Schema of what may stand under `components.<name>` (besides `hosts`, which all have).
#[must_use]
pub fn settings_schema(recipe: &Recipe) -> Json {
    let mut schema = table(&recipe.settings);
    if let Json::Object(schema) = &mut schema {
        schema.insert(
            "description".to_owned(),
            Json::from(recipe.summary.as_str()),
        );
    }
    schema
}

fn table(settings: &indexmap::IndexMap<String, SettingSpec>) -> Json {
    let properties: Map<String, Json> = settings
        .iter()
        .map(|(name, spec)| (name.clone(), setting(spec)))
        .collect();
    let required: Vec<&String> = settings
        .iter()
        .filter(|(_, spec)| spec.required)
        .map(|(name, _)| name)
        .collect();
    let mut schema = json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["type"] = json!("object");
        schema["required"] = json!(required);
    }
    schema
}

fn setting(spec: &SettingSpec) -> Json {
    let mut schema = if spec.secret {
        json!({ "type": "string", "pattern": REFERENCE, "writeOnly": true })
    } else if spec.fields.is_empty() {
        kind(&spec.kind)
    } else if let ValueType::List(_) = spec.kind {
        json!({ "type": "array", "items": table(&spec.fields) })
    } else {
        table(&spec.fields)
    };
    if let Json::Object(schema) = &mut schema {
        if !spec.doc.is_empty() {
            schema.insert("description".to_owned(), Json::from(spec.doc.as_str()));
        }
        if let Some(default) = &spec.default {
            schema.insert("default".to_owned(), to_json(default));
        }
    }
    schema
}

fn kind(kind: &ValueType) -> Json {
    let or_secret =
        |schema: Json| json!({ "anyOf": [schema, { "type": "string", "pattern": REFERENCE }] });
    match kind {
        ValueType::Text | ValueType::String => json!({ "type": ["string", "integer", "boolean"] }),
        ValueType::Path => json!({ "type": "string", "pattern": r"^(/|\$\{secret:)" }),
        ValueType::Mode => json!({ "type": "string", "pattern": "^0?[0-7]{3}$" }),
        ValueType::Int => or_secret(json!({ "type": "integer" })),
        ValueType::Bool => or_secret(json!({ "type": "boolean" })),
        ValueType::Size => json!({ "type": ["string", "integer"], "examples": ["500Gi", "10M"] }),
        ValueType::Duration => json!({ "type": "string", "examples": ["30d", "90s"] }),
        ValueType::Version => json!({ "type": "string", "pattern": r"^(v?[0-9]|\$\{secret:)" }),
        ValueType::Enum(words) => or_secret(json!({ "enum": words })),
        ValueType::List(item) => json!({ "type": "array", "items": self::kind(item) }),
        ValueType::Map(entry) => {
            json!({ "type": "object", "additionalProperties": self::kind(entry) })
        }
        ValueType::Any => json!({}),
    }
}
