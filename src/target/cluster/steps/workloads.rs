//! `cluster.workloads`: workloads are rolled out and conditions hold. Changes nothing: it waits and tells.

use super::super::bundle::Bundle;
use super::manifest::{timeout, waits};
use crate::catalog::Values;
use crate::target::inputs;

/// Reads the step's inputs.
///
/// # Errors
/// When they make no sense.
pub fn read(given: &Values) -> Result<Bundle, String> {
    let namespace = inputs::text(given, "namespace")?;
    let mut all = waits(given, "workloads", namespace)?;
    all.extend(waits(given, "conditions", namespace)?);
    Ok(Bundle {
        objects: Vec::new(),
        waits: all,
        timeout: timeout(given)?,
    })
}
