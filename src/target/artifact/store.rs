//! The folder that loaded bundles make: names in one tree, contents in another that no name reaches, and a record of which
//! content belongs under which name. Every read of a name is held to that record. Knows no bundle's format and fetches nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::registry::Descriptor;

/// Tree of names: what `mirrors` points to.
pub const NAMES: &str = "mirror";

/// Contents by their BLAKE3 digest, the owner's alone.
pub const CONTENTS: &str = "contents";

/// OCI image layout of all images.
pub const IMAGES: &str = "oci";

/// The record's file.
pub const RECORD: &str = ".foundry-bundles.json";

/// Version of the record; another one is refused.
const FORMAT: u32 = 1;

/// Largest record that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// What belongs under which name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// By path below [`NAMES`], with `/` between its parts.
    pub names: BTreeMap<String, Recorded>,
    /// Images of the layout, by their names.
    pub images: BTreeMap<String, Descriptor>,
}

/// What belongs under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// SHA-256 in hex.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
    /// BLAKE3 of the contents that it was made of: one, or the parts of a chart repository's index in their order.
    pub contents: Vec<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: FORMAT,
            names: BTreeMap::new(),
            images: BTreeMap::new(),
        }
    }
}

/// Records that were read, with the time and length of their files.
type KnownRecords = HashMap<PathBuf, (Option<SystemTime>, u64, Arc<Record>)>;

static READ: LazyLock<Mutex<KnownRecords>> = LazyLock::new(Mutex::default);

impl Record {
    /// Reads the record of a folder; an empty one if it has none yet.
    ///
    /// # Errors
    /// When it is damaged, or of another version.
    pub fn read(folder: &Path) -> io::Result<Self> {
        match fs::File::open(folder.join(RECORD)) {
            Ok(file) => {
                let mut text = Vec::new();
                file.take(LONGEST).read_to_end(&mut text)?;
                let record: Self = serde_json::from_slice(&text).map_err(io::Error::other)?;
                if record.format == FORMAT {
                    Ok(record)
                } else {
                    Err(io::Error::other(format!(
                        "it is of format {}, this Foundry knows {FORMAT}",
                        record.format
                    )))
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Returns the record in its written form.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

/// Splits a path into the folder of a store and the name in it. The outermost store counts: no name can make one of its own.
fn split(path: &Path) -> Option<(PathBuf, String)> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    folders.into_iter().find_map(|tree| {
        if tree.file_name()? != NAMES {
            return None;
        }
        let folder = tree.parent()?;
        fs::symlink_metadata(folder.join(RECORD)).ok()?;
        let parts = path.strip_prefix(tree).ok()?.iter();
        let parts: Option<Vec<&str>> = parts.map(|part| part.to_str()).collect();
        Some((folder.to_owned(), parts?.join("/")))
    })
}

/// Returns the SHA-256 that a file must have because a bundle brought it; none for files of no store.
///
/// # Errors
/// When the record can't be read, or the file is in a store and no bundle brought it.
pub fn expected(path: &Path) -> io::Result<Option<String>> {
    let Some((folder, name)) = split(path) else {
        return Ok(None);
    };
    let about = fs::metadata(folder.join(RECORD))?;
    let (changed, length) = (about.modified().ok(), about.len());
    let known = {
        let read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        read.get(&folder)
            .filter(|(when, long, _)| (*when, *long) == (changed, length))
            .map(|(_, _, record)| record.clone())
    };
    let record = match known {
        Some(record) => record,
        None => {
            let record = Arc::new(Record::read(&folder).map_err(|error| {
                io::Error::other(format!("{}: {error}", folder.join(RECORD).display()))
            })?);
            let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
            read.insert(folder, (changed, length, record.clone()));
            record
        }
    };
    match record.names.get(&name) {
        Some(recorded) => Ok(Some(recorded.sha256.clone())),
        None => match fs::symlink_metadata(path) {
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::other(
                "no bundle brought it: its load was cut short, or somebody put it there; load the bundle again",
            )),
        },
    }
}

/// Reads a file whole and holds it to a SHA-256.
///
/// # Errors
/// When it can't be read, is longer than `limit` bytes, or has another digest.
pub fn read(path: &Path, sha256: Option<&str>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::other(format!("is longer than {limit} bytes")));
    }
    let found = hex::encode(Sha256::digest(&bytes));
    match sha256 {
        Some(wanted) if wanted != found => Err(another(&found, wanted)),
        _ => Ok(bytes),
    }
}

/// Words a file that is not the one that was verified before.
fn another(found: &str, wanted: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "has sha256 {found}, expected {wanted}: it was changed since it was verified; remove it, or load its bundle again"
        ),
    )
}

/// Reads through, and fails at the end if the whole has another SHA-256.
#[derive(Debug)]
pub struct Checked<R> {
    inner: R,
    hash: Sha256,
    wanted: String,
}

impl<R: Read> Checked<R> {
    /// Holds what is read to a SHA-256 in hex.
    pub fn new(inner: R, wanted: &str) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            wanted: wanted.to_owned(),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        if read == 0 && !buffer.is_empty() {
            let found = hex::encode(self.hash.clone().finalize());
            if found != self.wanted {
                return Err(another(&found, &self.wanted));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_to_the_record_of_the_outermost_store() {
        let rig = tempfile::tempdir().unwrap();
        let folder = rig.path().join("mirror/srv");
        let at = |name: &str| folder.join(NAMES).join(name);
        let write = |path: &Path, text: &[u8]| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(&at("up.example/x"), b"x");
        assert_eq!(expected(&at("up.example/x")).unwrap(), None);
        let digest = hex::encode(Sha256::digest(b"x"));
        let recorded = |text: &str| Recorded {
            sha256: hex::encode(Sha256::digest(text)),
            size: 1,
            contents: Vec::new(),
        };
        let mut record = Record::default();
        record
            .names
            .insert("up.example/x".to_owned(), recorded("x"));
        write(&folder.join(RECORD), &record.written());
        assert_eq!(expected(&at("up.example/x")).unwrap(), Some(digest.clone()));
        // A name that looks like a record makes no store of its own.
        let mut fake = Record::default();
        fake.names.insert("y".to_owned(), recorded("y"));
        write(&at(&format!("evil.example/{RECORD}")), &fake.written());
        write(&at("evil.example/mirror/y"), b"y");
        let error = expected(&at("evil.example/mirror/y")).unwrap_err();
        assert!(error.to_string().contains("no bundle brought it"));
        assert_eq!(
            expected(&at("up.example/gone")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        // A record that changed is read anew.
        record.names.clear();
        write(&folder.join(RECORD), &record.written());
        assert!(expected(&at("up.example/x")).is_err());
        write(&folder.join(RECORD), b"{");
        assert!(expected(&at("up.example/x")).is_err());
        assert!(read(&at("up.example/x"), Some(&digest), 1).is_ok());
        assert!(read(&at("up.example/x"), Some(&digest), 0).is_err());
        assert!(read(&at("up.example/x"), Some(&"0".repeat(64)), 1).is_err());
        let mut text = String::new();
        let mut checked = Checked::new(&b"x"[..], &digest);
        assert_eq!(checked.read_to_string(&mut text).unwrap(), 1);
        let mut checked = Checked::new(&b"z"[..], &digest);
        assert!(checked.read_to_string(&mut text).is_err());
    }
}
