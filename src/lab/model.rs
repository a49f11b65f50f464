//! What a lab is made of: its name, its hosts and who runs them. Knows no machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::LabError;

/// The most hosts one lab may have: they share one /24 with the gateway.
pub const MOST_HOSTS: usize = 200;

/// Who runs the hosts of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// Docker's API.
    Docker,
    /// Plain Linux namespaces and overlayfs, no daemon at all.
    Namespaces,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Namespaces => "namespaces",
        })
    }
}

/// The name of a lab or of one of its hosts: a DNS label of at most 40 lower-case characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty()
            || text.len() > 40
            || !text.chars().all(fine)
            || text.starts_with('-')
            || text.ends_with('-')
        {
            return Err(LabError::Asked {
                what: format!("`{text}` is no name for a lab or a lab host"),
                help: "use 1 to 40 of a-z, 0-9 and `-`, with a letter or digit at both ends".into(),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LabName {
    type Error = LabError;

    fn try_from(text: String) -> Result<Self, LabError> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a host of a lab runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// Its system runs.
    Running,
    /// It has a disk, but its system does not run.
    Stopped,
}

/// One disposable host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabHost {
    /// Its host name, by which the other hosts of the lab find it.
    pub name: LabName,
    /// Where this machine reaches its sshd.
    pub address: IpAddr,
    /// The port of its sshd at `address`; 0 while a stopped container has none.
    pub port: u16,
    /// The user with passwordless sudo.
    pub user: String,
    /// Its public host key, as `ssh-ed25519 AAAA…`.
    pub host_key: String,
    /// Whether it runs.
    pub state: HostState,
}

/// How a lab as a whole is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabState {
    /// All its hosts run.
    Up,
    /// Some or all of its hosts are stopped; `lab up` starts them again.
    Stopped,
    /// What a `lab up` that was killed or failed left behind; the next one begins anew.
    Unfinished,
}

impl fmt::Display for LabState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Stopped => "stopped",
            Self::Unfinished => "unfinished",
        })
    }
}

/// A lab as the machine shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lab {
    /// Its name.
    pub name: LabName,
    /// Who runs it.
    pub driver: DriverKind,
    /// How it is.
    pub state: LabState,
    /// Its hosts, in the order they were asked for.
    pub hosts: Vec<LabHost>,
}

impl Lab {
    /// Returns the lab with these hosts, up if all of them run.
    #[must_use]
    pub fn new(name: LabName, driver: DriverKind, hosts: Vec<LabHost>) -> Self {
        let up = hosts.iter().all(|host| host.state == HostState::Running);
        let state = if up { LabState::Up } else { LabState::Stopped };
        Self {
            name,
            driver,
            state,
            hosts,
        }
    }

    /// Returns the host called `name`.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&LabHost> {
        self.hosts.iter().find(|host| host.name.as_str() == name)
    }
}

/// What a user asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The lab's name.
    pub name: LabName,
    /// The names of its hosts.
    pub hosts: Vec<LabName>,
    /// Who shall run it; none: what works here.
    pub driver: Option<DriverKind>,
    /// Whether a user `debian` with a password, and sudo with that password, is made.
    pub password_login: bool,
}

impl Wanted {
    /// Checks what was asked for: 1 to 200 hosts, no name twice.
    ///
    /// # Errors
    /// If the number of hosts is out of range or a host is named twice.
    pub fn check(&self) -> Result<(), LabError> {
        if self.hosts.is_empty() || self.hosts.len() > MOST_HOSTS {
            return Err(LabError::Asked {
                what: format!("a lab cannot have {} hosts", self.hosts.len()),
                help: format!("ask for 1 to {MOST_HOSTS}"),
            });
        }
        let mut seen = std::collections::HashSet::new();
        match self.hosts.iter().find(|name| !seen.insert(*name)) {
            Some(twice) => Err(LabError::Asked {
                what: format!("host `{twice}` is named twice"),
                help: "give each host a name of its own".into(),
            }),
            None => Ok(()),
        }
    }
}

/// What a driver needs to bring a lab up.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The lab's name.
    pub name: LabName,
    /// The names of its hosts.
    pub hosts: Vec<LabName>,
    /// The public key that may log in as the admin user, in OpenSSH's format.
    pub authorized_key: String,
    /// The image to start from.
    pub image: super::image::Image,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["lab", "a", "bao-1", "1"] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a/b",
            "..",
            "ä",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lab_has_hosts_with_names_of_their_own() {
        let wanted = |hosts: &[&str]| Wanted {
            name: "lab".parse().unwrap(),
            hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
            driver: None,
            password_login: false,
        };
        assert!(wanted(&["a", "b"]).check().is_ok());
        assert!(wanted(&[]).check().is_err());
        assert!(
            wanted(&["a", "b", "a"])
                .check()
                .unwrap_err()
                .to_string()
                .contains("`a`")
        );
    }
}
