//! `artifact.install`: a download, verified before use, unpacked under `/opt/foundry/<name>/<version>`. Knows no component.

mod download;
mod fetch;
mod install;
mod record;
mod source;

pub use download::{Download, Fetched, HeldTo, downloads};
pub use fetch::FetchError;
pub use install::Install;

/// Name of the action.
const INSTALL: &str = "artifact.install";
