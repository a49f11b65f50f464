//! Makes a bundle of contents: written as one file, whole or not at all; the same contents make the same bytes. Does not know
//! where they come from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::index::{Entry, FORMAT, Index, Kind};
use super::read::{self, Hashing, Measured};
use super::sign::Signer;
use super::{BLOBS, BundleError, Gathered, INDEX, Known, SIGNATURE, local};
use crate::target::artifact::layout::append;
use crate::target::cluster::chart;

/// A content that goes into a bundle, under an address.
#[derive(Debug)]
pub struct Part {
    /// Address, as recipes and registries have it.
    pub url: String,
    /// What it is.
    pub kind: Kind,
    /// The content.
    pub content: Content,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Whether it is held to a mirror's own digest.
    pub repackaged: bool,
    /// Whether nothing said beforehand which digest it must have.
    pub as_found: bool,
    /// What needs it.
    pub steps: std::collections::BTreeSet<String>,
}

/// Where a content is.
#[derive(Debug)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// Here.
    Text(Vec<u8>),
    /// In an earlier bundle.
    Earlier(Known),
}

impl Part {
    /// Makes one of a text.
    #[must_use]
    pub fn text(
        url: String,
        kind: Kind,
        text: Vec<u8>,
        steps: &std::collections::BTreeSet<String>,
    ) -> Self {
        use sha2::Digest as _;
        Self {
            url,
            kind,
            sha256: hex::encode(sha2::Sha256::digest(&text)),
            content: Content::Text(text),
            repackaged: false,
            as_found: false,
            steps: steps.clone(),
        }
    }
}

/// Writes a bundle to `path`, signed if there is a signer, and returns its index. Contents that `earlier` has, by their SHA-256, are left out.
///
/// # Errors
/// When a file can't be read or written, or an address can't be kept.
pub fn create(
    path: &Path,
    stack: &str,
    platforms: &[String],
    gathered: Gathered,
    earlier: &BTreeMap<String, Known>,
    signer: Option<&Signer>,
) -> Result<Index, BundleError> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut contents: BTreeMap<String, Content> = BTreeMap::new();
    for part in one_each(path, gathered.parts)? {
        let Known { blake3, size } = measured(&part.content)?;
        entries.insert(
            part.url.clone(),
            Entry {
                url: part.url,
                kind: part.kind,
                earlier: earlier
                    .get(&part.sha256)
                    .is_some_and(|known| known.blake3 == blake3),
                blake3: blake3.clone(),
                sha256: part.sha256,
                size,
                repackaged: part.repackaged,
                as_found: part.as_found,
                steps: part.steps,
            },
        );
        contents.insert(blake3, part.content);
    }
    let index = Index {
        format: FORMAT,
        stack: stack.to_owned(),
        platforms: platforms.to_vec(),
        entries: entries.into_values().collect(),
        images: gathered.images,
    };
    if let Some(why) = index.fault() {
        return Err(BundleError::Format {
            path: path.display().to_string(),
            why,
        });
    }
    write(path, &index, &contents, signer)?;
    Ok(index)
}

/// Puts together what has one address: needed by several, or the indexes of one chart repository.
fn one_each(path: &Path, parts: Vec<Part>) -> Result<Vec<Part>, BundleError> {
    let mut all: BTreeMap<String, Part> = BTreeMap::new();
    // By name first, so that the order of arrival makes no difference.
    let mut parts = parts;
    parts.sort_by(|a, b| (&a.url, &a.sha256).cmp(&(&b.url, &b.sha256)));
    for part in parts {
        let Some(there) = all.get_mut(&part.url) else {
            all.insert(part.url.clone(), part);
            continue;
        };
        there.steps.extend(part.steps);
        if there.sha256 == part.sha256 {
            continue;
        }
        let wrong = |why: String| BundleError::Format {
            path: path.display().to_string(),
            why,
        };
        let (Content::Text(one), Content::Text(other), Kind::ChartIndex) =
            (&there.content, &part.content, part.kind)
        else {
            return Err(wrong(format!("{} has two contents", part.url)));
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let merged = chart::merged(&text(one), &text(other))
            .map_err(|why| wrong(format!("{}: {why}", part.url)))?;
        let new = Part::text(
            part.url.clone(),
            Kind::ChartIndex,
            merged.into_bytes(),
            &there.steps,
        );
        all.insert(part.url, new);
    }
    Ok(all.into_values().collect())
}

fn measured(content: &Content) -> Result<Known, BundleError> {
    Ok(match content {
        Content::Earlier(known) => known.clone(),
        Content::Text(text) => Known {
            blake3: blake3::hash(text).to_hex().to_string(),
            size: text.len() as u64,
        },
        Content::File(file) => {
            let mut hashing = Hashing::new(File::open(file).map_err(local(file))?);
            io::copy(&mut hashing, &mut io::sink()).map_err(local(file))?;
            let Measured { blake3, size, .. } = hashing.found();
            Known { blake3, size }
        }
    })
}

fn write(
    path: &Path,
    index: &Index,
    contents: &BTreeMap<String, Content>,
    signer: Option<&Signer>,
) -> Result<(), BundleError> {
    let text = serde_json::to_vec_pretty(index).map_err(|error| local(path)(error.into()))?;
    whole(path, &text, &index.stack, signer, |tar| {
        for (digest, entry) in index.by_content() {
            if entry.earlier {
                continue;
            }
            let name = format!("{BLOBS}{digest}");
            match contents.get(digest) {
                Some(Content::File(file)) => {
                    // Verified when it was fetched, by its name since.
                    let mut hashing = Hashing::new(File::open(file)?.take(entry.size));
                    append(tar, &name, entry.size, &mut hashing)?;
                    if let Some(fault) = hashing.found().fault(entry) {
                        let why = format!("{}: it was changed: {fault}", file.display());
                        return Err(io::Error::other(why));
                    }
                }
                Some(Content::Text(text)) => {
                    append(tar, &name, text.len() as u64, text.as_slice())?;
                }
                Some(Content::Earlier(_)) | None => {
                    return Err(io::Error::other(format!("{digest} was never fetched")));
                }
            }
        }
        Ok(())
    })
    .map_err(local(path))
}

/// Signs a bundle that was made before, in place of whatever signed it so far: read all of it, as a signature speaks for that.
///
/// # Errors
/// When it can't be read or written, or is not what its index says.
pub fn sign(path: &Path, signer: &Signer) -> Result<Index, BundleError> {
    let head = read::head(path, &[])?;
    let stack = &head.index.stack;
    let mut wrong = None;
    let written = whole(path, &head.text, stack, Some(signer), |tar| {
        let read = read::contents(path, &head, |entry, content| {
            let name = format!("{BLOBS}{}", entry.blake3);
            append(tar, &name, entry.size, content)
        });
        read.map_err(|error| {
            wrong = Some(error);
            io::Error::other("it is damaged")
        })
    });
    match (wrong, written) {
        (Some(wrong), _) => Err(wrong),
        (None, written) => written.map_err(local(path)).map(|()| head.index),
    }
}

/// Writes a bundle, whole or not at all: what stood there stays until then.
fn whole(
    path: &Path,
    index: &[u8],
    stack: &str,
    signer: Option<&Signer>,
    contents: impl FnOnce(&mut tar::Builder<io::BufWriter<&mut File>>) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut part = tempfile::Builder::new()
        .prefix(".foundry-bundle-")
        .tempfile_in(folder)?;
    let mut tar = tar::Builder::new(io::BufWriter::new(part.as_file_mut()));
    append(&mut tar, INDEX, index.len() as u64, index)?;
    if let Some(signer) = signer {
        let comment = format!("foundry bundle of stack {stack}");
        let signature = signer.sign(index, &comment).map_err(io::Error::other)?;
        append(
            &mut tar,
            SIGNATURE,
            signature.len() as u64,
            signature.as_bytes(),
        )?;
    }
    contents(&mut tar)?;
    tar.into_inner()?.flush()?;
    part.as_file().sync_all()?;
    part.persist(path).map_err(|error| error.error)?;
    Ok(())
}
