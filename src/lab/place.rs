//! Where a lab keeps its files on this machine. Knows paths only, not what is in the files.

use std::path::{Path, PathBuf};

use super::{LabError, LabName};

/// The directories a lab uses.
#[derive(Debug, Clone)]
pub struct Place {
    home: PathBuf,
    home_is_default: bool,
    cache: PathBuf,
}

impl Place {
    /// Returns the place with Foundry's own directory at `home` and caches at `cache`.
    #[must_use]
    pub fn new(home: impl Into<PathBuf>, cache: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            home_is_default: false,
            cache: cache.into(),
        }
    }

    /// Returns the user's place: `$FOUNDRY_HOME` or `~/.foundry`, and `$XDG_CACHE_HOME/foundry` or `~/.cache/foundry`.
    ///
    /// # Errors
    /// If the user's home directory is not known.
    pub fn of_user() -> Result<Self, LabError> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let user = std::env::home_dir().filter(|p| p.is_absolute());
        let unknown = || LabError::Asked {
            what: "your home directory is not known".into(),
            help: "set HOME, or FOUNDRY_HOME and XDG_CACHE_HOME".into(),
        };
        let default_home = user.as_ref().map(|u| u.join(".foundry"));
        let home = match set("FOUNDRY_HOME") {
            Some(given) => {
                std::path::absolute(&given).map_err(super::error::file("find", given))?
            }
            None => default_home.clone().ok_or_else(unknown)?,
        };
        let cache = set("XDG_CACHE_HOME")
            .filter(|p| p.is_absolute())
            .or_else(|| user.map(|u| u.join(".cache")))
            .ok_or_else(unknown)?;
        Ok(Self {
            home_is_default: default_home.as_ref() == Some(&home),
            home,
            cache: cache.join("foundry"),
        })
    }

    /// Returns Foundry's own directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns where images are kept.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.cache.join("lab")
    }

    /// Returns the directory of the lab's keys.
    #[must_use]
    pub fn keys(&self, lab: &LabName) -> PathBuf {
        self.home.join("lab").join(lab.as_str())
    }

    /// Returns the private key of the lab's admin user.
    #[must_use]
    pub fn identity(&self, lab: &LabName) -> PathBuf {
        self.keys(lab).join("id_ed25519")
    }

    /// Returns the private key as a config names it: below `~` where Foundry's directory is the default one.
    #[must_use]
    pub fn identity_in_config(&self, lab: &LabName) -> String {
        if self.home_is_default {
            format!("~/.foundry/lab/{lab}/id_ed25519")
        } else {
            self.identity(lab).display().to_string()
        }
    }

    /// Returns the pinned host keys of the lab, for the system's ssh.
    #[must_use]
    pub fn known_hosts(&self, lab: &LabName) -> PathBuf {
        self.keys(lab).join("known_hosts")
    }

    /// Returns the file with the password of the user `debian`.
    #[must_use]
    pub fn password(&self, lab: &LabName) -> PathBuf {
        self.keys(lab).join("password")
    }

    /// Returns the mark of a `lab up` that came to its end.
    #[must_use]
    pub(super) fn finished(&self, lab: &LabName) -> PathBuf {
        self.keys(lab).join("finished")
    }

    /// Returns the config file of the lab.
    #[must_use]
    pub fn config(&self, lab: &LabName) -> PathBuf {
        self.home.join(format!("{lab}.yaml"))
    }

    /// Returns the lock that a command holds while it changes the lab. It outlives the lab, so it is in the cache.
    #[must_use]
    pub(super) fn lock(&self, lab: &LabName) -> PathBuf {
        self.images().join("locks").join(lab.as_str())
    }
}
