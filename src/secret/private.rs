//! Files that are their owner's alone: made so from their first byte on, and checked before they are trusted. The one place
//! that knows how systems differ in this. Does not know what stands in the files.
//!
//! On systems without modes (Windows) a file inherits the access list of its folder: below a user's profile that is the
//! user's, administrators' and the system's. Nothing is checked there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Returns options that make a file which only its owner can read and write.
#[must_use]
pub fn options() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes to set"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes `folder` and what is missing above it, open to their owner alone; one that is there stays as it is.
///
/// # Errors
/// If it can't be made.
pub fn create_dir(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes a file that only its owner can read: whole or not at all, and on the disk when it returns. The folder is made if
/// it is not there.
///
/// # Errors
/// If it can't be written.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        create_dir(folder)?;
    }
    // `tempfile` makes it with mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(".foundry-")
        .tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// A new name in a folder is on the disk when the folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Folders can't be opened there, and names are on the disk with their files.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Reads a file that holds a secret, unless others than its owner could have read it. As `ssh` does with private keys, only
/// files of this user's own are judged: what root hands to a service is root's matter.
///
/// # Errors
/// If it can't be read, or is open to others; the text says which mode it has and how to close it.
pub fn read(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    if let Some(mode) = open_to_others(&file.metadata()?) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "others can read it (mode {mode:04o}), so it is not used; \
                 `chmod 600` it, and replace what it holds if anybody else uses this machine"
            ),
        ));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    io::Read::read_to_string(&mut file, &mut text)?;
    Ok(std::mem::take(&mut *text))
}

/// Returns the mode of `path` if others than its owner can read or write it; `None` also if there is no such file.
#[must_use]
pub fn exposed(path: &Path) -> Option<u32> {
    open_to_others(&path.metadata().ok()?)
}

/// Returns whether this process is root's; never where there is no root.
#[must_use]
pub fn is_root() -> bool {
    #[cfg(unix)]
    return nix::unistd::geteuid().is_root();
    #[cfg(not(unix))]
    return false;
}

/// Why what stands in a file or folder may be somebody else's word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Writable {
    /// Every user of the machine, or of a group, can change it.
    #[error("{whose} can change it (mode {mode:04o})", whose = if *.mode & 0o002 == 0 { "its group" } else { "every user of this machine" })]
    Mode {
        /// Its permission bits.
        mode: u32,
    },
    /// It is the file of a user who is neither this one nor root.
    #[error("it belongs to another user (uid {uid})")]
    Owner {
        /// Whose it is.
        uid: u32,
    },
}

/// Returns why others than this user and root could have written `path`, if they could. A group of this user's own name,
/// which Debian and Ubuntu give to everybody, is no other.
///
/// # Errors
/// If it can't be looked at.
pub fn writable_by_others(path: &Path) -> io::Result<Option<Writable>> {
    Ok(written_by_others(&fs::metadata(path)?))
}

#[cfg(unix)]
fn open_to_others(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = metadata.mode() & 0o7777;
    let mine = metadata.uid() == nix::unistd::geteuid().as_raw();
    (mine && mode & 0o077 != 0).then_some(mode)
}

#[cfg(unix)]
fn written_by_others(metadata: &fs::Metadata) -> Option<Writable> {
    use std::os::unix::fs::MetadataExt as _;
    let (mode, uid) = (metadata.mode() & 0o7777, metadata.uid());
    let (me, group) = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    if mode & 0o002 != 0 || (mode & 0o020 != 0 && metadata.gid() != group) {
        // In a folder such as /tmp nobody can change what is another's.
        return (mode & 0o1000 == 0).then_some(Writable::Mode { mode });
    }
    (uid != me && uid != 0).then_some(Writable::Owner { uid })
}

#[cfg(not(unix))]
fn open_to_others(_: &fs::Metadata) -> Option<u32> {
    None
}

#[cfg(not(unix))]
fn written_by_others(_: &fs::Metadata) -> Option<Writable> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_written_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/er/secret");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), "two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&home.path().join("deep")), 0o700);
        let names = fs::read_dir(home.path().join("deep/er")).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside it");
    }

    #[test]
    fn a_secret_that_others_could_read_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        write(&path, b"s.hunter2").unwrap();
        for open in [0o644, 0o640, 0o604, 0o660, 0o666] {
            chmod(&path, open);
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {open:04o}")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
            assert_eq!(exposed(&path), Some(open));
        }
        for closed in [0o600, 0o400] {
            chmod(&path, closed);
            assert_eq!(read(&path).unwrap(), "s.hunter2");
            assert_eq!(exposed(&path), None);
        }
        assert_eq!(
            read(&home.path().join("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn what_others_could_have_written_is_named() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("recipes");
        create_dir(&folder).unwrap();
        assert_eq!(writable_by_others(&folder).unwrap(), None);
        for shared in [0o777, 0o757, 0o702] {
            chmod(&folder, shared);
            let why = writable_by_others(&folder).unwrap();
            assert_eq!(why, Some(Writable::Mode { mode: shared }));
        }
        // The user's own group, as Debian's umask 002 makes folders.
        chmod(&folder, 0o775);
        assert_eq!(writable_by_others(&folder).unwrap(), None);
        chmod(&folder, 0o1777);
        assert_eq!(writable_by_others(&folder).unwrap(), None);
        assert_eq!(
            Writable::Mode { mode: 0o777 }.to_string(),
            "every user of this machine can change it (mode 0777)"
        );
        assert_eq!(
            Writable::Mode { mode: 0o770 }.to_string(),
            "its group can change it (mode 0770)"
        );
    }
}
