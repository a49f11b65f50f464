//! `cluster.manifest`: objects written in YAML, and conditions to wait for. Does not know what they are for.

use std::time::Duration;

use super::super::bundle::Bundle;
use super::super::object::parse;
use super::super::ready::Wait;
use crate::catalog::{Values, parse_duration};
use crate::target::inputs;

/// Reads the step's inputs.
///
/// # Errors
/// When they make no sense.
pub fn read(given: &Values) -> Result<Bundle, String> {
    let namespace = inputs::text(given, "namespace")?;
    let objects = parse(inputs::text(given, "objects")?, namespace)?;
    if objects.is_empty() {
        return Err("the manifest holds no objects".to_owned());
    }
    Ok(Bundle {
        objects,
        waits: waits(given, "wait", namespace)?,
        timeout: timeout(given)?,
    })
}

/// Reads a list of conditions.
///
/// # Errors
/// When one is none.
pub fn waits(given: &Values, name: &str, namespace: &str) -> Result<Vec<Wait>, String> {
    inputs::list(given, name)?
        .into_iter()
        .map(|text| Wait::parse(text, namespace))
        .collect()
}

/// Reads how long to wait.
///
/// # Errors
/// When it is no duration.
pub fn timeout(given: &Values) -> Result<Duration, String> {
    parse_duration(inputs::text(given, "timeout")?)
}
