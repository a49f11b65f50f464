//! Bundles: artifacts, manifests, charts and images of a stack in one file, for machines without internet. Contents are named by their BLAKE3
//! digest, so that a bundle can leave out what an earlier one holds. Loaded, a bundle is a folder that `mirrors` points to:
//! builds know nothing of it. Does not know which steps there are.
//!
//! The file is a tar archive: `index.json` first, `index.json.minisig` if it is signed, then `blobs/<BLAKE3 in hex>`, each once, sorted.

#[cfg(test)]
mod attacks;
mod create;
mod folder;
mod gather;
mod index;
mod layout;
mod load;
mod needs;
mod read;
mod sign;

pub use create::{Content, Part, create, sign};
pub use gather::{Gathered, gather};
pub use index::{Entry, Held, Index, Kind};
pub use load::{Loaded, load};
pub use needs::Needs;
pub use read::{Known, Trust, Verified, earlier, verify};
pub use sign::{KeyError, Signed, Signer, TrustedKey, generate};

use std::path::Path;

/// Name of the index within the archive.
const INDEX: &str = "index.json";

/// Name of the index's signature within the archive, right after it.
const SIGNATURE: &str = "index.json.minisig";

/// Folder of the contents within the archive.
const BLOBS: &str = "blobs/";

/// Why a bundle could not be made, read or loaded.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file or folder here.
    #[error("{path}: {error}")]
    Local {
        /// Which.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is no bundle, or not one that this version reads.
    #[error("{path} is no bundle that this Foundry can read: {why}")]
    Format {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// Contents are damaged, missing, or not what the index says.
    #[error("{path} is damaged:\n{}", .faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n"))]
    Damaged {
        /// The file.
        path: String,
        /// Each fault by name.
        faults: Vec<String>,
    },
    /// It is not signed by a key that is trusted.
    #[error("{path} is not trusted: {why}")]
    Untrusted {
        /// The file.
        path: String,
        /// Why not.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Something could not be fetched.
    #[error("{} of what the stack needs can't be had:\n{}", .missing.len(), .missing.iter().map(|missing| format!("  {missing}")).collect::<Vec<_>>().join("\n"))]
    Missing {
        /// Each by name, with its reason.
        missing: Vec<String>,
    },
    /// It builds on an earlier bundle that isn't there.
    #[error("{path} leaves out {} that an earlier bundle holds, and the folder does not have: {}", .missing.len(), .missing.join(", "))]
    Earlier {
        /// The file.
        path: String,
        /// Addresses whose contents are missing.
        missing: Vec<String>,
    },
}

fn local(path: &Path) -> impl FnOnce(std::io::Error) -> BundleError + '_ {
    move |error| BundleError::Local {
        path: path.display().to_string(),
        error,
    }
}
