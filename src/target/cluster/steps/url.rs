//! `cluster.manifest-url`: objects of a file that is downloaded here, held to its digest, and kept in the cache; its
//! images as pinned. Does not know what they are for.

use super::super::bundle::Bundle;
use super::super::object::parse;
use super::manifest::{timeout, waits};
use crate::catalog::{Values, pin_images};
use crate::config::Stack;
use crate::target::{artifact, inputs};

/// Longest file of objects, in bytes.
const LONGEST: u64 = 16 << 20;

/// Reads the step's inputs and the file.
///
/// # Errors
/// When they make no sense, or the file can't be had or is another.
pub async fn read(given: &Values, stack: &Stack) -> Result<Bundle, String> {
    let url = inputs::text(given, "url")?;
    let sha256 = inputs::text(given, "sha256")?;
    let path = artifact::fetched(url, sha256, &stack.mirrors).await?;
    let text = artifact::read_again(&path, sha256, LONGEST).await?;
    let text = String::from_utf8(text).map_err(|error| format!("{url}: {error}"))?;
    let text = pin_images(&text, &stack.pins);
    let objects = parse(&text, "").map_err(|why| format!("{url}: {why}"))?;
    if objects.is_empty() {
        return Err(format!("{url} holds no objects"));
    }
    Ok(Bundle {
        objects,
        waits: waits(given, "wait", "")?,
        timeout: timeout(given)?,
    })
}
