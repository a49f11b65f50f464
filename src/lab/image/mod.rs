//! The image all lab hosts start from: a Debian root made of packages, once per recipe. Knows no driver.

mod build;
mod recipe;

use std::path::PathBuf;

pub(super) use build::{ensure, open};
pub(super) use recipe::{ADMIN, ADMIN_ID};

/// A built image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the recipe it was made by, as 16 hexadecimal digits.
    pub digest: String,
    /// The root as `.tar.zst`.
    pub archive: PathBuf,
}
