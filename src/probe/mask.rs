//! Keeps the secrets of a step out of what its tools say. Does not know where the text goes.

use crate::catalog::{Value, Values};
use crate::secret::{Masker, Secret};

/// Returns a masker that knows the secrets among `values`.
pub(super) fn masker(values: &Values) -> Masker {
    let mut secrets = Vec::new();
    for value in values.values() {
        collect(value, &mut secrets);
    }
    Masker::new(secrets)
}

fn collect<'a>(value: &'a Value, secrets: &mut Vec<&'a Secret<String>>) {
    match value {
        Value::Secret(secret) => secrets.push(secret),
        Value::List(items) => items.iter().for_each(|item| collect(item, secrets)),
        Value::Map(entries) => entries.values().for_each(|item| collect(item, secrets)),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => {}
    }
}
