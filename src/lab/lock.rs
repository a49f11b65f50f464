//! A lock on a file that the kernel gives back when its holder dies. Knows nothing of what it guards.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::LabError;
use super::error::file;

/// A held lock; dropping it, or dying, gives it back.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lifetime alone")] File);

impl Lock {
    /// Takes the lock, calling `waits` once if somebody else holds it.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub(super) fn wait(path: &Path, waits: impl FnOnce()) -> Result<Self, LabError> {
        let held = open(path)?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waits();
                held.lock().map_err(file("lock", path))?;
            }
            Err(TryLockError::Error(source)) => return Err(file("lock", path)(source)),
        }
        Ok(Self(held))
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
