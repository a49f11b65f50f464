//! `cluster.nodes`: nodes have joined and are ready. Changes nothing: it waits and tells.

use super::super::bundle::Bundle;
use super::super::object::Ref;
use super::super::ready::Wait;
use super::manifest::timeout;
use crate::catalog::Values;
use crate::target::inputs;

/// Reads the step's inputs.
///
/// # Errors
/// When they make no sense.
pub fn read(given: &Values) -> Result<Bundle, String> {
    let waits = inputs::list(given, "nodes")?
        .into_iter()
        .map(|name| Wait::ready(Ref::new("v1", "Node", None, name), format!("Node/{name}")))
        .collect();
    Ok(Bundle {
        objects: Vec::new(),
        waits,
        timeout: timeout(given)?,
    })
}
