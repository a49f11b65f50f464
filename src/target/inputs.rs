//! Reads typed inputs of built-in actions. Does not know which inputs a task declares.

use std::collections::BTreeMap;

use crate::catalog::{Value, Values};
use crate::run::StepError;
use crate::secret::Secret;

/// Returns a text input, secret or not.
///
/// # Errors
/// When it isn't there or isn't text.
pub fn text<'a>(inputs: &'a Values, name: &str) -> Result<&'a str, String> {
    match inputs.get(name) {
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Secret(secret)) => Ok(secret.expose()),
        _ => Err(format!("input `{name}` must be text")),
    }
}

/// Returns a text input as a secret.
///
/// # Errors
/// When it isn't there or isn't text.
pub fn secret(inputs: &Values, name: &str) -> Result<Secret<String>, String> {
    text(inputs, name).map(|text| Secret::new(text.to_owned()))
}

/// Returns a whole number.
///
/// # Errors
/// When it isn't there or isn't one.
pub fn int(inputs: &Values, name: &str) -> Result<i64, String> {
    match inputs.get(name) {
        Some(Value::Int(number)) => Ok(*number),
        Some(Value::Text(text)) => text
            .parse()
            .map_err(|_| format!("input `{name}` must be a whole number")),
        _ => Err(format!("input `{name}` must be a whole number")),
    }
}

/// Returns a truth value.
///
/// # Errors
/// When it isn't there or isn't one.
pub fn flag(inputs: &Values, name: &str) -> Result<bool, String> {
    match inputs.get(name) {
        Some(Value::Bool(flag)) => Ok(*flag),
        _ => Err(format!("input `{name}` must be true or false")),
    }
}

/// Returns a list of texts.
///
/// # Errors
/// When it isn't there or holds anything else.
pub fn list<'a>(inputs: &'a Values, name: &str) -> Result<Vec<&'a str>, String> {
    let wrong = || format!("input `{name}` must be a list of texts");
    match inputs.get(name) {
        Some(Value::List(items)) => items
            .iter()
            .map(|item| plain(item).ok_or_else(wrong))
            .collect(),
        _ => Err(wrong()),
    }
}

/// Returns a mapping of texts.
///
/// # Errors
/// When it isn't there or holds anything else.
pub fn map<'a>(inputs: &'a Values, name: &str) -> Result<BTreeMap<&'a str, &'a str>, String> {
    let wrong = || format!("input `{name}` must be a mapping of texts");
    match inputs.get(name) {
        Some(Value::Map(entries)) => entries
            .iter()
            .map(|(key, value)| Ok((key.as_str(), plain(value).ok_or_else(wrong)?)))
            .collect(),
        _ => Err(wrong()),
    }
}

/// Turns words about a wrong input or a trouble on this side into a step's failure.
#[must_use]
pub fn wrong(message: String) -> StepError {
    StepError::Failed {
        message,
        output: String::new(),
        hint: None,
        status: None,
    }
}

fn plain(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        Value::Secret(secret) => Some(secret.expose()),
        _ => None,
    }
}
