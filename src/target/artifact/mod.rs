//! `artifact.install`: a download, verified before use, unpacked under `/opt/foundry/<name>/<version>`. Knows no component.

mod fetch;
mod install;
mod record;
mod source;

pub use install::Install;
