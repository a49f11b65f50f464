//! Fresh Debian hosts for a test: `let Some(lab) = lab(2) else { return };`. They are gone when the guard is dropped,
//! and what a killed test left is removed by the next one. Knows the `foundry lab` command only.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use foundry::lab::{Lab, LabHost};

/// How many labs this process has made: part of their names.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// A lab of a test, with a Foundry home of its own.
pub struct LabGuard {
    home: Option<tempfile::TempDir>,
    lab: Lab,
}

/// Makes a lab of `hosts` hosts called `node-1` … and returns it when all have booted; none, with the reason on
/// standard error, where this machine can run no lab.
pub fn lab(hosts: usize) -> Option<LabGuard> {
    lab_with(&["--hosts", &hosts.to_string()])
}

/// Makes a lab with these arguments of `foundry lab up`.
pub fn lab_with(args: &[&str]) -> Option<LabGuard> {
    let home = fresh_home();
    let name = unique_name();
    let output = foundry(home.path())
        .args(["lab", "up", "--name", &name, "--output", "json"])
        .args(args)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        assert!(
            words.contains("no lab driver works") || words.contains("this machine lacks"),
            "lab up failed:\n{words}"
        );
        eprintln!("SKIPPED: this machine can run no lab:\n{words}");
        return None;
    }
    let lab = serde_json::from_slice(&output.stdout).unwrap();
    Some(LabGuard {
        home: Some(home),
        lab,
    })
}

/// Returns a new Foundry home, after what killed tests left is removed.
pub fn fresh_home() -> tempfile::TempDir {
    remove_leftovers();
    tempfile::Builder::new()
        .prefix("foundry-test-")
        .tempdir()
        .unwrap()
}

/// Returns a lab name that no other test of this machine has; it says whose it is.
pub fn unique_name() -> String {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    format!("t-{}-{number}", std::process::id())
}

/// Returns the `foundry` command with its home at `home`.
pub fn foundry(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foundry"));
    command
        .env("FOUNDRY_HOME", home)
        .env_remove("FOUNDRY_CONFIG");
    command
}

impl LabGuard {
    /// Returns the lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Returns its hosts.
    pub fn hosts(&self) -> &[LabHost] {
        &self.lab.hosts
    }

    /// Returns its Foundry home.
    pub fn home(&self) -> &Path {
        self.home
            .as_ref()
            .expect("the home goes with the guard")
            .path()
    }

    /// Takes the lab down now and returns the home it had.
    pub fn take_down(mut self) -> tempfile::TempDir {
        self.down();
        self.home.take().expect("the home goes with the guard")
    }

    fn down(&self) {
        let name = self.lab.name.as_str();
        let done = foundry(self.home())
            .args(["lab", "down", name])
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&done.stderr);
        // A second panic would hide the first.
        assert!(
            done.status.success() || std::thread::panicking(),
            "lab down failed:\n{words}"
        );
    }

    /// Returns the config that `lab up` wrote.
    pub fn config(&self) -> PathBuf {
        self.home().join(format!("{}.yaml", self.lab.name))
    }

    /// Returns the private key of the user `admin` on all hosts.
    pub fn identity(&self) -> PathBuf {
        self.home()
            .join("lab")
            .join(self.lab.name.as_str())
            .join("id_ed25519")
    }

    /// Returns the `foundry` command with this lab's home and config.
    pub fn foundry(&self) -> Command {
        let mut command = foundry(self.home());
        command.env("FOUNDRY_CONFIG", self.config());
        command
    }

    /// Runs a shell command on host number `index` as `admin` and returns what it printed; a failure fails the test.
    pub fn ssh(&self, index: usize, command: &str) -> String {
        let output = self.try_ssh(index, command);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "`{command}` on host {index}: {}\n{words}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a shell command on host number `index` as `admin`.
    pub fn try_ssh(&self, index: usize, command: &str) -> Output {
        let host = format!("{}/{}", self.lab.name, self.lab.hosts[index].name);
        self.foundry()
            .args(["lab", "ssh", &host, command])
            .output()
            .unwrap()
    }
}

impl Drop for LabGuard {
    fn drop(&mut self) {
        if self.home.is_some() {
            self.down();
        }
    }
}

/// Takes down the labs of tests that are no more.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir("/var/lib/foundry/lab") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("t-")
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let Some(owner) = owner.filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) else {
            continue;
        };
        let record = std::fs::read(entry.path().join("lab.json")).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
        if let Some(home) = record["home"].as_str() {
            eprintln!("removing {name}, left by test process {owner}");
            let _ = foundry(Path::new(home))
                .args(["lab", "down", &name])
                .output();
            let _ = std::fs::remove_dir_all(home);
        }
    }
}
