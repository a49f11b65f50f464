//! Reads a bundle front to back, each content checked against both its digests as it goes by, each image for being whole. Keeps
//! nothing of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use sha2::Digest as _;

use super::index::{Entry, Index, Kind, LONGEST_TEXT};
use super::sign::{self, Signed, TrustedKey};
use super::{BLOBS, BundleError, INDEX, SIGNATURE, layout, local};

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
    /// Who signed it.
    pub signed: Signed,
}

/// A content by its other digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// BLAKE3 in hex.
    pub blake3: String,
    /// In bytes.
    pub size: u64,
}

/// Whose bundles are taken.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Keys that may sign them.
    pub keys: Vec<TrustedKey>,
    /// Whether those that none of the keys signed are taken too.
    pub unsigned: bool,
}

/// Reads all of a bundle, and sees that its images are whole: each of what their manifests name is there. Who signed it is said,
/// not judged, where no keys are given.
///
/// # Errors
/// When it can't be read, or is not what its index says: every fault is named. When it is signed wrongly, or by none of the keys.
pub fn verify(path: &Path, trust: &Trust) -> Result<Verified, BundleError> {
    let head = head(path, &trust.keys)?;
    if !trust.keys.is_empty() {
        head.judge(path, trust)?;
    }
    let mut bytes = 0;
    contents(path, &head, |_, content| {
        bytes += io::copy(content, &mut io::sink())?;
        Ok(())
    })?;
    let Head { index, signed, .. } = head;
    Ok(Verified {
        index,
        bytes,
        signed,
    })
}

/// Returns all contents that a bundle or those before it hold, by their SHA-256.
///
/// # Errors
/// When its index can't be read.
pub fn earlier(path: &Path) -> Result<BTreeMap<String, Known>, BundleError> {
    let entries = head(path, &[])?.index.entries.into_iter();
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
    /// Its very bytes.
    pub text: Vec<u8>,
    /// Who signed them.
    pub signed: Signed,
}

impl Head {
    /// Refuses what nobody who is trusted signed, unless that was asked for.
    ///
    /// # Errors
    /// Why it is not trusted, with what to do.
    pub(super) fn judge(&self, path: &Path, trust: &Trust) -> Result<(), BundleError> {
        let (why, hint) = match &self.signed {
            Signed::Trusted { .. } => return Ok(()),
            _ if trust.unsigned => return Ok(()),
            Signed::Unknown { key } => (
                format!("it is signed by key {key}, which is none that is trusted"),
                "compare the key with whoever made the bundle, then put it under `bundles: trusted_keys` of the config, or say `--unsigned`",
            ),
            Signed::No => (
                "it is not signed".to_owned(),
                "have it signed where it was made (`foundry bundle sign`), or say `--unsigned` if you know where it comes from",
            ),
        };
        Err(untrusted(path, why, hint))
    }
}

fn untrusted(path: &Path, why: String, hint: &'static str) -> BundleError {
    BundleError::Untrusted {
        path: path.display().to_string(),
        why,
        hint,
    }
}

/// Reads index and signature alone. The index is looked into only after its signature.
///
/// # Errors
/// When they can't be read, make no sense, or do not belong together.
pub(super) fn head(path: &Path, keys: &[TrustedKey]) -> Result<Head, BundleError> {
    let mut archive = archive(path)?;
    let mut members = members(path, &mut archive)?;
    let text = index_text(path, &mut members)?;
    let signed = match members.next() {
        Some(Ok(member)) if is_signature(&member) => {
            let mut signature = String::new();
            member
                .take(sign::LONGEST)
                .read_to_string(&mut signature)
                .map_err(|error| format(path, error.to_string()))?;
            sign::check(&text, &signature, keys).map_err(|why| {
                let hint = "do not use it: get it again from whoever made it";
                untrusted(path, why, hint)
            })?
        }
        _ => Signed::No,
    };
    let index: Index =
        serde_json::from_slice(&text).map_err(|error| format(path, error.to_string()))?;
    if let Some(why) = index.fault() {
        return Err(format(path, why));
    }
    Ok(Head {
        index,
        text,
        signed,
    })
}

fn is_signature<R: Read>(member: &tar::Entry<'_, R>) -> bool {
    &*member.path_bytes() == SIGNATURE.as_bytes() && member.header().entry_type().is_file()
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
    if index_text(path, &mut members)? != head.text {
        let why = "it was changed while it was read".to_owned();
        return Err(format(path, why));
    }
    let by_content = index.by_content();
    let images = layout::Parts::of(index);
    let mut missing = index.held();
    let mut faults = images.faults(index);
    let mut first = true;
    for member in members {
        let after_index = std::mem::take(&mut first);
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
        if after_index && is_signature(&member) {
            continue;
        }
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
