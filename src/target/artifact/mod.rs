//! `artifact.install`: a download, verified before use, unpacked under `/opt/foundry/<name>/<version>`. Knows no component.

mod download;
mod fetch;
mod install;
mod record;
mod source;

use std::path::PathBuf;

use crate::config::Mirror;
use crate::secret::Secret;

pub use download::{Download, Fetched, HeldTo, downloads};
pub use fetch::FetchError;
pub use install::Install;

/// Name of the action.
const INSTALL: &str = "artifact.install";

/// Name of the action that applies a manifest which it fetches here.
pub const MANIFEST: &str = "cluster.manifest-url";

/// Returns the address that the stack's mirrors make of `url`.
#[must_use]
pub fn mirrored(url: &str, mirrors: &[Mirror]) -> String {
    source::rewrite(url, mirrors)
}

/// Fetches a file to this machine, through the mirrors and the cache, and holds it to its digest.
///
/// # Errors
/// When it can't be had, or is another.
pub async fn fetched(url: &str, sha256: &str, mirrors: &[Mirror]) -> Result<PathBuf, String> {
    file(&mirrored(url, mirrors), sha256, None).await
}

/// Fetches a file from exactly there, with a token if one is needed.
///
/// # Errors
/// When it can't be had, or is another.
pub async fn file(
    url: &str,
    sha256: &str,
    token: Option<&Secret<String>>,
) -> Result<PathBuf, String> {
    fetch::file(url, &sha256.to_ascii_lowercase(), token)
        .await
        .map_err(|error| error.to_string())
}

/// Returns the text at an address.
///
/// # Errors
/// When it can't be had.
pub async fn text(url: &str) -> Result<String, String> {
    fetch::text(url).await.map_err(|error| error.to_string())
}

/// Returns the file of that digest if it was fetched before.
pub async fn cached(sha256: &str) -> Option<PathBuf> {
    fetch::cached(&sha256.to_ascii_lowercase()).await
}

/// Returns how a server wants whoever asks for `url` to log in, if it does.
pub async fn challenge(url: &str) -> Option<String> {
    fetch::challenge(url).await
}
