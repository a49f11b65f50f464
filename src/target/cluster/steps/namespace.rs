//! `cluster.namespace`: a namespace with labels. Does not know what will be in it.

use std::time::Duration;

use serde_json::json;

use super::super::bundle::Bundle;
use super::super::object::{Object, Ref};
use super::super::ready::Wait;
use crate::catalog::Values;
use crate::target::inputs;

/// How long it may take to become active.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Reads the step's inputs.
///
/// # Errors
/// When they make no sense.
pub fn read(given: &Values) -> Result<Bundle, String> {
    let name = inputs::text(given, "name")?;
    let labels = inputs::map(given, "labels")?;
    let object = Object {
        at: Ref::new("v1", "Namespace", None, name),
        kind: "Namespace".to_owned(),
        body: json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        }),
    };
    Ok(Bundle {
        waits: vec![Wait::ready(object.at.clone(), object.title())],
        objects: vec![object],
        timeout: TIMEOUT,
    })
}
