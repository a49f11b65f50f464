//! Values ↔ the template engine's values ↔ JSON. Decides nothing.

use minijinja::Value as Jinja;
use minijinja::value::{ObjectRepr, ValueKind};

use super::value::Value;

/// Returns `value` as templates see it. Secrets are laid open: whoever evaluates marks the result.
pub(super) fn to_jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(b) => Jinja::from(*b),
        Value::Int(n) => Jinja::from(*n),
        Value::Text(text) => Jinja::from(text.as_str()),
        Value::Secret(secret) => Jinja::from(secret.expose().as_str()),
        Value::List(items) => items.iter().map(to_jinja).collect(),
        Value::Map(entries) => Jinja::from_pairs(
            entries
                .iter()
                .map(|(key, value)| (Jinja::from(key.as_str()), to_jinja(value))),
        ),
    }
}

/// Returns what a template gave as a value of ours.
///
/// # Errors
/// When it is nothing that we have: undefined, a fraction, bytes.
pub(super) fn from_jinja(value: &Jinja) -> Result<Value, String> {
    match value.kind() {
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => value
            .as_i64()
            .map(Value::Int)
            .ok_or_else(|| format!("{value} is not a whole number of 64 bits")),
        ValueKind::String => Ok(Value::Text(value.as_str().unwrap_or_default().to_owned())),
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()
            .map_err(|e| e.to_string())?
            .map(|item| from_jinja(&item))
            .collect::<Result<_, _>>()
            .map(Value::List),
        ValueKind::Map => {
            let object = value
                .as_object()
                .filter(|object| object.repr() == ObjectRepr::Map);
            object
                .and_then(minijinja::value::DynObject::try_iter_pairs)
                .into_iter()
                .flatten()
                .map(|(key, value)| Ok((key.to_string(), from_jinja(&value)?)))
                .collect::<Result<_, String>>()
                .map(Value::Map)
        }
        other => Err(format!("{other} is not a value")),
    }
}

/// Returns `value` as JSON. A secret in it is laid open.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(n) => Json::from(*n),
        Value::Text(text) => Json::String(text.clone()),
        Value::Secret(secret) => Json::String(secret.expose().clone()),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(k, v)| (k.clone(), to_json(v)))
            .collect(),
    }
}

/// Returns JSON as templates see it.
pub(super) fn json_to_jinja(value: serde_json::Value) -> Jinja {
    use serde_json::Value as Json;
    match value {
        Json::Null => Jinja::from(()),
        Json::Bool(b) => Jinja::from(b),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Jinja::from(whole),
            None => Jinja::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Jinja::from(text),
        Json::Array(items) => items.into_iter().map(json_to_jinja).collect(),
        Json::Object(entries) => Jinja::from_pairs(
            entries
                .into_iter()
                .map(|(key, value)| (Jinja::from(key), json_to_jinja(value))),
        ),
    }
}
