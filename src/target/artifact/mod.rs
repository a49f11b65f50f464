//! Downloads: `artifact.install`, verified before use, unpacked under `/opt/foundry/<name>/<version>`; `artifact.image`, a container
//! image as an archive on a host; what is read from registries. Knows no component.

mod download;
mod fetch;
mod install;
pub mod layout;
mod login;
mod platform;
mod record;
mod registry;
mod source;
mod stage;
pub mod store;

use std::path::{Path, PathBuf};

use crate::config::Mirror;

pub use download::{Download, Fetched, HeldTo, downloads};
pub use fetch::FetchError;
pub use install::Install;
pub use platform::Platform;
pub use registry::{Descriptor, Image, Manifest, Registry};
pub use stage::{IMAGE, StageImage, wanted as wanted_image};

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
    fetch::file(&mirrored(url, mirrors), &sha256.to_ascii_lowercase(), None)
        .await
        .map_err(|error| error.to_string())
}

/// Fetches a file to this machine, through the mirrors; returns it and its SHA-256.
///
/// # Errors
/// When it can't be had.
pub async fn unpinned(url: &str, mirrors: &[Mirror]) -> Result<(PathBuf, String), String> {
    fetch::unpinned(&mirrored(url, mirrors))
        .await
        .map_err(|error| error.to_string())
}

/// Returns what a release's own checksum file says of the file at `url`; both are addresses as recipes write them.
///
/// # Errors
/// When it can't be had, or says nothing of that file.
pub async fn listed(checksums: &str, url: &str, mirrors: &[Mirror]) -> Result<String, String> {
    let at = mirrored(checksums, mirrors);
    let text = text(&at, fetch::CHECKSUMS).await?;
    let url = mirrored(url, mirrors);
    let name = source::file_name(&url);
    source::listed(&text, name).ok_or_else(|| format!("{at} says nothing of {name}"))
}

/// Returns the text at an address, at most `limit` bytes of it.
///
/// # Errors
/// When it can't be had, or is longer.
pub async fn text(url: &str, limit: usize) -> Result<String, String> {
    fetch::text(url, limit)
        .await
        .map_err(|error| error.to_string())
}

/// Reads a file that was fetched and verified before: once more held to its digest, as it may have changed since.
///
/// # Errors
/// When it can't be read, has more than `limit` bytes, or is another.
pub async fn read_again(path: &Path, sha256: &str, limit: u64) -> Result<Vec<u8>, String> {
    let (at, wanted) = (path.to_owned(), sha256.to_ascii_lowercase());
    tokio::task::spawn_blocking(move || store::read(&at, Some(&wanted), limit))
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns the file of that digest if it was fetched before.
pub async fn cached(sha256: &str) -> Option<PathBuf> {
    fetch::cached(&sha256.to_ascii_lowercase()).await
}
