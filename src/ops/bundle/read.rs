//! Reads a bundle front to back, each content checked against both its digests as it goes by, each image for being whole. Keeps
//! nothing of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use sha2::Digest as _;

use super::index::{Entry, Index, Kind, LONGEST_TEXT};
use super::{BLOBS, BundleError, INDEX, layout, local};

/// Largest index that is read, in bytes: some ten times what the largest stacks need.
const INDEX_LIMIT: u64 = 32 << 20;

/// How many faults are told.
const FAULTS: usize = 100;

/// A bundle found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it holds.
    pub index: Index,
    /// Bytes of content in it.
    pub bytes: u64,
}

/// A content by its other digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// BLAKE3 in hex.
    pub blake3: String,
    /// In bytes.
    pub size: u64,
}

/// Reads all of a bundle, and sees that its images are whole: each of what their manifests name is there.
///
/// # Errors
/// When it can't be read, or is not what its index says: every fault is named.
pub fn verify(path: &Path) -> Result<Verified, BundleError> {
    let head = head(path)?;
    let mut bytes = 0;
    contents(path, &head, |_, content| {
        bytes += io::copy(content, &mut io::sink())?;
        Ok(())
    })?;
    let index = head.index;
    Ok(Verified { index, bytes })
}

/// Returns all contents that a bundle or those before it hold, by their SHA-256.
///
/// # Errors
/// When its index can't be read.
pub fn earlier(path: &Path) -> Result<BTreeMap<String, Known>, BundleError> {
    let entries = head(path)?.index.entries.into_iter();
    Ok(entries
        .map(|entry| {
            let Entry { blake3, size, .. } = entry;
            (entry.sha256, Known { blake3, size })
        })
        .collect())
}

/// The beginning of a bundle, which says what the rest must be.
#[derive(Debug)]
pub(super) struct Head {
    /// The index, found sensible.
    pub index: Index,
    /// BLAKE3 of its very bytes.
    digest: blake3::Hash,
}

/// Reads the index alone.
///
/// # Errors
/// When it can't be read, or makes no sense.
pub(super) fn head(path: &Path) -> Result<Head, BundleError> {
    let mut archive = archive(path)?;
    let text = index_text(path, &mut members(path, &mut archive)?)?;
    let index: Index =
        serde_json::from_slice(&text).map_err(|error| format(path, error.to_string()))?;
    if let Some(why) = index.fault() {
        return Err(format(path, why));
    }
    let digest = blake3::hash(&text);
    Ok(Head { index, digest })
}

/// Reads a bundle after its head was read, and hands each content to `take`, which must read it to its end. What was taken
/// counts only if this ends well.
///
/// # Errors
/// When it can't be read, or is not what its index says.
pub(super) fn contents(
    path: &Path,
    head: &Head,
    mut take: impl FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
) -> Result<(), BundleError> {
    let index = &head.index;
    let mut archive = archive(path)?;
    let mut members = members(path, &mut archive)?;
    if blake3::hash(&index_text(path, &mut members)?) != head.digest {
        let why = "it was changed while it was read".to_owned();
        return Err(format(path, why));
    }
    let by_content = index.by_content();
    let images = layout::Parts::of(index);
    let mut missing = index.held();
    let mut faults = images.faults(index);
    for member in members {
        if faults.len() >= FAULTS {
            faults.push("what comes after that was not read".to_owned());
            missing.clear();
            break;
        }
        let mut member = match member {
            Ok(member) => member,
            Err(error) => {
                faults.push(format!("it ends too early: {error}"));
                break;
            }
        };
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        // Links, and headers that stand for longer names or larger files, are none of ours.
        let entry = name
            .strip_prefix(BLOBS)
            .filter(|_| member.header().entry_type().is_file())
            .and_then(|digest| missing.take(digest))
            .and_then(|digest| by_content.get(digest));
        let Some(&entry) = entry else {
            faults.push(format!("`{name}` has no place in it"));
            continue;
        };
        if member.size() != entry.size {
            faults.push(format!(
                "{} has {} bytes, the index says {}",
                entry.url,
                member.size(),
                entry.size
            ));
            continue;
        }
        let mut hashing = Hashing::new(&mut member);
        let taken = if entry.kind == Kind::Manifest {
            let mut text = Vec::new();
            let read = (&mut hashing).take(LONGEST_TEXT).read_to_end(&mut text);
            let taken = read.and_then(|_| take(entry, &mut &*text));
            faults.extend(images.lacking(entry, text));
            taken
        } else {
            take(entry, &mut hashing)
        };
        if let Err(error) = taken {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                faults.push(format!("it ends too early, within {}", entry.url));
                break;
            }
            return Err(local(path)(error));
        }
        faults.extend(hashing.found().fault(entry));
    }
    let gone = missing.len();
    for digest in missing.into_iter().take(FAULTS) {
        let url = by_content.get(digest).map_or(digest, |entry| &entry.url);
        faults.push(format!("{url} is missing"));
    }
    if gone > FAULTS {
        faults.push(format!("and {} more are missing", gone - FAULTS));
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.sort();
    faults.dedup();
    Err(BundleError::Damaged {
        path: path.display().to_string(),
        faults,
    })
}

fn format(path: &Path, why: String) -> BundleError {
    BundleError::Format {
        path: path.display().to_string(),
        why,
    }
}

type Archive = tar::Archive<BufReader<File>>;

fn archive(path: &Path) -> Result<Archive, BundleError> {
    let file = File::open(path).map_err(local(path))?;
    Ok(tar::Archive::new(BufReader::new(file)))
}

/// Returns the members as they stand: what a member's header announces of the next one (long names, sparse files) would be
/// believed without bounds.
fn members<'a>(
    path: &Path,
    archive: &'a mut Archive,
) -> Result<tar::Entries<'a, BufReader<File>>, BundleError> {
    Ok(archive.entries().map_err(local(path))?.raw(true))
}

fn index_text(
    path: &Path,
    members: &mut tar::Entries<'_, BufReader<File>>,
) -> Result<Vec<u8>, BundleError> {
    let member = match members.next() {
        Some(Ok(member)) if &*member.path_bytes() == INDEX.as_bytes() => member,
        Some(Err(error)) => return Err(format(path, error.to_string())),
        _ => return Err(format(path, format!("it does not begin with {INDEX}"))),
    };
    if member.size() > INDEX_LIMIT {
        let (size, limit) = (member.size(), INDEX_LIMIT >> 20);
        let why = format!("its index has {size} bytes, {limit} MiB is the most");
        return Err(format(path, why));
    }
    let mut text = Vec::new();
    member
        .take(INDEX_LIMIT)
        .read_to_end(&mut text)
        .map_err(|error| format(path, error.to_string()))?;
    Ok(text)
}

/// Hashes what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    blake3: blake3::Hasher,
    sha256: sha2::Sha256,
    read: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            blake3: blake3::Hasher::new(),
            sha256: sha2::Sha256::new(),
            read: 0,
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.blake3.update(&buffer[..read]);
        self.sha256.update(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

impl<R> Hashing<R> {
    /// Returns what was read.
    pub(super) fn found(self) -> Measured {
        Measured {
            blake3: self.blake3.finalize().to_hex().to_string(),
            sha256: hex::encode(self.sha256.finalize()),
            size: self.read,
        }
    }
}

/// A content as it was found.
pub(super) struct Measured {
    /// BLAKE3 in hex.
    pub blake3: String,
    /// SHA-256 in hex.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
}

impl Measured {
    /// Says how it differs from what the index says of it.
    pub(super) fn fault(&self, entry: &Entry) -> Option<String> {
        let url = &entry.url;
        let differs = |what: &str, found: &str, told: &str| {
            Some(format!("{url} has {what} {found}, the index says {told}"))
        };
        if self.blake3 != entry.blake3 {
            differs("blake3", &self.blake3, &entry.blake3)
        } else if self.sha256 != entry.sha256 {
            differs("sha256", &self.sha256, &entry.sha256)
        } else if self.size != entry.size {
            let (found, told) = (self.size, entry.size);
            Some(format!("{url} has {found} bytes, the index says {told}"))
        } else {
            None
        }
    }
}
