//! What a namespaces lab was asked to be, and where its files are: `/var/lib/foundry/lab/<lab>/`. Knows nothing that runs.

use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::lab::error::{file, system};
use crate::lab::{LabError, LabName, keys};

/// A real file system is needed here: an overlay's upper directory cannot lie on an overlay.
const STATE: &str = "/var/lib/foundry/lab";

/// Directories of a host that container runtimes put overlays in: bound from a real file system.
pub(super) const VOLUMES: &[&str] = &["rancher", "containerd", "kubelet", "docker"];

/// The wish a lab was made by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its name.
    pub(super) lab: LabName,
    /// The Foundry home it belongs to.
    pub(super) home: PathBuf,
    /// The addresses of its bridge and hosts.
    pub(super) subnet: Ipv4Net,
    /// The digest of its image.
    pub(super) image: String,
    /// Its hosts.
    pub(super) hosts: Vec<RecordHost>,
}

/// The wish for one host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RecordHost {
    /// Its name.
    pub(super) name: LabName,
    /// Its address in the lab's subnet.
    pub(super) address: Ipv4Addr,
    /// Its public host key.
    pub(super) host_key: String,
}

impl Record {
    /// Returns the record of `lab`, if it has one.
    ///
    /// # Errors
    /// If it cannot be read or makes no sense.
    pub(super) fn load(lab: &LabName) -> Result<Option<Self>, LabError> {
        let path = record_path(lab);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(file("read", path)(e)),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(system(format!("understand {}", path.display())))
    }

    /// Writes the record.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save(&self) -> Result<(), LabError> {
        let text = serde_json::to_string_pretty(self).map_err(system("encode a lab's record"))?;
        keys::write_private(&record_path(&self.lab), text.as_bytes())
    }

    /// Returns the records of all labs of this machine, whoever's they are.
    ///
    /// # Errors
    /// If the state directory or a record cannot be read.
    pub(super) fn all() -> Result<Vec<Self>, LabError> {
        let mut records = Vec::new();
        for lab in names()? {
            records.extend(Self::load(&lab)?);
        }
        Ok(records)
    }
}

/// Returns the names of all labs that have a directory here, sorted.
fn names() -> Result<Vec<LabName>, LabError> {
    let entries = match std::fs::read_dir(STATE) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(file("list", STATE)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(file("list", STATE))?.file_name();
        // Our own directories begin with a dot, which no lab's name does.
        names.extend(name.to_str().and_then(|n| n.parse().ok()));
    }
    names.sort();
    Ok(names)
}

/// Returns the directory of all labs.
pub(super) fn state() -> &'static Path {
    Path::new(STATE)
}

/// Returns the directory of `lab`.
pub(super) fn lab_directory(lab: &LabName) -> PathBuf {
    state().join(lab.as_str())
}

fn record_path(lab: &LabName) -> PathBuf {
    lab_directory(lab).join("lab.json")
}

/// Returns where the image with `digest` is unpacked.
pub(super) fn image_root(digest: &str) -> PathBuf {
    state().join(".images").join(digest)
}

/// The files of one host.
#[derive(Debug)]
pub(super) struct HostFiles(PathBuf);

impl HostFiles {
    /// Returns the files of `host` of `lab`.
    pub(super) fn of(lab: &LabName, host: &LabName) -> Self {
        Self(lab_directory(lab).join("hosts").join(host.as_str()))
    }

    /// Returns where its root is mounted, in its own mount namespace alone.
    pub(super) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// Returns what it changed of the image.
    pub(super) fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    /// Returns the overlay's own directory.
    pub(super) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Returns the directory bound to `/var/lib/<volume>`.
    pub(super) fn volume(&self, volume: &str) -> PathBuf {
        self.0.join("volumes").join(volume)
    }

    /// Returns the files it gets before its first boot, which removes the tar.
    pub(super) fn seed(&self) -> PathBuf {
        self.0.join("seed.tar")
    }

    /// Makes the directories.
    ///
    /// # Errors
    /// If one cannot be made.
    pub(super) fn make(&self) -> Result<(), LabError> {
        let volumes = VOLUMES.iter().map(|v| self.volume(v));
        for directory in [self.root(), self.upper(), self.work()]
            .into_iter()
            .chain(volumes)
        {
            // The mode of the upper directory becomes that of the host's `/`, whatever the user's umask.
            std::fs::create_dir_all(&directory)
                .and_then(|()| std::fs::set_permissions(&directory, Permissions::from_mode(0o755)))
                .map_err(file("make", directory))?;
        }
        Ok(())
    }
}
