//! Reads a bundle front to back, each content checked against both its digests as it goes by. Keeps nothing of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use sha2::Digest as _;

use super::index::{Entry, Index, Kind};
use super::{BLOBS, BundleError, INDEX, layout, local};

/// Largest index that is read, in bytes.
const INDEX_LIMIT: u64 = 64 << 20;

/// Longest manifest of an image that is looked into, in bytes.
const LONGEST: u64 = 4 << 20;

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
    let mut bytes = 0;
    let mut manifests = BTreeMap::new();
    let kinds = entries(path)?;
    let index = read(path, |digest, content| {
        let mut text = Vec::new();
        if kinds.get(digest) == Some(&Kind::Manifest) {
            bytes += content.take(LONGEST).read_to_end(&mut text)? as u64;
            manifests.insert(digest.to_owned(), text);
        }
        bytes += std::io::copy(content, &mut std::io::sink())?;
        Ok(())
    })?;
    let faults = layout::faults(&index, &manifests);
    if !faults.is_empty() {
        return Err(BundleError::Damaged {
            path: path.display().to_string(),
            faults,
        });
    }
    Ok(Verified { index, bytes })
}

fn entries(path: &Path) -> Result<BTreeMap<String, Kind>, BundleError> {
    let entries = first(path)?.entries.into_iter();
    Ok(entries.map(|entry| (entry.blake3, entry.kind)).collect())
}

/// Reads the index alone.
fn first(path: &Path) -> Result<Index, BundleError> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(path).map_err(local(path))?));
    let mut members = archive.entries().map_err(local(path))?;
    index(path, members.next())
}

/// Returns all contents that a bundle or those before it hold, by their SHA-256.
///
/// # Errors
/// When its index can't be read.
pub fn earlier(path: &Path) -> Result<BTreeMap<String, Known>, BundleError> {
    let entries = first(path)?.entries.into_iter();
    Ok(entries
        .map(|entry| {
            let Entry { blake3, size, .. } = entry;
            (entry.sha256, Known { blake3, size })
        })
        .collect())
}

/// Reads a bundle and hands each content to `take`, which must read it to its end; returns the index. What was taken counts
/// only if this ends well.
pub(super) fn read(
    path: &Path,
    mut take: impl FnMut(&str, &mut dyn Read) -> std::io::Result<()>,
) -> Result<Index, BundleError> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(path).map_err(local(path))?));
    let mut members = archive.entries().map_err(local(path))?;
    let index = index(path, members.next())?;
    let mut missing = index.held();
    let mut faults = Vec::new();
    for member in members {
        let mut member = match member {
            Ok(member) => member,
            Err(error) => {
                faults.push(format!("it ends too early: {error}"));
                break;
            }
        };
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let Some(digest) = name
            .strip_prefix(BLOBS)
            .and_then(|digest| missing.take(digest))
        else {
            faults.push(format!("`{name}` has no place in it"));
            continue;
        };
        let mut hashing = Hashing {
            inner: &mut member,
            blake3: blake3::Hasher::new(),
            sha256: sha2::Sha256::new(),
            read: 0,
        };
        if let Err(error) = take(digest, &mut hashing) {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                faults.push(format!(
                    "it ends too early, within {}",
                    known(&index, digest)
                ));
                break;
            }
            return Err(local(path)(error));
        }
        faults.extend(hashing.fault(&index, digest));
    }
    faults.extend(
        missing
            .iter()
            .map(|digest| format!("{} is missing", known(&index, digest))),
    );
    if faults.is_empty() {
        return Ok(index);
    }
    Err(BundleError::Damaged {
        path: path.display().to_string(),
        faults,
    })
}

type Member<'a> = std::io::Result<tar::Entry<'a, BufReader<File>>>;

fn index(path: &Path, first: Option<Member<'_>>) -> Result<Index, BundleError> {
    let format = |why: String| BundleError::Format {
        path: path.display().to_string(),
        why,
    };
    let member = match first {
        Some(Ok(member)) if &*member.path_bytes() == INDEX.as_bytes() => member,
        Some(Err(error)) => return Err(format(error.to_string())),
        _ => return Err(format(format!("it does not begin with {INDEX}"))),
    };
    let mut text = Vec::new();
    member
        .take(INDEX_LIMIT)
        .read_to_end(&mut text)
        .map_err(|error| format(error.to_string()))?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| format(error.to_string()))?;
    match index.fault() {
        Some(why) => Err(format(why)),
        None => Ok(index),
    }
}

/// Names a content for people: the first address that has it.
fn known(index: &Index, digest: &str) -> String {
    entry(index, digest).map_or_else(|| digest.to_owned(), |entry| entry.url.clone())
}

fn entry<'a>(index: &'a Index, digest: &str) -> Option<&'a Entry> {
    index.entries.iter().find(|entry| entry.blake3 == digest)
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    blake3: blake3::Hasher,
    sha256: sha2::Sha256,
    read: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.blake3.update(&buffer[..read]);
        self.sha256.update(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

impl<R> Hashing<R> {
    /// Says how what was read differs from what the index says of it.
    fn fault(self, index: &Index, digest: &str) -> Option<String> {
        let url = known(index, digest);
        let found = self.blake3.finalize().to_hex();
        if found.as_str() != digest {
            return Some(format!("{url} has blake3 {found}, the index says {digest}"));
        }
        let sha256 = hex::encode(self.sha256.finalize());
        let entry = entry(index, digest)?;
        if sha256 != entry.sha256 {
            return Some(format!(
                "{url} has sha256 {sha256}, the index says {}",
                entry.sha256
            ));
        }
        (self.read != entry.size).then(|| {
            format!(
                "{url} has {} bytes, the index says {}",
                self.read, entry.size
            )
        })
    }
}
