//! The folder that bundles are loaded into, as it is written: contents by their digest, links to them under names, the record of
//! both. One load at a time; what a load that was cut short left behind is cleared away by the next. Reads no bundle.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::index::{Entry, LONGEST_TEXT};
use super::read::Hashing;
use super::{BundleError, local};
use crate::target::artifact::store::{CONTENTS, IMAGES, NAMES, RECORD, Record};

/// Folder of what is not yet whole, among the contents.
const STAGED: &str = ".staged";

/// Held while a bundle is loaded.
const LOCK: &str = ".lock";

/// Folder of contents of earlier versions, which addresses could reach.
const OLD: &str = ".blobs";

/// A folder, held for one load.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// What belongs where; written by [`Store::keep`].
    pub record: Record,
    /// Contents that were found to be what their names say.
    intact: BTreeSet<String>,
    staged: u64,
    _lock: File,
}

impl Store {
    /// Makes the folder ready, and keeps other loads out of it.
    ///
    /// # Errors
    /// When it can't be written, is somebody else's, or another load is at work in it.
    pub(super) fn open(folder: &Path) -> Result<Self, BundleError> {
        fs::create_dir_all(folder).map_err(local(folder))?;
        let old = folder.join(OLD);
        if fs::symlink_metadata(&old).is_ok() {
            return Err(local(&old)(io::Error::other(
                "an earlier version of Foundry loaded bundles here, and names could reach its contents: load into a new folder",
            )));
        }
        for (name, private) in [(CONTENTS, true), (NAMES, false), (IMAGES, false)] {
            directory(&folder.join(name), private)?;
        }
        let contents = folder.join(CONTENTS);
        let at = contents.join(LOCK);
        let lock = regular(&at).and_then(|()| File::create(&at));
        let lock = lock.map_err(local(&at))?;
        own(
            &[folder, &contents, &folder.join(NAMES), &folder.join(IMAGES)],
            &lock,
        )?;
        lock.try_lock().map_err(|error| {
            local(folder)(match error {
                fs::TryLockError::Error(error) => error,
                fs::TryLockError::WouldBlock => {
                    io::Error::other("another `foundry bundle load` is at work here")
                }
            })
        })?;
        let staged = contents.join(STAGED);
        match fs::remove_dir_all(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(local(&staged)(error));
            }
            _ => {}
        }
        fs::create_dir(&staged).map_err(local(&staged))?;
        let at = folder.join(RECORD);
        let record = regular(&at)
            .and_then(|()| Record::read(folder))
            .map_err(|error| {
                let why = format!("{error}; load all bundles into a new folder");
                local(&at)(io::Error::other(why))
            })?;
        Ok(Self {
            folder: folder.to_owned(),
            record,
            intact: BTreeSet::new(),
            staged: 0,
            _lock: lock,
        })
    }

    fn content(&self, digest: &str) -> PathBuf {
        self.folder.join(CONTENTS).join(digest)
    }

    /// Returns whether the content of an entry is here and is what it should be: read anew, whatever its name says.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn has(&mut self, entry: &Entry) -> Result<bool, BundleError> {
        if self.intact.contains(&entry.blake3) {
            return Ok(true);
        }
        let path = self.content(&entry.blake3);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(local(&path)(error)),
            Ok(about) if !about.is_file() || about.len() != entry.size => return Ok(false),
            Ok(_) => {}
        }
        let mut hashing = Hashing::new(File::open(&path).map_err(local(&path))?);
        io::copy(&mut hashing, &mut io::sink()).map_err(local(&path))?;
        if hashing.found().fault(entry).is_some() {
            return Ok(false);
        }
        self.intact.insert(entry.blake3.clone());
        Ok(true)
    }

    /// Puts what comes with a bundle beside the contents. It is one of them once [`Store::take_in`] says so.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub(super) fn stage(&self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let mut file = File::create_new(self.content(STAGED).join(&entry.blake3))?;
        io::copy(content, &mut file)?;
        file.sync_all()
    }

    /// Makes what was staged the content that it was found to be.
    ///
    /// # Errors
    /// When it can't be put there.
    pub(super) fn take_in(&mut self, entry: &Entry) -> Result<(), BundleError> {
        let staged = self.content(STAGED).join(&entry.blake3);
        if self.intact.contains(&entry.blake3) {
            return Ok(());
        }
        fs::rename(&staged, self.content(&entry.blake3)).map_err(local(&staged))?;
        self.intact.insert(entry.blake3.clone());
        Ok(())
    }

    /// Returns the text of a content, held to its digest.
    ///
    /// # Errors
    /// When it can't be read or is another.
    pub(super) fn text(&self, digest: &str) -> Result<String, BundleError> {
        let path = self.content(digest);
        let mut text = String::new();
        let file = File::open(&path).map_err(local(&path))?;
        file.take(LONGEST_TEXT)
            .read_to_string(&mut text)
            .map_err(local(&path))?;
        if blake3::hash(text.as_bytes()).to_hex().as_str() != digest {
            let why = "it was changed since it was loaded: load its bundle again";
            return Err(local(&path)(io::Error::other(why)));
        }
        Ok(text)
    }

    /// Puts a content under a name, a path below the folder, in place of what stood there.
    ///
    /// # Errors
    /// When it can't be put there.
    pub(super) fn link(&mut self, digest: &str, name: &Path) -> Result<(), BundleError> {
        let (content, new) = (self.content(digest), self.new_name());
        // A file system without hard links gets a copy.
        fs::hard_link(&content, &new)
            .or_else(|_| fs::copy(&content, &new).map(drop))
            .map_err(local(&content))?;
        self.put(&new, name)
    }

    /// Puts a text under a name. What stood there may be a link to a content, which stays as it is.
    ///
    /// # Errors
    /// When it can't be put there.
    pub(super) fn replace(&mut self, name: &Path, text: &[u8]) -> Result<(), BundleError> {
        let new = self.new_name();
        fs::write(&new, text)
            .and_then(|()| File::open(&new)?.sync_all())
            .map_err(local(&new))?;
        self.put(&new, name)
    }

    fn new_name(&mut self) -> PathBuf {
        self.staged += 1;
        self.content(STAGED).join(format!("new-{}", self.staged))
    }

    fn put(&self, new: &Path, name: &Path) -> Result<(), BundleError> {
        let mut place = self.folder.clone();
        let parents = name.parent().into_iter().flat_map(Path::components);
        for part in parents {
            let Component::Normal(part) = part else {
                return Err(local(name)(io::Error::other("leads out of the folder")));
            };
            place.push(part);
            directory(&place, false)?;
        }
        let place = self.folder.join(name);
        fs::rename(new, &place).map_err(local(&place))
    }

    /// Writes the record: from now on names may be read.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn keep(&mut self) -> Result<(), BundleError> {
        let text = self.record.written();
        self.replace(RECORD.as_ref(), &text)?;
        let staged = self.content(STAGED);
        fs::remove_dir_all(&staged).map_err(local(&staged))
    }
}

/// Makes a folder unless it is there; a link to one is none.
fn directory(path: &Path, private: bool) -> Result<(), BundleError> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => return Ok(()),
        Ok(_) => {
            let why = "is no folder, but a file or link: nothing is written there";
            return Err(local(path)(io::Error::other(why)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(local(path)(error)),
    }
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes to set"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(if private { 0o700 } else { 0o755 });
    }
    #[cfg(not(unix))]
    let _ = private;
    builder.create(path).map_err(local(path))
}

/// Refuses links where a file is written.
fn regular(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_file() => Ok(()),
        Ok(_) => Err(io::Error::other("is no file, but a folder or link")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sees that folders are ours and that nobody else can write to them: who could, would change what was verified. `made` is a
/// file that was just made, by us.
#[cfg(unix)]
fn own(folders: &[&Path], made: &File) -> Result<(), BundleError> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let me = made.metadata().map_err(local(folders[0]))?.uid();
    for &folder in folders {
        let about = fs::metadata(folder).map_err(local(folder))?;
        let why = if about.uid() != me {
            format!(
                "belongs to the user {}: load as that user, or into a folder of your own",
                about.uid()
            )
        } else if about.mode() & 0o022 != 0 {
            "others can write to it: `chmod go-w` it, after a look at what is in it".to_owned()
        } else {
            continue;
        };
        return Err(local(folder)(io::Error::other(why)));
    }
    // The contents themselves are nobody's business, names are for whoever serves them.
    let contents = folders[1];
    fs::set_permissions(contents, fs::Permissions::from_mode(0o700)).map_err(local(contents))
}

#[cfg(not(unix))]
fn own(_: &[&Path], _: &File) -> Result<(), BundleError> {
    Ok(())
}
