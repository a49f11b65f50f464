//! Makes a bundle of downloads: fetched side by side through the cache, then written as one file, whole or not at all. Does
//! not know where the list comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::index::{Entry, FORMAT, Index, Kind, place};
use super::{BLOBS, BundleError, INDEX, local};
use crate::config::MirrorDigests;
use crate::target::artifact::Fetched;

/// A download that goes into a bundle.
pub struct Part {
    /// Address, as recipes write it.
    pub url: String,
    /// Whose digest it was held to.
    pub digests: MirrorDigests,
    /// Labels of the steps that fetch it, without their hosts.
    pub steps: BTreeSet<String>,
    /// What was fetched.
    pub fetched: Fetched,
}

/// Where a content comes from.
enum Content {
    File(PathBuf),
    Text(String),
}

/// Writes a bundle of `parts` to `path` and returns its index. Contents with a digest in `earlier` are left out.
///
/// # Errors
/// When a file can't be read or written, or an address can't be kept.
pub fn create(
    path: &Path,
    stack: &str,
    arch: &[String],
    parts: Vec<Part>,
    earlier: &BTreeSet<String>,
) -> Result<Index, BundleError> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut contents: BTreeMap<String, Content> = BTreeMap::new();
    for part in parts {
        let repackaged = part.digests == MirrorDigests::Mirror;
        let file = &part.fetched.file;
        let size = std::fs::metadata(file).map_err(local(file))?.len();
        let mut hasher = blake3::Hasher::new();
        hasher
            .update_reader(File::open(file).map_err(local(file))?)
            .map_err(local(file))?;
        let blake3 = hasher.finalize().to_hex().to_string();
        let mut add = |url: String, kind, blake3: &str, sha256: String, size| {
            let entry = entries.entry(url.clone()).or_insert_with(|| Entry {
                url,
                kind,
                blake3: blake3.to_owned(),
                sha256,
                size,
                repackaged,
                earlier: earlier.contains(blake3),
                steps: BTreeSet::new(),
            });
            entry.steps.extend(part.steps.iter().cloned());
        };
        if let Some((url, text)) = &part.fetched.listed_in {
            use sha2::Digest as _;
            let sums = blake3::hash(text.as_bytes()).to_hex().to_string();
            let sha256 = hex::encode(sha2::Sha256::digest(text.as_bytes()));
            add(
                url.clone(),
                Kind::Checksums,
                &sums,
                sha256,
                text.len() as u64,
            );
            contents.insert(sums, Content::Text(text.clone()));
        }
        add(
            part.url,
            Kind::Artifact,
            &blake3,
            part.fetched.sha256.clone(),
            size,
        );
        contents.insert(blake3, Content::File(part.fetched.file));
    }
    let index = Index {
        format: FORMAT,
        stack: stack.to_owned(),
        arch: arch.to_vec(),
        entries: entries.into_values().collect(),
    };
    if let Some(entry) = index
        .entries
        .iter()
        .find(|entry| place(&entry.url).is_none())
    {
        return Err(BundleError::Format {
            path: path.display().to_string(),
            why: format!("{} can't be kept under its address", entry.url),
        });
    }
    write(path, &index, &contents)?;
    Ok(index)
}

fn write(
    path: &Path,
    index: &Index,
    contents: &BTreeMap<String, Content>,
) -> Result<(), BundleError> {
    let here = local(path);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let attempt = || -> io::Result<()> {
        let mut part = tempfile::Builder::new()
            .prefix(".foundry-bundle-")
            .tempfile_in(folder)?;
        let mut tar = tar::Builder::new(io::BufWriter::new(part.as_file_mut()));
        let text = serde_json::to_vec_pretty(index)?;
        append(&mut tar, INDEX, text.len() as u64, text.as_slice())?;
        for digest in index.held() {
            let name = format!("{BLOBS}{digest}");
            match contents.get(digest) {
                Some(Content::File(file)) => {
                    let file = File::open(file)?;
                    let size = file.metadata()?.len();
                    append(&mut tar, &name, size, file)?;
                }
                Some(Content::Text(text)) => {
                    append(&mut tar, &name, text.len() as u64, text.as_bytes())?;
                }
                None => return Err(io::Error::other(format!("{digest} was never fetched"))),
            }
        }
        tar.into_inner()?.flush()?;
        part.as_file().sync_all()?;
        part.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    attempt().map_err(here)
}

/// Adds a file with nothing in its header that differs from one making to the next.
fn append<W: io::Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content)
}
