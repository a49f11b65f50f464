//! A lock on a file that the kernel gives back when its holder dies. Knows nothing of what it guards.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::LabError;
use super::error::file;

/// A held lock; dropping it, or dying, gives it back.
#[derive(Debug)]
pub(super) struct Lock {
    held: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, calling `waits` once if somebody else holds it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub(super) fn wait(path: &Path, waits: impl FnOnce()) -> Result<Self, LabError> {
        let mut waits = Some(waits);
        loop {
            let held = open(path)?;
            match held.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(waits) = waits.take() {
                        waits();
                    }
                    held.lock().map_err(file("lock", path))?;
                }
                Err(TryLockError::Error(source)) => return Err(file("lock", path)(source)),
            }
            // Who held it before us may have removed the file: then what we hold guards nothing.
            if is_at(&held, path) {
                return Ok(Self {
                    held,
                    path: path.to_owned(),
                });
            }
        }
    }

    /// Gives the lock back and removes its file, since what it guards is gone.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub(super) fn forget(self) -> Result<(), LabError> {
        std::fs::remove_file(&self.path).map_err(file("remove", &self.path))
    }

    /// Returns the lock as a child's standard input: it is held until the child has let go of it too.
    ///
    /// # Errors
    /// If the descriptor cannot be copied.
    #[cfg(target_os = "linux")]
    pub(super) fn share(&self) -> Result<std::process::Stdio, LabError> {
        self.held
            .try_clone()
            .map(Into::into)
            .map_err(super::error::system("share a lock"))
    }
}

fn open(path: &Path) -> Result<File, LabError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(file("make", parent))?;
    }
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(file("open", path))
}

#[cfg(unix)]
fn is_at(held: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |m: &std::fs::Metadata| (m.dev(), m.ino());
    matches!((held.metadata(), path.metadata()), (Ok(a), Ok(b)) if id(&a) == id(&b))
}

/// An open file cannot be removed there.
#[cfg(not(unix))]
fn is_at(_held: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_removed_lock_guards_nothing_for_who_waited() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/lock");
        let first = Lock::wait(&path, || panic!("nobody holds it")).unwrap();
        let (told, waits) = mpsc::channel();
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || Lock::wait(&path, || told.send(()).unwrap()).unwrap())
        };
        waits.recv().unwrap();
        first.forget().unwrap();
        let second = waiting.join().unwrap();
        assert!(path.exists(), "the second made it anew");
        drop(second);
        Lock::wait(&path, || panic!("it was given back")).unwrap();
    }
}
