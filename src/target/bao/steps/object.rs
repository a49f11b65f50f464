//! `bao.object`: what a path of OpenBAO's API is to hold: a role, a configuration, an authority. Does not know what any
//! field means.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use vaultrs::api;

use super::super::client::{BaoError, Client};
use super::super::endpoint::{ListObject, ReadObject, WriteObject};
use crate::catalog::{Value, Values, parse_duration};
use crate::probe::{Facts, Fault};
use crate::run::StepError;
use crate::target::group::senseless;
use crate::target::inputs::{self, wrong};

/// Its name.
pub const ACTION: &str = "bao.object";

/// Names the fields that differ, never their values.
pub async fn facts(client: &Client, inputs: &Values) -> Result<Facts, Fault> {
    let path = inputs::text(inputs, "path").map_err(senseless)?;
    let once = inputs::text(inputs, "once").map_err(senseless)?;
    let found = look(client, if once.is_empty() { path } else { once }).await?;
    let differs = match (found, once.is_empty()) {
        (None, _) => "absent".to_owned(),
        (Some(_), false) => String::new(),
        (Some(found), true) => {
            let wanted = fields(inputs).map_err(senseless)?;
            let names = wanted.into_iter().filter(|(name, wanted)| {
                let found = found.get(name);
                // What is secret goes in and never comes out again.
                !(same(&wanted.value, found) || wanted.secret && found.is_none())
            });
            names.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
        }
    };
    Ok([("differs".to_owned(), differs.into())].into())
}

/// Writes all fields.
pub async fn apply(client: &Client, inputs: &Values) -> Result<(), StepError> {
    let path = inputs::text(inputs, "path").map_err(wrong)?.to_owned();
    let data = fields(inputs).map_err(wrong)?.into_iter();
    let data = data.map(|(name, field)| (name, field.value)).collect();
    // Some paths answer with what they made, some with nothing.
    api::exec_with_empty(client.api(), WriteObject { path, data })
        .await
        .map_err(BaoError::from)?;
    Ok(())
}

/// Reads what is there; `None` when nothing is. A path that ends in `/` is listed.
async fn look(client: &Client, path: &str) -> Result<Option<BTreeMap<String, Json>>, BaoError> {
    let found = match path.strip_suffix('/') {
        Some(path) => {
            let path = path.to_owned();
            api::exec_with_result(client.api(), ListObject { path }).await
        }
        None => {
            let path = path.to_owned();
            api::exec_with_result(client.api(), ReadObject { path }).await
        }
    };
    match found.map_err(BaoError::from) {
        Ok(found) => Ok(Some(found)),
        Err(BaoError::Api { status: 404, .. }) => Ok(None),
        // Of a login method that is not there it says so with a 400.
        Err(BaoError::Api {
            status: 400,
            message,
        }) if message.contains("No auth engine") => Ok(None),
        Err(error) => Err(error),
    }
}

struct Field {
    value: Json,
    secret: bool,
}

fn fields(inputs: &Values) -> Result<BTreeMap<String, Field>, String> {
    match inputs.get("data") {
        Some(Value::Map(entries)) => Ok(entries
            .iter()
            .map(|(name, value)| {
                let field = Field {
                    value: json(value),
                    secret: value.is_secret(),
                };
                (name.clone(), field)
            })
            .collect()),
        _ => Err("input `data` must be a table".to_owned()),
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::from(*b),
        Value::Int(n) => Json::from(*n),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Secret(secret) => Json::from(secret.expose().as_str()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect(),
    }
}

/// Compares what is wanted with what is there: durations come back in seconds, sets in any order.
fn same(wanted: &Json, found: Option<&Json>) -> bool {
    let Some(found) = found else {
        return matches!(wanted, Json::Null);
    };
    match (wanted, found) {
        (Json::Array(wanted), Json::Array(found)) => {
            let set = |items: &[Json]| items.iter().map(plain).collect::<BTreeSet<_>>();
            set(wanted) == set(found)
        }
        (Json::Object(wanted), Json::Object(found)) => wanted
            .iter()
            .all(|(name, wanted)| same(wanted, found.get(name))),
        _ => plain(wanted) == plain(found),
    }
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => match parse_duration(text) {
            Ok(duration) if text.parse::<u64>().is_err() => duration.as_secs().to_string(),
            _ => text.trim().to_owned(),
        },
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        for (wanted, found) in [
            (json!("720h"), json!(2_592_000)),
            (json!("5m"), json!(300)),
            (json!(["b", "a"]), json!(["a", "b"])),
            (json!(true), json!(true)),
            (json!("text"), json!("text\n")),
            (json!({ "a": 1 }), json!({ "a": 1, "b": 2 })),
            (json!(""), json!(null)),
        ] {
            assert!(same(&wanted, Some(&found)), "{wanted} and {found}");
        }
        for (wanted, found) in [
            (json!("1h"), json!(300)),
            (json!(["a"]), json!(["a", "b"])),
            (json!(true), json!(false)),
            (json!({ "a": 1 }), json!({ "b": 2 })),
        ] {
            assert!(!same(&wanted, Some(&found)), "{wanted} and {found}");
        }
        assert!(!same(&json!("text"), None));
    }
}
