//! Starts a host's launcher as a process of its own, outliving this one, and hears whether it got its host running.
//! Knows nothing of what the launcher does.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::lab::error::system;
use crate::lab::{LabError, LabName};

/// A launcher under way.
#[derive(Debug)]
pub(super) struct Launch {
    host: LabName,
    child: Child,
}

/// Starts `launcher lab host-init LAB HOST`; `launcher` is this very program.
///
/// # Errors
/// If the program cannot be started.
pub(super) fn start(launcher: &Path, lab: &LabName, host: &LabName) -> Result<Launch, LabError> {
    let child = Command::new(launcher)
        .args(["lab", "host-init", lab.as_str(), host.as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .current_dir("/")
        .spawn()
        .map_err(system(format!("start {}", launcher.display())))?;
    Ok(Launch {
        host: host.clone(),
        child,
    })
}

impl Launch {
    /// Waits until the host's init runs.
    ///
    /// # Errors
    /// If the launcher failed; the error carries its words.
    pub(super) fn wait(self) -> Result<(), LabError> {
        let output = self
            .child
            .wait_with_output()
            .map_err(system(format!("wait for the launcher of {}", self.host)))?;
        if output.status.success() {
            return Ok(());
        }
        Err(LabError::Host {
            host: self.host.to_string(),
            step: "launch".into(),
            why: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            help: "`foundry lab down` cleans up what was started".into(),
        })
    }
}
