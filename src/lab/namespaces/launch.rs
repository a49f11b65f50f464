//! Starts a host's supervisor as a process that outlives this one, and hears whether it got its host running.
//! Knows nothing of what the supervisor does.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::lab::error::system;
use crate::lab::lock::Lock;
use crate::lab::{LabError, LabName};

/// What a supervisor says when its host's init runs.
pub(super) const UP: &str = "up";

/// A supervisor at work.
#[derive(Debug)]
pub(super) struct Launch {
    host: LabName,
    child: Child,
}

/// Starts `launcher lab host-init LAB HOST`; `launcher` is this very program. The supervisor holds `lock` too until its
/// host runs, so that a command that follows a killed one never meets it half-way.
///
/// # Errors
/// If the program cannot be started.
pub(super) fn start(
    launcher: &Path,
    lab: &LabName,
    host: &LabName,
    lock: &Lock,
) -> Result<Launch, LabError> {
    let child = Command::new(launcher)
        .args(["lab", "host-init", lab.as_str(), host.as_str()])
        .stdin(lock.share()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
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
    /// If the supervisor failed; the error carries its words.
    pub(super) fn wait(mut self) -> Result<(), LabError> {
        let mut words = String::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut words)
                .map_err(system(format!("hear the supervisor of {}", self.host)))?;
        }
        if words == UP {
            return Ok(());
        }
        let end = self
            .child
            .wait()
            .map_err(system("wait for the supervisor"))?;
        Err(LabError::Host {
            host: self.host.to_string(),
            step: "start".into(),
            why: if words.is_empty() {
                format!("its supervisor ended: {end}")
            } else {
                words
            },
            help: "`foundry lab down` cleans up what was started".into(),
        })
    }
}
